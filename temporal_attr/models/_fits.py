"""Do a model and a clip fit each other?"""

from __future__ import annotations

from torch import Tensor, nn

from temporal_attr._errors import ClipError


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
