"""How far any attribution moves when parts of a clip are hidden: every masked clip anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from captum.attr import Attribution
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ModelError
from temporal_attr._typing import ClipTensor, Target
from temporal_attr.perturbations._baselines import Hide, cover
from temporal_attr.perturbations._effects import Mask, MaskedAttribution, Piece, require_finite
from temporal_attr.attributions._memory import DEFAULT_CHUNK
from temporal_attr.attributions._memory import attribute_clips, predict_clips

Copies: TypeAlias = Float[Tensor, "copies time channel height width"]
"""Clips of the batch, each as often as it is masked."""


@dataclass(frozen=True)
class MaskedClips(MaskedAttribution):
    """Any attribution method, before which every masked clip is put.

    Attributes:
        method: Whose attribution is shaped like the clip.
        hide: What stands where something is hidden.
        target: The class of each clip that is explained.
        arguments: Handed to the model after the clips; then the whole batch goes at a time.
        options: Handed to the method's `attribute` by name.
        chunk_size: Frames that go through the model at a time, and at least one clip.
        seed: Of the method's random numbers; then one clip goes at a time, and all see the same.
    """

    method: Attribution
    hide: Hide
    target: Target
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] | None = None
    chunk_size: int | None = None
    seed: int | None = None

    def of_batch(self, clip: ClipTensor) -> ClipTensor:
        """R(X) of the clips as they are."""
        every = torch.arange(len(clip))
        rows = [every] if self.arguments else every.split(self._clips_at_a_time(clip))
        return torch.cat([self._attributed(clip[some], clip, some) for some in rows])

    def pieces(
        self,
        clip: ClipTensor,
        relevance: ClipTensor,
        masks: Sequence[Mask],
        title: str,
        predict: bool,
        show_progress: bool,
    ) -> Iterator[Piece]:
        """Attribute every masked clip, a few at a time."""
        hidden = None if self.hide == "neighbour" else cover(clip, self.hide)
        with tqdm(total=len(masks), desc=title, disable=not show_progress, delay=2) as bar:
            for places in torch.arange(len(masks)).split(self._clips_at_a_time(clip)):
                chunk = [masks[place] for place in places.tolist()]
                rows = torch.tensor([mask.example for mask in chunk], device=clip.device)
                shown = clip[rows]
                for copy, mask in zip(shown, chunk, strict=True):
                    copy[mask.first : mask.end] = mask.applied(clip, hidden)
                found = self._attributed(shown, clip, rows)
                moved = (found - relevance[rows]).abs().sum((1, 2, 3, 4))
                logits = self._logits(shown, clip, rows) if predict else None
                frames = len(chunk) * clip.shape[1] * (2 if predict else 1)
                yield Piece(places, moved, logits, frames, "masked clips")
                bar.update(len(chunk))

    def _clips_at_a_time(self, clip: ClipTensor) -> int:
        if self.seed is not None or self.arguments:
            return 1
        return clips_at_a_time(self.chunk_size, clip)

    def _attributed(self, shown: Copies, clip: ClipTensor, rows: Tensor) -> Copies:
        """Attributions of copies of some examples."""
        if self.seed is not None and len(shown) > 1:
            alone = zip(shown.split(1), rows.split(1), strict=True)
            return torch.cat([self._attributed(one, clip, row) for one, row in alone])
        clips, places = self._company(shown, clip, rows)
        target = self.target if self.arguments else self.target[rows]
        with seeded(self.seed):
            found = attribute_clips(self.method, clips, target, self.arguments, self.options)
        return _require_shaped(found, clips)[places]

    def _logits(
        self, shown: Copies, clip: ClipTensor, rows: Tensor
    ) -> Float[Tensor, "copies classes"]:
        clips, places = self._company(shown, clip, rows)
        with seeded(self.seed):
            return predict_clips(self.method, clips, self.arguments)[places]

    def _company(self, shown: Copies, clip: ClipTensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The clips that go through the model together, and where among them the copies are."""
        if not self.arguments:
            return shown, torch.arange(len(shown))
        # What goes with the clips belongs to the whole batch, so the whole batch goes along.
        whole = clip.clone()
        whole[rows] = shown
        return whole, rows


def clips_at_a_time(chunk_size: int | None, clip: ClipTensor) -> int:
    """How many clips have as many frames as go through the model at a time, and at least one."""
    return max(1, (chunk_size or DEFAULT_CHUNK) // clip.shape[1])


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
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


def _require_shaped(found: Any, clips: ClipTensor) -> ClipTensor:  # noqa: ANN401 - the method's
    if not isinstance(found, Tensor) or found.shape != clips.shape:
        came = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"an attribution shaped like the clips, {tuple(clips.shape)}",
            f"{came}",
            "Use a method that attributes to pixels, such as TemporalGradient, LRP or Saliency.",
        )
    return require_finite(found).detach()
