"""Baselines of whole clips: the clip that another one is compared with."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._precision import wide
from temporal_attr._require import require_seed
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import FullShuffle, Normalization, draw_orders
from temporal_attr.perturbations._baselines import baseline_of, check_baselines

ClipBaselineName: TypeAlias = Literal["black", "mean", "mean_frame", "blur", "frozen", "shuffled"]
ClipBaselines: TypeAlias = float | int | ClipBaselineName | Tensor
"""A number, in input values; a name; or a tensor that fits the clip, such as another clip."""


def check_clip_baselines(
    baselines: ClipBaselines, normalization: Normalization | None = None
) -> None:
    """Raise unless this makes a clip to compare with.

    Args:
        baselines: As `clip_baseline_of` takes them.
        normalization: How pixel values became input values, which `"black"` needs.

    Raises:
        OptionError: With what it may be.
        ClipError: If it is a tensor that is not finite.

    Example:
        >>> check_clip_baselines("frozen")
        >>> check_clip_baselines("black")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected a normalization, which says what input value...
    """
    if not isinstance(baselines, str):
        check_baselines(baselines)
        return
    names = get_args(ClipBaselineName)
    if baselines not in names:
        listed = ", ".join(f'"{name}"' for name in names)
        raise OptionError(
            f"baselines to be a number, {listed} or a tensor like the clip",
            repr(baselines),
            "Try 0.0, or a name.",
        )
    if baselines == "black" and normalization is None:
        raise OptionError(
            "a normalization, which says what input value a black pixel has",
            "a model that does not know its own",
            "Give normalization=, or the value itself.",
        )


def clip_baseline_of(
    clip: ClipTensor,
    baselines: ClipBaselines,
    normalization: Normalization | None = None,
    seed: int = 0,
) -> ClipTensor:
    """The clip that a clip is compared with, shaped like it.

    - A number is every value, in the model's input values; `"black"` is the input value of a black
      pixel. Nothing is shown.
    - `"mean"` is the mean of each channel over the clip, and `"blur"` each frame under a Gaussian a
      tenth of its short side wide, as for masks (`baseline_of`): colour or coarse shapes are left.
    - `"mean_frame"` is the mean over time of each pixel, repeated; `"frozen"` the first frame,
      repeated: nothing moves.
    - `"shuffled"` has the frames in a random order, which is not theirs and is the same for all
      clips of a batch: each frame is shown, their order is not.
    - A tensor is taken as it is, and broadcast.

    Args:
        clip: `(batch, time, channel, height, width)`.
        baselines: A number, a name or a tensor.
        normalization: How pixel values became input values, for `"black"`.
        seed: Of the order of `"shuffled"`.

    Raises:
        ClipError: If a tensor does not fit the clip, or a single frame is to be shuffled.
        OptionError: If a number is beyond those of the clip's precision, or black is not known.

    Example:
        >>> clip = torch.tensor([1.0, 5.0]).reshape(1, 2, 1, 1, 1)
        >>> [clip_baseline_of(clip, name).flatten().tolist() for name in ("frozen", "mean_frame")]
        [[1.0, 1.0], [3.0, 3.0]]
        >>> clip_baseline_of(clip, "shuffled").flatten().tolist()
        [5.0, 1.0]
    """
    check_clip_baselines(baselines, normalization)
    require_seed(seed)
    name = baselines if isinstance(baselines, str) else None
    if name == "black":
        assert normalization is not None
        return normalization.apply(torch.zeros_like(clip))
    if name == "frozen":
        return clip[:, :1].expand_as(clip)
    if name == "mean_frame":
        return clip.mean(1, keepdim=True, dtype=wide(clip)).to(clip).expand_as(clip)
    if name == "shuffled":
        order = draw_orders(FullShuffle(), clip.shape[1], 1, seed)[0]
        return clip[:, order.to(clip.device)]
    found = baseline_of(clip, baselines)  # type: ignore[arg-type]  # the names left are its own
    assert found is not None
    return found
