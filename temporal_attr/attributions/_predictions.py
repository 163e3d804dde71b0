"""What a model predicts for perturbed clips, in as few passes and as much memory as there is."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.gradients import DEFAULT_CHUNK, halving, isolated_autograd
from temporal_attr.models import (
    FramewiseModel,
    VideoModel,
    check_logits,
    model_logits,
    named_misfit,
    predicts_by_frame,
)
from temporal_attr.perturbations import ComposedClips, FrameTable, whole_clips

BY_FRAME = "by frame"
BY_CLIP = "by clip"

HEADS = 64
"""Perturbed clips whose features go through the head at a time."""

HELD = 2**26
"""Numbers of features that are kept for frames that may come again."""


@dataclass
class Predictions:
    """A model that predicts perturbed clips of a batch.

    Of a framewise model each distinct frame is encoded once, and the features of frames that come
    again are kept. One that does more than its encoder and its head (a hook, a `forward` of its
    own) is noticed, and gets whole clips.

    Args:
        model: A wrapper, or any function of clips.
        clip: `(batch, time, channel, height, width)`, which are perturbed.
        run: Counts the passes, and notes the path.
        arguments: Handed to the model after the clips; they belong to the whole batch.
        perturbations_per_eval: Perturbed clips that go through the model at a time; by default as
            many as have 16 frames, and fewer where memory is short.

    Example:
        >>> from temporal_attr.perturbations import StoredFrames
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> run, clip = RunContext(), torch.rand(1, 5, 3, 16, 16)
        >>> predictions = Predictions(model, clip, run)
        >>> orders = torch.stack([torch.randperm(5) for _ in range(100)])
        >>> shuffled = ComposedClips(StoredFrames(clip), orders, torch.zeros(100).long())
        >>> predictions.of(shuffled).shape
        torch.Size([100, 4])
        >>> run.finished(frames=5).forward_passes  # each frame once
        1.0
    """

    model: Callable[..., Any]
    clip: ClipTensor
    run: RunContext
    arguments: tuple[Any, ...] = ()
    perturbations_per_eval: int | None = None
    _features: _KeptFeatures = field(init=False)

    def __post_init__(self) -> None:
        self._fixed = self.perturbations_per_eval is not None
        self._size = self.perturbations_per_eval or max(1, DEFAULT_CHUNK // self.clip.shape[1])
        self._first_size = self._size
        self._features = _KeptFeatures()
        self.by_frame = isinstance(self.model, FramewiseModel) and predicts_by_frame(
            self.model, self.clip
        )
        self._path = BY_FRAME if self.by_frame else BY_CLIP

    def whole(self) -> Logits:
        """The logits `(batch, classes)` of the clips as they are."""
        return self.of(whole_clips(self.clip))

    def of(self, composed: ComposedClips) -> Logits:
        """The logits `(clips, classes)` of perturbed clips."""
        return torch.cat([logits for _, logits in self.in_chunks(composed)])

    def in_chunks(self, composed: ComposedClips) -> Iterator[tuple[slice, Logits]]:
        """The same, chunk by chunk in their order, each with its rows."""
        start = 0
        while start < len(composed):
            (rows, logits), self._size = halving(
                lambda size, start=start: self._chunk(composed, start, size),  # type: ignore[misc]
                self._size,
                self._fixed,
                self.run,
                self._path,
                "clips",
            )
            self.run.took(self._path, self._size)
            yield rows, logits
            start = rows.stop

    def _chunk(self, composed: ComposedClips, start: int, size: int) -> tuple[slice, Logits]:
        """The next few clips from one on."""
        with isolated_autograd((self.clip,)), torch.no_grad():
            if self.by_frame:
                rows = slice(start, min(start + self._heads(composed, size), len(composed)))
                return rows, self._of_features(composed, rows, size)
            rows = slice(start, min(start + size, len(composed)))
            if not self.arguments:
                return rows, self._of_clips(composed.clips(rows))
            rows = slice(start, start + _before_repeats(composed.example[start:].tolist()))
            return rows, self._of_batch(composed, rows)

    def _heads(self, composed: ComposedClips, size: int) -> int:
        """Clips whose features go through the head at a time: as many as were asked for.

        By default 64, fewer where their features are large, and where memory was short before.
        """
        if self._fixed:
            return size
        room = HELD // max(1, self._features.largest * composed.order.shape[1])
        return max(1, min(HEADS, room) * size // self._first_size)

    def _of_features(self, composed: ComposedClips, rows: slice, size: int) -> Logits:
        """Encode the frames that are new, a few clips' worth at a time, and run the heads."""
        assert isinstance(self.model, FramewiseModel)
        order = composed.order[rows]
        numbers, places = order.unique(return_inverse=True)
        keys = [composed.table.key(number) for number in numbers.tolist()]
        found = self._features.taken(keys)
        missing = [place for place in range(len(keys)) if place not in found]
        at_a_time = max(1, size * self.clip.shape[1])
        for start in range(0, len(missing), at_a_time):
            chunk = missing[start : start + at_a_time]
            for place, row in zip(
                chunk, self._encoded(composed.table, numbers[chunk]), strict=True
            ):
                # A copy: a row would keep all others that were encoded with it.
                found[place] = row.clone()
        self._features.keep(keys, found)
        held = torch.stack([found[place] for place in range(len(keys))])[places]
        with named_misfit(self.model, held):
            return check_logits(self.model.head(held), len(order)).detach()

    def _encoded(self, table: FrameTable, numbers: Int[Tensor, "frames"]) -> Features:
        assert isinstance(self.model, FramewiseModel)
        frames = self.model.to_layout(table.frames(numbers)[None])
        with named_misfit(self.model, frames):
            features = self.model.encode(frames)
        self.run.ran(forward=len(numbers))
        return features

    def _of_clips(self, clips: ClipTensor) -> Logits:
        # The model's own size of clips is checked before; here some can be shorter.
        wrapper = self.model if isinstance(self.model, VideoModel) else None
        fits = nullcontext() if wrapper is None else named_misfit(wrapper, clips)
        with fits:
            found = model_logits(self.model, (clips,), self.arguments)
        self.run.ran(forward=clips.shape[0] * clips.shape[1])
        return found.detach()

    def _of_batch(self, composed: ComposedClips, rows: slice) -> Logits:
        """What is handed over with the clips belongs to the whole batch, so all of it goes."""
        clips = composed.clips(rows)
        alike = clips.shape[1] == self.clip.shape[1]
        whole = self.clip.clone() if alike else clips[:1].repeat(len(self.clip), 1, 1, 1, 1)
        example = composed.example[rows]
        whole[example] = clips
        return self._of_clips(whole)[example]


class _KeptFeatures:
    """Features of frames by their keys; the least recently used are forgotten first."""

    def __init__(self) -> None:
        self.largest = 0
        self._held: OrderedDict[Hashable, Tensor] = OrderedDict()

    def taken(self, keys: list[Hashable]) -> dict[int, Tensor]:
        """Those that are kept, by their places in the list."""
        found = {}
        for place, key in enumerate(keys):
            if key in self._held:
                self._held.move_to_end(key)
                found[place] = self._held[key]
        return found

    def keep(self, keys: list[Hashable], features: dict[int, Tensor]) -> None:
        """Keep those of frames that may come again, as many as there is room for."""
        self.largest = max(self.largest, features[0].numel())
        for place, key in enumerate(keys):
            if key is not None:
                self._held[key] = features[place]
        while len(self._held) > max(1, HELD // features[0].numel()):
            self._held.popitem(last=False)


def _before_repeats(examples: list[int]) -> int:
    """How many of these clips come before an example of the batch comes again."""
    seen: set[int] = set()
    for row in examples:
        if row in seen:
            break
        seen.add(row)
    return len(seen)
