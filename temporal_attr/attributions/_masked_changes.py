"""How far an attribution moves when parts of a clip are hidden, one after another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from captum.attr import Attribution
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor, Logits, Target
from temporal_attr.attributions._hiding import Hide, cover, neighbour_of
from temporal_attr.attributions._memory import DEFAULT_CHUNK
from temporal_attr.attributions._score_sources import Choose, attribute_clips

Copies: TypeAlias = Float[Tensor, "copies time channel height width"]
"""Clips of the batch, each as often as it is masked."""

Region: TypeAlias = Bool[Tensor, "height width"]


@dataclass(frozen=True)
class Mask:
    """What is hidden of one clip: all of some frames, or a part of them.

    Attributes:
        example: Which clip of the batch.
        first: The first frame.
        end: The one after the last.
        part: `(height, width)`, what is hidden of each; None for all.
    """

    example: int
    first: int
    end: int
    part: Region | None = None


@dataclass(frozen=True)
class Changes:
    """What hiding did, mask by mask.

    Attributes:
        moved: `(masks,)`, the sum over all values of |R(X) - R(X masked)|.
        logits: `(masks, classes)`, of the masked clips.
    """

    moved: Float[Tensor, "masks"]
    logits: Float[Tensor, "masks classes"]


@dataclass(frozen=True)
class Masked:
    """An attribution method, and how clips are put before it.

    Attributes:
        method: Whose attribution is shaped like the clip.
        hide: What stands where something is hidden.
        choose: From logits of the whole batch to the class of each that is explained.
        arguments: Handed to the model after the clips; then the whole batch goes at a time.
        options: Handed to the method's `attribute` by name.
        chunk_size: Frames that go through the model at a time, and at least one clip.
        seed: Of the method's random numbers; then one clip goes at a time, and all see the same.
    """

    method: Attribution
    hide: Hide
    choose: Choose
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] | None = None
    chunk_size: int | None = None
    seed: int | None = None

    def of_batch(self, clip: ClipTensor) -> tuple[ClipTensor, Logits]:
        """R(X) and the logits of the clips as they are."""
        return self._attributed(clip, clip, torch.arange(len(clip)))

    def changes(
        self,
        clip: ClipTensor,
        relevance: ClipTensor,
        masks: Sequence[Mask],
        title: str,
        show_progress: bool = False,
    ) -> Changes:
        """Attribute every masked clip, a few at a time.

        Args:
            clip: `(batch, time, channel, height, width)`.
            relevance: R(X), of the clips as they are.
            masks: What to hide.
            title: Of the bar.
            show_progress: Show a bar, with the time left, on anything over two seconds.
        """
        hidden = None if self.hide == "neighbour" else cover(clip, self.hide)
        # Made once: small results lying between what is freed would fragment the heap.
        moved = relevance.new_empty(len(masks))
        logits: Tensor | None = None
        with tqdm(total=len(masks), desc=title, disable=not show_progress, delay=2) as bar:
            for chunk in self._chunks(clip, masks):
                rows = torch.tensor([mask.example for _, mask in chunk])
                shown = torch.stack([_masked(clip, hidden, mask) for _, mask in chunk])
                found, said = self._attributed(shown, clip, rows)
                places = torch.tensor([place for place, _ in chunk])
                moved[places] = (found - relevance[rows]).abs().sum((1, 2, 3, 4))
                if logits is None:
                    logits = said.new_empty(len(masks), said.shape[1])
                logits[places] = said
                bar.update(len(chunk))
        assert logits is not None
        return Changes(moved, logits)

    def _chunks(self, clip: ClipTensor, masks: Sequence[Mask]) -> Iterator[list[tuple[int, Mask]]]:
        clips = max(1, (self.chunk_size or DEFAULT_CHUNK) // clip.shape[1])
        if self.seed is not None or self.arguments:
            clips = 1
        numbered = list(enumerate(masks))
        for start in range(0, len(numbered), clips):
            yield numbered[start : start + clips]

    def _attributed(
        self, shown: Copies, clip: ClipTensor, rows: Tensor
    ) -> tuple[Copies, Float[Tensor, "copies classes"]]:
        """Attributions and logits of copies of some examples."""
        if self.arguments and len(shown) == 1:
            # What goes with the clips belongs to the whole batch, so the whole batch goes along.
            whole = clip.clone()
            whole[rows] = shown
            found, logits = self._call(whole, torch.arange(len(clip)))
            return found[rows], logits[rows]
        if self.seed is None or len(shown) == 1:
            return self._call(shown, rows)
        single = [self._call(shown[i : i + 1], rows[i : i + 1]) for i in range(len(shown))]
        return torch.cat([one for one, _ in single]), torch.cat([said for _, said in single])

    def _call(self, shown: ClipTensor, rows: Tensor) -> tuple[ClipTensor, Logits]:
        def choose(logits: Logits) -> Target:
            # With arguments the whole batch is here, and otherwise copies of some of its clips.
            classes = self.choose(logits)
            return classes if self.arguments else classes[rows]

        with _seeded(self.seed):
            found, logits = attribute_clips(
                self.method, shown, choose, self.arguments, self.options
            )
        return _require_shaped(found, shown), logits


@contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Draw from a seed, and leave the caller's random states as they were."""
    if seed is None:
        yield
        return
    # Captum draws from NumPy's global state as well.
    state = np.random.get_state()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(state)


def _masked(clip: ClipTensor, hidden: ClipTensor | None, mask: Mask) -> Tensor:
    """One clip with a part hidden."""
    shown = clip[mask.example].clone()
    for frame in range(mask.first, mask.end):
        if hidden is None:
            cover_of_frame = clip[mask.example, neighbour_of(mask.first, mask.end, clip.shape[1])]
        else:
            cover_of_frame = hidden[mask.example, frame]
        if mask.part is None:
            shown[frame] = cover_of_frame
        else:
            shown[frame] = torch.where(mask.part, cover_of_frame, shown[frame])
    return shown


def _require_shaped(found: Any, clips: ClipTensor) -> ClipTensor:  # noqa: ANN401 - the method's
    if not isinstance(found, Tensor) or found.shape != clips.shape:
        came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"an attribution shaped like the clips, {tuple(clips.shape)}",
            f"{came}",
            "Use a method that attributes to pixels, such as TemporalGradient, LRP or Saliency.",
        )
    bad = int((~found.isfinite()).sum())
    if bad:
        raise ModelError(
            "a finite attribution",
            f"{bad} of {found.numel()} that are NaN or infinite",
            "Look at the method's attribution of this clip, or hide with something else.",
        )
    return found.detach()
