"""Is what a framewise model predicts its head of its encoder's features, and nothing else?"""

from __future__ import annotations

import torch

from temporal_attr._memory import is_out_of_memory
from temporal_attr._typing import ClipTensor
from temporal_attr.models._base import FramewiseModel
from temporal_attr.models.trials._trial_memory import tried
from temporal_attr.models.trials._trials import difference, tolerance


@torch.no_grad()
def predicts_by_frame(model: FramewiseModel, clip: ClipTensor) -> bool:
    """Whether the logits of a clip are what the head makes of features of its frames.

    They are not where the model does more in a hook or a `forward` of its own; then features that
    were computed before do not tell what it predicts. Tried once a model, on the first clip with
    noise on it, since what is done to a clip may not show on one that stands still; where memory is
    short of a pass over a whole clip, the model is taken at its word.

    Args:
        model: What says so of itself.
        clip: `(batch, time, channel, height, width)`.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model, clip = build_model("gru", classes=4, widths=(4, 8)), torch.rand(1, 3, 3, 16, 16)
        >>> predicts_by_frame(model, clip)
        True
        >>> hook = model.register_forward_hook(lambda module, inputs, output: 2 * output)
        >>> predicts_by_frame(model, clip)
        False
    """
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(clip[:1].shape, generator=random).to(clip)
    first = clip[:1] + noise * clip[:1].float().std().clamp_min(0.1).to(clip)
    with tried(model, "head of features") as left:
        if not left:
            return True
        features = model.encode(model.to_layout(first).clone()).unflatten(0, first.shape[:2])
        by_frame = model.head(features)
        try:
            whole = model(first.clone())
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            left.clear()
            return True
        same = difference(by_frame, whole) <= tolerance(whole)
        if not same:
            left.clear()
    return same
