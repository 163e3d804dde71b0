"""Can the attention of a model be taken apart?"""

from __future__ import annotations

from torch import nn

from temporal_attr._errors import ModelError

_VISIBLE = (None, "eager", "sdpa")
"""Attention of the transformers library that is of PyTorch's functions; None is for its choice."""

_FUSED = ("xformers", "flash_attn")
"""Packages whose kernels are one function."""

_FUSED_CLASSES = ("MemEffAttention",)
"""Layers of other networks that call them."""


def require_visible_attention(model: nn.Module) -> None:
    """Raise where attention is a kernel of its own, which shows no weights and no products.

    That is where a part's configuration asks for flash or flex attention, or a layer is one of
    xformers or flash_attn. Relevance passes through each operation, so it needs to see them;
    gradients and masked clips do not.

    Raises:
        ModelError: With the part, and how to switch.

    Example:
        >>> require_visible_attention(nn.MultiheadAttention(4, 2))
    """
    for name, part in model.named_modules():
        chosen = getattr(getattr(part, "config", None), "_attn_implementation", None)
        kind = type(part)
        place = f"{name} ({kind.__name__})" if name else kind.__name__
        if chosen not in _VISIBLE:
            raise ModelError(
                "attention that can be seen into",
                f"{place} with attn_implementation={chosen!r}",
                'Load the model with attn_implementation="eager", or call '
                'model.set_attn_implementation("eager").',
            )
        fused = kind.__module__.split(".")[0] in _FUSED or kind.__name__ in _FUSED_CLASSES
        if fused:
            raise ModelError(
                "attention that can be seen into",
                f"{place}, a kernel of its own",
                'Switch to plain attention (attn_implementation="eager", or the setting of the '
                "model's library), or use a method of gradients.",
            )
