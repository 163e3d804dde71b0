"""Do a model and a clip fit each other?"""

from __future__ import annotations

from torch import Tensor, nn

from temporal_attr._errors import ClipError, ModelError
from temporal_attr.models.trials._evaluation_mode import modules_behind

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
"""Where PyTorch's quantised layers live, whose kernels have no gradient."""


def check_fits(model: object, clip: Tensor) -> None:
    """Raise unless a clip is of the precision and on the device of a model's weights.

    A model without weights in floating point, or a function, takes what it takes.

    Raises:
        ClipError: With both, and how to bring the one to the other.

    Example:
        >>> import torch
        >>> check_fits(nn.Linear(2, 2), torch.rand(1, 2, dtype=torch.float64))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ClipError: expected a clip in torch.float32 on cpu, as the model's ...
    """
    if not isinstance(model, nn.Module):
        return
    weights = [one for one in model.parameters() if one.is_floating_point()]
    kinds = {(one.dtype, one.device) for one in weights}
    # Weights of several precisions or devices are brought together by the model itself.
    if len(kinds) == 1 and (clip.dtype, clip.device) not in kinds:
        dtype, device = kinds.pop()
        raise ClipError(
            f"a clip in {dtype} on {device}, as the model's weights are",
            f"{clip.dtype} on {clip.device}",
            "Bring the clip to the model: clip.to(next(model.parameters())).",
        )


def check_weights_of_gradients(model: object) -> None:
    """Raise where gradients cannot pass weights: made under `torch.inference_mode`, or quantised.

    Raises:
        ModelError: With the first of them.

    Example:
        >>> import torch
        >>> with torch.inference_mode():
        ...     layer = nn.Linear(2, 2)
        >>> check_weights_of_gradients(layer)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected weights that gradients can pass, got weight ...
    """
    for module in modules_behind(model):
        for name, part in module.named_modules():
            if type(part).__module__.startswith(_QUANTISED):
                raise ModelError(
                    "layers that gradients can pass",
                    f"{name or 'a model'} ({type(part).__name__}), which is quantised",
                    "Explain the model in floating point that it was made from.",
                )
        for name, weight in (*module.named_parameters(), *module.named_buffers()):
            if weight.is_inference():
                raise ModelError(
                    "weights that gradients can pass",
                    f"{name} made under torch.inference_mode",
                    "Make or load the model outside of torch.inference_mode.",
                )
