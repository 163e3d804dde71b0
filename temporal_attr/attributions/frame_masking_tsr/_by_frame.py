"""How far the gradient of a framewise model moves when parts of frames are hidden.

No frame sees another before the head, so hiding a part of frame t changes the features of that
frame only, and reaches the other frames only through the gradient that the head hands back to
them. Their encoders stay as they are, and are linear on the way back: see `OtherFrame`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from temporal_attr._typing import ClipTensor, Target
from temporal_attr.attributions.frame_masking_tsr._frame_gradient import FrameGradient
from temporal_attr.gradients import isolated_autograd
from temporal_attr.perturbations._baselines import Hide, cover
from temporal_attr.perturbations._effects import Mask, MaskedAttribution, Piece, require_finite
from temporal_attr.attributions._memory import (
    DEFAULT_CHUNK,
    Question,
    cut_graph,
    encode_frames,
    frame_graph,
    is_out_of_memory,
)
from temporal_attr.attributions.frame_masking_tsr._unmasked_frames import OtherFrame

HELD = 2**23
"""Numbers held for each frame of the chunk size: once gradients at the features of all frames under
many masks, and once products with one encoder."""


@dataclass(frozen=True)
class MaskedFrames(MaskedAttribution):
    """A gradient of a framewise model; frames are encoded where they are masked, and no others.

    Attributes:
        scene: The clips as they are.
        size: Frames that go through the encoder at a time.
        shrink: Whether fewer may, where memory is short.
    """

    scene: Scene
    size: int
    shrink: bool

    @property
    def prepared(self) -> int:
        """All frames for their features, one for its cost, and all to see that it agrees."""
        batch, time = self.scene.clip.shape[:2]
        return 2 * batch * time + 1

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
        size, start = self.size, 0
        while start < len(masks):
            at_a_time = max(1, size * HELD // self.scene.features[0].numel())
            group = masks[start : start + at_a_time]
            try:
                # Not around the yield, or who takes the piece would run in this mode too.
                with isolated_autograd((self.scene.clip,)):
                    piece = self.scene.piece(group, start, size, title, show_progress)
            except Exception as error:
                if not self.shrink or size == 1 or not is_out_of_memory(error):
                    raise
            else:
                yield piece
                start += len(group)
                continue
            # Only here is the error, which holds the graph, gone.
            size //= 2
            torch.cuda.empty_cache()


def masked_frames(
    gradient: FrameGradient,
    hide: Hide,
    target: Target,
    clip: ClipTensor,
    relevance: ClipTensor,
    chunk_size: int | None,
) -> MaskedFrames | None:
    """The cheap way, if it is one to the same numbers.

    It is none where the model does something beside its encoder and its head (in a hook, or a
    `forward` of its own), where going back through the encoder is not linear (guided
    backpropagation), or where features have another precision than the clip.
    """
    if any(hasattr(part, "_orig_mod") for part in gradient.model.modules()):
        return None  # compiled parts cannot go back twice
    size = chunk_size or DEFAULT_CHUNK
    while True:
        try:
            with isolated_autograd((clip,)) as (own,):
                scene = _scene(gradient, hide, target, own, relevance, size)
                agrees = scene.agrees(size)
        except Exception as error:
            if chunk_size is not None or size == 1 or not is_out_of_memory(error):
                raise
        else:
            return MaskedFrames(scene, size, chunk_size is None) if agrees else None
        size //= 2
        torch.cuda.empty_cache()


@dataclass(frozen=True)
class Scene:
    """The clips as they are, which masked ones are compared to.

    Attributes:
        gradient: What is attributed.
        target: The class of each clip that is explained.
        clip: All clips.
        relevance: R(X).
        hidden: What shows where something is hidden; None for the neighbouring frame.
        features: `(batch, time, ...)`.
        gradients: The gradient of the objective at the features.
        flops: Floating point operations of one frame's encoder.
    """

    gradient: FrameGradient
    target: Target
    clip: ClipTensor
    relevance: ClipTensor
    hidden: ClipTensor | None
    features: Shaped[Tensor, "batch time ..."]
    gradients: Shaped[Tensor, "batch time ..."]
    flops: int

    def agrees(self, size: int) -> bool:
        """Whether the gradient at the features leads to R(X), and back in a linear way."""
        if self.features.dtype != self.clip.dtype:
            return False
        near = torch.finfo(self.clip.dtype).eps ** 0.5
        frames, given = self.clip.flatten(0, 1), self.gradients.flatten(0, 1)
        for places in torch.arange(len(frames)).split(size):
            leaf, encoded = frame_graph(self.gradient.model, frames[places])
            random = torch.Generator().manual_seed(0)
            other = torch.randn(given[places].shape, generator=random).to(given)
            other *= given[places].norm() / other.norm()
            along = [
                torch.autograd.grad(
                    encoded, leaf, vectors, retain_graph=True, materialize_grads=True
                )[0]
                for vectors in (given[places], other, -given[places] - other)
            ]
            found = self.gradient.attributed(along[0], frames[places])
            expected = self.relevance.flatten(0, 1)[places]
            if not _close(found, expected, near) or not _close(
                along[2], -along[0] - along[1], near
            ):
                return False
        return True

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
        directions, copies = self._other_frames(
            masks, shifts.reshape(*shifts.shape[:2], -1), moved, size, show_progress
        )
        return Piece(
            places=torch.arange(first, first + len(masks)),
            moved=moved.to(self.clip.dtype),
            logits=logits,
            frames=sum(len(mask.frames) for mask in masks) + copies,
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
        leaf, encoded = frame_graph(self.gradient.model, frames)
        features = self.features[rows]
        features[which, when] = encoded.detach()
        shifts, logits = _at_features(self.gradient, self.target[rows], features)
        (pulled,) = torch.autograd.grad(encoded, leaf, shifts[which, when], materialize_grads=True)
        found = require_finite(self.gradient.attributed(pulled, frames))
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
    ) -> tuple[bool, int]:
        """Add how far the other frames move.

        Returns:
            Whether directions served many masks at once, and how many frames were encoded.
        """
        batch, time = self.clip.shape[:2]
        examples = torch.tensor([mask.example for mask in masks], device=self.clip.device)
        # Rounding may take its share of what a mask does to its own frame, once for all others.
        weights = moved / max(1, time - 1)
        directions, copies = False, 0
        with tqdm(
            total=batch * time, desc="other frames", disable=not show_progress, delay=2
        ) as bar:
            for example in range(batch):
                for frame in range(time):
                    vectors = shifts[:, frame]
                    rows = ((examples == example) & vectors.any(1)).nonzero().flatten()
                    if len(rows):
                        other = OtherFrame(
                            self.gradient,
                            self.clip[example, frame],
                            self.gradients[example, frame],
                            self.flops,
                            size,
                            size * HELD,
                        )
                        moved[rows] += other.moved(vectors[rows], weights[rows])
                        directions = directions or other.directions > 0
                        copies += other.copies
                    bar.update()
        return directions, copies


def _scene(
    gradient: FrameGradient,
    hide: Hide,
    target: Target,
    clip: ClipTensor,
    relevance: ClipTensor,
    size: int,
) -> Scene:
    """Encode all frames, and see what that costs."""
    model = gradient.model
    frames = model.to_layout(clip)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            encode_frames(model, frames[:1].clone())
        features = torch.cat([encode_frames(model, part.clone()) for part in frames.split(size)])
    features = features.unflatten(0, clip.shape[:2])
    # An inference tensor can never be part of a graph, but a copy of it can.
    target = target.clone()
    gradients, _ = _at_features(gradient, target, features)
    hidden = None if hide == "neighbour" else cover(clip, hide)
    flops = counter.get_total_flops()
    return Scene(gradient, target, clip, relevance, hidden, features, gradients, flops)


def _at_features(
    gradient: FrameGradient, target: Target, features: Shaped[Tensor, "copies time ..."]
) -> tuple[Tensor, Tensor]:
    """The gradient of the objective at the features of copies of some clips, and their logits."""
    leaf = features.detach().requires_grad_()

    def of_copies(logits: Tensor) -> Tensor:
        return gradient.objective(logits, target)

    # A copy, so that a head that works in place does not trip over a leaf.
    logits = Question(gradient.model, of_copies).of_features(leaf.clone())
    assert isinstance(logits, Tensor)
    total = of_copies(logits).sum()
    if not total.requires_grad:
        raise cut_graph()
    (found,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if found is None:
        raise cut_graph()
    return found, logits.detach().to(features.dtype)


def _close(found: Tensor, expected: Tensor, near: float) -> bool:
    apart, size = (found - expected).abs().sum(), expected.abs().sum()
    return bool(apart <= near * size)
