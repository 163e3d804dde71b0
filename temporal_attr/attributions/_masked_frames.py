"""How far the gradient of a framewise model moves when parts of frames are hidden.

No frame sees another before the head, so hiding a part of frame t changes the features of that
frame only, and reaches the other frames only through the gradient that the head hands back to
them. Their encoders stay as they are, and are linear on the way back: see `OtherFrame`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from temporal_attr._typing import ClipTensor, Target
from temporal_attr.attributions._frame_gradients import FrameGradient
from temporal_attr.attributions._graph import own_graph
from temporal_attr.attributions._hiding import Hide, cover
from temporal_attr.attributions._masks import Mask, MaskedAttribution, Piece, require_finite
from temporal_attr.attributions._memory import (
    DEFAULT_CHUNK,
    Question,
    cut_graph,
    encode_frames,
    frame_graph,
    is_out_of_memory,
)
from temporal_attr.attributions._other_frames import OtherFrame

HELD = 2**23
"""Numbers held for each frame of the chunk size: once gradients at the features of all frames under
many masks, and once products with one encoder."""

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
"""What may be left out, at most, of a mask's effect on another frame, as a share of its effect on
its own; for the precisions in which this can be kept. It is a sum of sizes: what is left out has
both signs, and moves a sum over pixels far less."""


@dataclass(frozen=True)
class MaskedFrames(MaskedAttribution):
    """A gradient of a framewise model; frames are encoded where they are masked, and no others.

    Attributes:
        gradient: What is attributed.
        hide: What stands where something is hidden.
        target: The class of each clip that is explained.
        chunk_size: Frames that go through the encoder at a time; without it fewer if 16 do not fit.
    """

    gradient: FrameGradient
    hide: Hide
    target: Target
    chunk_size: int | None = None

    def pieces(
        self,
        clip: ClipTensor,
        relevance: ClipTensor,
        masks: Sequence[Mask],
        title: str,
        predict: bool,
        show_progress: bool,
    ) -> Iterator[Piece]:
        """As many masks at a time as there is room for what they do to the other frames.

        The logits come for nothing.
        """
        size, start = self.chunk_size or DEFAULT_CHUNK, 0
        with own_graph((clip,)) as (own,):
            scene = _scene(self, own, relevance, size)
        at_a_time = max(1, size * HELD // scene.features[0].numel())
        while start < len(masks):
            group = masks[start : start + at_a_time]
            try:
                # Not around the yield, or who takes the piece would run in this mode too.
                with own_graph((own,)):
                    piece = scene.piece(group, start, size, title, show_progress)
            except Exception as error:
                if self.chunk_size is not None or size == 1 or not is_out_of_memory(error):
                    raise
            else:
                yield piece
                start += len(group)
                continue
            # Only here is the error, which holds the graph, gone.
            size //= 2
            at_a_time = max(1, at_a_time // 2)
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Scene:
    """The clips as they are, which masked ones are compared to.

    Attributes:
        asked: What is asked.
        clip: All clips.
        relevance: R(X).
        hidden: What shows where something is hidden; None for the neighbouring frame.
        features: `(batch, time, ...)`.
        gradients: The gradient of the objective at the features.
        flops: Floating point operations of one frame's encoder.
    """

    asked: MaskedFrames
    clip: ClipTensor
    relevance: ClipTensor
    hidden: ClipTensor | None
    features: Float[Tensor, "batch time ..."]
    gradients: Float[Tensor, "batch time ..."]
    flops: int

    def piece(
        self, masks: Sequence[Mask], first: int, size: int, title: str, show_progress: bool
    ) -> Piece:
        """What some masks do: to the frames they touch, and then to the others."""
        # Made once: small results lying between what is freed would fragment the heap.
        shifts = self.features.new_empty(len(masks), *self.features.shape[1:])
        moved = torch.empty(len(masks), dtype=torch.float64, device=self.clip.device)
        logits: Tensor | None = None
        clips = max(1, size // max(len(mask.frames) for mask in masks))
        with tqdm(total=len(masks), desc=title, disable=not show_progress, delay=2) as bar:
            for places in torch.arange(len(masks)).split(clips):
                chunk = [masks[place] for place in places.tolist()]
                moved[places], said, shifts[places] = self._own_frames(chunk)
                logits = said.new_empty(len(masks), said.shape[1]) if logits is None else logits
                logits[places] = said
                bar.update(len(chunk))
        assert logits is not None
        directions = self._other_frames(masks, shifts.flatten(2), moved, size, show_progress)
        return Piece(
            places=torch.arange(first, first + len(masks)),
            moved=moved.to(self.clip.dtype),
            logits=logits,
            frames=sum(len(mask.frames) for mask in masks)
            + self.clip.shape[0] * self.clip.shape[1],
            path="framewise by directions" if directions else "framewise",
        )

    def _own_frames(self, masks: Sequence[Mask]) -> tuple[Tensor, Tensor, Tensor]:
        """What masks do to the frames they touch, the logits, and shifts `(masks, time, ...)`.

        These are how far the gradient at the features of the other frames moves, with 0 at those
        that are touched.
        """
        rows = torch.tensor([mask.example for mask in masks], device=self.clip.device)
        place = [(row, frame) for row, mask in enumerate(masks) for frame in mask.frames]
        which, when = torch.tensor(place, device=self.clip.device).unbind(1)
        frames = torch.cat([mask.applied(self.clip, self.hidden) for mask in masks])
        gradient = self.asked.gradient
        leaf, encoded = frame_graph(gradient.model, frames)
        features = self.features[rows]
        features[which, when] = encoded.detach()
        shifts, logits = _at_features(self.asked, features, rows)
        (pulled,) = torch.autograd.grad(encoded, leaf, shifts[which, when], materialize_grads=True)
        found = require_finite(gradient.attributed(pulled, frames))
        apart = (
            (found - self.relevance[rows[which], when]).abs().sum((1, 2, 3), dtype=torch.float64)
        )
        moved = apart.new_zeros(len(masks)).index_add(0, which, apart)
        shifts = require_finite(shifts - self.gradients[rows])
        shifts[which, when] = 0
        return moved, logits, shifts

    def _other_frames(
        self,
        masks: Sequence[Mask],
        shifts: Float[Tensor, "masks time feature"],
        moved: Float[Tensor, "masks"],
        size: int,
        show_progress: bool,
    ) -> bool:
        """Add how far the other frames move; whether directions served many masks at once."""
        batch, time = self.clip.shape[:2]
        examples = torch.tensor([mask.example for mask in masks], device=self.clip.device)
        allowed = moved * TOLERANCE[self.clip.dtype]
        directions = False
        with tqdm(
            total=batch * time, desc="other frames", disable=not show_progress, delay=2
        ) as bar:
            for example in range(batch):
                for frame in range(time):
                    vectors = shifts[:, frame]
                    rows = ((examples == example) & vectors.any(1)).nonzero().flatten()
                    if len(rows):
                        other = OtherFrame(
                            self.asked.gradient,
                            self.clip[example, frame],
                            self.gradients[example, frame],
                            self.flops,
                            min(size, len(rows)),
                            size * HELD,
                        )
                        moved[rows] += other.moved(vectors[rows], allowed[rows])
                        directions = directions or other.directions > 0
                    bar.update()
        return directions


def _scene(asked: MaskedFrames, clip: ClipTensor, relevance: ClipTensor, size: int) -> _Scene:
    """Encode all frames, and see what that costs."""
    model = asked.gradient.model
    frames = model.to_layout(clip)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            encode_frames(model, frames[:1].clone())
        features = torch.cat([encode_frames(model, part.clone()) for part in frames.split(size)])
    features = features.unflatten(0, clip.shape[:2])
    gradients, _ = _at_features(asked, features, torch.arange(len(clip)))
    hidden = None if asked.hide == "neighbour" else cover(clip, asked.hide)
    return _Scene(asked, clip, relevance, hidden, features, gradients, counter.get_total_flops())


def _at_features(
    asked: MaskedFrames, features: Float[Tensor, "copies time ..."], rows: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradient of the objective at the features of copies of some clips, and their logits."""
    objective = asked.gradient.objective

    def of_copies(logits: Tensor) -> Tensor:
        return objective(logits, asked.target[rows])

    leaf = features.detach().requires_grad_()
    # A copy, so that a head that works in place does not trip over a leaf.
    logits = Question(asked.gradient.model, of_copies).of_features(leaf.clone())
    assert isinstance(logits, Tensor)
    total = of_copies(logits).sum()
    if not total.requires_grad:
        raise cut_graph()
    (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if found is None:
        raise cut_graph()
    return found, logits.detach().to(features.dtype)
