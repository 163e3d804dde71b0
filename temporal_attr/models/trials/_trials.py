"""What methods take for granted of a model, tried once: it repeats, and keeps examples apart.

A trial is no part of a run, and changes nothing of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._typing import Frames
from temporal_attr.models._base import FramewiseModel, VideoModel
from temporal_attr.models._logits import model_logits, named_misfit
from temporal_attr.models.trials._fits import check_fits
from temporal_attr.models.trials._misfits import FITS_NOT, watched
from temporal_attr.models.trials._training_guard import StopsTraining
from temporal_attr.models.trials._trial_memory import tried

Draws = Callable[[], AbstractContextManager[Any]]
"""Entered before each pass, so that a model that draws random numbers can get the same ones."""

MOST_FRAMES = 16
"""Of a longer clip, so many go through an encoder together."""


@dataclass(frozen=True)
class Trial:
    """A model, the clips at hand, and what goes with them.

    Attributes:
        model: A wrapper, or any function of clips.
        clips: `(batch, time, channel, height, width)` each.
        arguments: Handed to the model after the clips.
        draws: Entered before each pass.
        together: Whether several clips go through together even where one is given, as its shuffled
            or masked copies do.
    """

    model: Callable[..., Any]
    clips: tuple[Tensor, ...]
    arguments: tuple[Any, ...] = ()
    draws: Draws = field(default_factory=lambda: nullcontext)
    together: bool = False

    def __post_init__(self) -> None:
        if not self.clips:
            raise ClipError("at least one clip", "none", "Pass the clip in a tuple.")

    @property
    def of_several(self) -> bool:
        """Whether it can be told that clips are kept apart."""
        return not self.arguments and (self.together or len(self.clips[0]) > 1)

    def pair(self) -> tuple[Tensor, ...]:
        """The first two clips, or the first and another made of it."""
        if len(self.clips[0]) > 1:
            return tuple(clip[:2] for clip in self.clips)
        return tuple(torch.cat([clip, clip.flip(1) / 2]) for clip in self.clips)

    def logits(self, clips: tuple[Tensor, ...]) -> Tensor:
        """Of clips, which a model that works in place does not reach."""
        with self.draws():
            own = tuple(clip.clone() for clip in clips)
            return model_logits(self.model, own, self.arguments)


def require_as_assumed(trial: Trial) -> None:
    """Raise unless a model does what methods take for granted, on the clips at hand.

    That is: the same clip has the same logits twice; a clip has the same alone and in a batch (told
    where there are two or more, or copies go through together, and nothing goes with them); and of
    a `FramewiseModel`, a frame has the same features alone, among others and in another order (told
    where frames differ).

    Each is tried once a model, and again when a part of it is replaced or hooked or its parameters
    change. It takes two forward passes of one clip, and one of two clips where there is a batch; of
    a `FramewiseModel` as many passes of the head, and the frames of one clip (16 of a longer one)
    twice through the encoder and one of them once more. Where memory is short of that, the model is
    not tried this time.

    "The same" is to half of the digits of the precision (3e-4 in float32; 3e-2 where a GPU rounds
    to TF32): a batch of another size is summed in another order, which changes the last digits,
    while a frame or clip that sees another changes the first ones.

    Raises:
        ClipError: If it takes clips of another size.
        ModelError: With what differs, by how much, and what to do; if a layer of a wrapper's
            parts refuses what it gets; if each pass writes to a parameter or buffer; or if batch
            norm is in training mode where `require_evaluation_mode` does not find it, before its
            statistics move.
    """
    own = trial.model if isinstance(trial.model, VideoModel) else None
    fits = nullcontext() if own is None else named_misfit(own, *trial.clips)
    around = watched(trial.model, trial.clips, trial.logits)
    with outside_of_callers_modes(trial.clips[0]), fits, around:
        try:
            if isinstance(trial.model, FramewiseModel):
                _try_frames(trial.model, trial)
            else:
                _try_clips(trial)
                _try_time_as_channels(trial)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise


def require_framewise(model: FramewiseModel, frames: Frames, draws: Draws = nullcontext) -> Tensor:
    """The features of some frames, if each has the same alone, among others and in another order.

    Args:
        model: What says so of itself.
        frames: Any number of them, best those of a clip, as temporal shift may reach far.
        draws: Entered before each pass.

    Raises:
        ModelError: With how far the features differ.
        ClipError: If there are none, or they are of another precision or device than the model.

    Example:
        >>> from temporal_attr.models import LateFusion
        >>> class SubtractsTheFrameBefore(torch.nn.Module):
        ...     def forward(self, frames):
        ...         return (frames - frames.roll(1, 0)).flatten(1)
        >>> require_framewise(LateFusion(SubtractsTheFrameBefore()), torch.rand(3, 3, 8, 8))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected an encoder in which no frame sees another...
    """

    def encoded(places: list[int]) -> Tensor:
        with draws():
            return _rows(model.encode(frames[places].clone()), len(places))

    if not len(frames):
        raise ClipError("at least one frame", "none", "Pass those of a clip.")
    check_fits(model, frames)
    every = list(range(len(frames)))
    together = encoded(every)
    again = every if len(frames) == 1 else [0]
    comparisons = [(again, "alone")]
    if len(frames) > 1:
        comparisons.append((every[::-1], "in another order"))
    for places, how in comparisons:
        apart = difference(encoded(places), together[places])
        if apart > tolerance(together):
            _require_repeated(difference(encoded(every), together), together, "frames")
            raise mixes_frames(
                f"features of a frame {how} that are {_share(apart)} off those in a row"
            )
    return together


def mixes_frames(came: str) -> ModelError:
    """The error of a framewise model whose encoder mixes frames."""
    return ModelError(
        "an encoder in which no frame sees another, as of a FramewiseModel",
        f"{came}: encode mixes frames (temporal shift, or batch norm without statistics?)",
        "Subclass VideoModel, whose stages take whole clips; use EarlyFusion(model, frames) where "
        "frames are stacked as channels.",
    )


def difference(found: Tensor, expected: Tensor) -> float:
    """How far entries are from others: the largest L2 distance, over the largest norm.

    Example:
        >>> difference(torch.tensor([[3.0, 5.0]]), torch.tensor([[3.0, 4.0]]))
        0.2
    """
    if found.shape != expected.shape:
        return float("inf")
    first, other = (entry.detach().double().reshape(len(entry), -1) for entry in (found, expected))
    if not (first.isfinite().all() and other.isfinite().all()):
        return 0.0  # said where the numbers are used
    apart, size = ((entry.norm(dim=1).max().item()) for entry in (first - other, other))
    if apart == 0:
        return 0.0
    return apart / size if size else float("inf")


def tolerance(numbers: Tensor) -> float:
    """Half of the digits; see `require_as_assumed`."""
    precision = torch.finfo(numbers.dtype).eps
    if numbers.is_cuda and numbers.dtype == torch.float32:
        precision = 2.0**-10  # TF32, which convolutions use unless told otherwise
    return float(precision**0.5)


def _try_frames(model: FramewiseModel, trial: Trial) -> None:
    (clip,) = trial.clips
    with tried(model, "frames", "examples" if trial.of_several else "repetition") as left:
        if not left:
            return
        frames = model.to_layout(clip[:1])
        shown = frames[_spread(len(frames))]
        features = _of_groups_only(
            model, clip, lambda: require_framewise(model, shown, trial.draws)
        )
        half = len(shown) // 2
        distinct = half > 0 and not any(map(torch.equal, shown[:half], shown.flip(0)[:half]))
        if not distinct:
            left.discard("frames")  # frames that are alike backwards show nothing
        # The head reads as many frames as in the clip, which need not all be encoded for that.
        row = features[torch.arange(clip.shape[1], device=features.device) % len(features)]
        _compare(Trial(model.head, (row[None],), (), trial.draws, trial.of_several))


def _spread(count: int) -> list[int]:
    """Places of all frames, or of `MOST_FRAMES` from the first to the last."""
    most = min(count, MOST_FRAMES)
    return [place * (count - 1) // max(most - 1, 1) for place in range(most)]


def _of_groups_only(model: FramewiseModel, clip: Tensor, attempt: Callable[[], Tensor]) -> Tensor:
    """What an attempt gives; an encoder that takes the frames of whole clips only mixes them."""
    try:
        return attempt()
    except FITS_NOT as error:
        if isinstance(error, ModelError) or is_out_of_memory(error):
            raise
        try:
            model.encode(model.to_layout(clip[:1]).clone())
        except FITS_NOT:
            raise error from None  # of any number of frames
        # Not from the error, which is of a group of frames and no size of a clip.
        raise mixes_frames(f"one that takes {clip.shape[1]} frames, but not any number") from None


def _try_clips(trial: Trial) -> None:
    with tried(trial.model, "examples" if trial.of_several else "repetition") as left:
        if left:
            _compare(trial)


def _compare(trial: Trial) -> None:
    """The logits of clips twice, and of the first alone and with the second."""
    # What goes with the clips belongs to all of them.
    alone = trial.clips if trial.arguments else tuple(clip[:1] for clip in trial.clips)
    first = trial.logits(alone)
    # Before the pair, as a batch of another size makes some models forget what they keep.
    _require_repeated(difference(trial.logits(alone), first), first, "clip")
    if not trial.of_several:
        return
    apart = difference(trial.logits(trial.pair())[:1], first)
    if apart > tolerance(first):
        _require_repeated(difference(trial.logits(alone), first), first, "clip")
        raise ModelError(
            "a model that predicts each clip of a batch by itself",
            f"logits that are {_share(apart)} off when another clip is in the batch",
            "Look for batch norm or pooling over the batch, or anything else that reads its axis.",
        )


def _require_repeated(apart: float, numbers: Tensor, what: str) -> None:
    if apart > tolerance(numbers):
        raise ModelError(
            "a model that gives the same input the same output",
            f"outputs for the same {what} that are {_share(apart)} apart: it keeps a state between "
            "calls, or draws random numbers",
            "Reset its state in forward, or call model.eval(); random numbers can be held by a "
            "seed in FrameMaskingTSR(..., seed=0) only.",
        )


def _try_time_as_channels(trial: Trial) -> None:
    """Raise where a function takes the three frames of a clip for the channels of three frames."""
    (clip, *others), arguments = trial.clips, trial.arguments
    if isinstance(trial.model, VideoModel):
        return
    if others or arguments or clip.shape[1] != clip.shape[2]:
        return
    with tried(trial.model, "layout") as left:
        if not left:
            return
        longer = torch.cat([clip[:1], clip[:1, -1:]], 1)
        if _runs(trial, longer) or not _runs(trial, longer.transpose(1, 2)):
            return
        raise ModelError(
            "a model that takes (batch, time, channel, height, width)",
            f"one that takes (batch, channel, time, ...): of {clip.shape[1]} frames it would take "
            "time for colour",
            "Wrap the network: wrap(model), Conv3D(model, ...), or a function such as "
            "lambda clip: model(clip.transpose(1, 2)).",
        )


def _runs(trial: Trial, clip: Tensor) -> bool:
    """Whether a model takes a clip of such axes."""
    try:
        trial.logits((clip,))
    except FITS_NOT as error:
        if is_out_of_memory(error):
            raise
        return False
    return True


def _share(apart: float) -> str:
    return f"{apart:.1%}" if math.isfinite(apart) else "wholly"


def _rows(features: Any, count: int) -> Tensor:  # noqa: ANN401 - it may be anything
    if not isinstance(features, Tensor) or features.ndim == 0 or len(features) != count:
        came = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else None
        raise ModelError(
            "a tensor of features (frames, ...) from the encoder, a row for each frame",
            came or type(features).__name__,
            "Return the features or logits themselves, and keep the first axis.",
        )
    return features


@contextmanager
def outside_of_callers_modes(clip: Tensor) -> Iterator[None]:
    """As methods run a model, without gradients; batch norm in training mode is stopped."""
    with ExitStack() as modes:
        # What a model keeps from its first pass could not be part of a graph later.
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.no_grad())
        modes.enter_context(torch.autocast(clip.device.type, enabled=False))
        modes.enter_context(StopsTraining())
        yield
