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
from temporal_attr._typing import ClipTensor, Logits, Target
from temporal_attr.attributions._hiding import Hide, cover
from temporal_attr.attributions._masks import Mask, MaskedAttribution, Piece
from temporal_attr.attributions._memory import DEFAULT_CHUNK
from temporal_attr.attributions._score_sources import Choose, attribute_clips

Copies: TypeAlias = Float[Tensor, "copies time channel height width"]
"""Clips of the batch, each as often as it is masked."""


@dataclass(frozen=True)
class MaskedClips(MaskedAttribution):
    """Any attribution method, before which every masked clip is put.

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

    def pieces(
        self,
        clip: ClipTensor,
        relevance: ClipTensor,
        masks: Sequence[Mask],
        title: str,
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
                found, logits = self._attributed(shown, clip, rows)
                moved = (found - relevance[rows]).abs().sum((1, 2, 3, 4))
                yield Piece(places, moved, logits, len(chunk) * clip.shape[1], "masked clips")
                bar.update(len(chunk))

    def _clips_at_a_time(self, clip: ClipTensor) -> int:
        if self.seed is not None or self.arguments:
            return 1
        return max(1, (self.chunk_size or DEFAULT_CHUNK) // clip.shape[1])

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
