"""How the gradient of a framewise model changes under masks, by frame: masked frames are encoded.

No frame sees another before the head, so masking a part of frame t changes the features of that
frame only, and reaches the other frames only through the gradient at their features. Their encoders
stay as they are, and so does the derivative of these: see `_unmasked_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Target
from temporal_attr.attributions._nested import require_finite
from temporal_attr.attributions.frame_masking_tsr._frame_gradient import FrameGradient
from temporal_attr.attributions.frame_masking_tsr._operations import OperationCount
from temporal_attr.attributions.frame_masking_tsr._unmasked_frames import (
    UnmaskedFrame,
    frame_changes,
)
from temporal_attr.gradients import (
    encode_frames,
    frame_graph,
    gradient_at_features,
    halving,
    isolated_autograd,
)
from temporal_attr.models import FramewiseModel
from temporal_attr.perturbations import (
    ChunkEffects,
    Effects,
    EffectsSoFar,
    Mask,
    MaskQuery,
    masked_frames,
    stopping,
)

BY_FRAME, COMBINED = "by frame", "by frame, combined directions"

HELD = 2**23
"""Numbers held for each frame of the chunk size: once gradients at the features of all frames under
many masks, and once products with one encoder."""


@dataclass(frozen=True)
class FrameRequest:
    """A gradient of a framewise model, and the clips that it is taken of.

    Attributes:
        gradient: What is attributed.
        target: The class of each clip that is explained.
        clip: `(batch, time, channel, height, width)`.
        base: R(X).
        baseline: What each value becomes where it is masked; None for the neighbouring frame.
        at_a_time: Frames that go through the encoder at a time.
        fixed: Whether that was asked for; otherwise there are fewer where memory is short.
    """

    gradient: FrameGradient
    target: Target
    clip: ClipTensor
    base: ClipTensor
    baseline: ClipTensor | None
    at_a_time: int
    fixed: bool

    @property
    def model(self) -> FramewiseModel:
        """Whose gradient it is."""
        return self.gradient.model


@dataclass(frozen=True)
class EncodedClips:
    """The clips as they are, with which masked ones are compared.

    Attributes:
        request: What was encoded.
        features: `(batch, time, ...)`.
        at_features: The gradient of the objective at the features.
        flops: Floating point operations of one frame's encoder.
        at_a_time: Frames that go through the encoder at a time.
    """

    request: FrameRequest
    features: Shaped[Tensor, "batch time ..."]
    at_features: Shaped[Tensor, "batch time ..."]
    flops: int
    at_a_time: int


@dataclass(frozen=True)
class _MaskedFrames:
    """What masks do where they are, and to the gradient at the features of the other frames.

    Attributes:
        change: `(masks,)`, of the attribution of the masked frames.
        logits: `(masks, classes)`.
        shifts: `(masks, time, ...)`, by how much the gradient at the features of the other frames
            changes; 0 at those that are masked.
    """

    change: Float[Tensor, "masks"]
    logits: Float[Tensor, "masks classes"]
    shifts: Shaped[Tensor, "masks time ..."]


def encoded_clips(request: FrameRequest, run: RunContext) -> EncodedClips | None:
    """The clips encoded, or None where masks by frame would not give the numbers of masked clips.

    That is so where the model does something beside its encoder and its head (in a hook, or a
    `forward` of its own), where the backward pass through the encoder is not linear (guided
    backpropagation), or where features have another precision than the clip.
    """
    if any(hasattr(part, "_orig_mod") for part in request.model.modules()):
        return None  # compiled parts cannot run backwards twice

    def attempt(size: int) -> EncodedClips | None:
        with isolated_autograd((request.clip,)):
            encoded = _encoded(request, size, run)
            return encoded if _leads_to_base(encoded, run) else None

    path = f"{BY_FRAME}, preparation"
    found, _ = halving(attempt, request.at_a_time, request.fixed, run, path)
    return found


def effects_by_frame(encoded: EncodedClips, query: MaskQuery, run: RunContext) -> Effects:
    """What masks do to the gradient: as many at a time as there is room for what follows from them.

    The logits cost no extra pass.

    Args:
        encoded: The clips as they are.
        query: The masks.
        run: Shows bars, and notes the path.
    """
    found = EffectsSoFar(len(query.masks), encoded.request.clip)
    size = encoded.at_a_time
    with stopping(query.on_stop):
        while found.count < len(query.masks):
            chunk, size = _next_group(encoded, query, found.count, size, run)
            found.add(chunk)
    return found.effects()


def _next_group(
    encoded: EncodedClips, query: MaskQuery, start: int, size: int, run: RunContext
) -> tuple[ChunkEffects, int]:
    """The effects of the masks from one on, and how many frames were encoded at a time for them."""

    def attempt(size: int) -> ChunkEffects:
        with isolated_autograd((encoded.request.clip,)):
            return group_effects(encoded, query, start, size, run)

    return halving(attempt, size, encoded.request.fixed, run, BY_FRAME)


def group_effects(
    encoded: EncodedClips, query: MaskQuery, start: int, size: int, run: RunContext
) -> ChunkEffects:
    """What the next few masks do: to the frames that they mask, and then to the others.

    Args:
        encoded: The clips as they are.
        query: All masks.
        start: The first of the group.
        size: Frames that go through the encoder at a time.
        run: Counts the passes.
    """
    features = encoded.features
    masks = masks_of_group(encoded, query.masks, start, size)
    # Made once: small results lying between what is freed would fragment the heap.
    shifts = features.new_empty(len(masks), *features.shape[1:])
    change = torch.empty(len(masks), dtype=torch.float64, device=features.device)
    logits: Tensor | None = None
    at_a_time = max(1, size // max(len(mask.frames) for mask in masks))
    with run.progress(len(masks), query.description) as bar:
        for places in torch.arange(len(masks)).split(at_a_time):
            part = _masked(encoded, [masks[place] for place in places.tolist()], run)
            change[places], shifts[places] = part.change, part.shifts
            if query.predict:
                if logits is None:
                    logits = part.logits.new_empty(len(masks), part.logits.shape[1])
                logits[places] = part.logits
            bar.update(len(places))
    return ChunkEffects(_with_unmasked(encoded, masks, change, shifts, size, run), logits)


def masks_of_group(
    encoded: EncodedClips, masks: Sequence[Mask], start: int, size: int
) -> Sequence[Mask]:
    """The masks from one on for which there is room at once."""
    return masks[start : start + max(1, size * HELD // encoded.features[0].numel())]


def _encoded(request: FrameRequest, size: int, run: RunContext) -> EncodedClips:
    """Encode all frames, and see what that costs."""
    model = request.model
    frames = model.to_layout(request.clip)
    with OperationCount() as operations:
        _features(model, frames[:1], 1, run)
    features = _features(model, frames, size, run).unflatten(0, request.clip.shape[:2])
    at_features, _ = _at_features(request, request.target, features)
    return EncodedClips(request, features, at_features, operations.total, size)


@torch.no_grad()
def _features(model: FramewiseModel, frames: Tensor, size: int, run: RunContext) -> Tensor:
    """Features of frames, some at a time."""
    parts = []
    for part in frames.split(size):
        parts.append(encode_frames(model, part.clone()))
        run.ran(forward=len(part))
    return torch.cat(parts)


def _leads_to_base(encoded: EncodedClips, run: RunContext) -> bool:
    """Whether the gradient at the features leads to R(X), through a linear backward pass."""
    request = encoded.request
    if encoded.features.dtype != request.clip.dtype:
        return False
    tolerance = torch.finfo(request.clip.dtype).eps ** 0.5
    frames, given = request.clip.flatten(0, 1), encoded.at_features.flatten(0, 1)
    for places in torch.arange(len(frames)).split(encoded.at_a_time):
        leaf, features = frame_graph(request.model, frames[places])
        random = torch.Generator().manual_seed(0)
        other = torch.randn(given[places].shape, generator=random).to(given)
        other *= given[places].norm() / other.norm()
        run.ran(forward=len(places))
        products = []
        for vectors in (given[places], other, -given[places] - other):
            (product,) = torch.autograd.grad(
                features, leaf, vectors, retain_graph=True, materialize_grads=True
            )
            products.append(product)
            run.ran(backward=len(places))
        found = request.gradient.attributed(products[0], frames[places])
        expected = request.base.flatten(0, 1)[places]
        if not _close(found, expected, tolerance) or not _close(
            products[2], -products[0] - products[1], tolerance
        ):
            return False
    return True


def _masked(encoded: EncodedClips, masks: Sequence[Mask], run: RunContext) -> _MaskedFrames:
    """What masks do to the frames that they mask, and to the gradient at the others' features."""
    request = encoded.request
    device = request.clip.device
    rows = torch.tensor([mask.example for mask in masks], device=device)
    places = [(row, frame) for row, mask in enumerate(masks) for frame in mask.frames]
    which, when = torch.tensor(places, device=device).unbind(1)
    frames = masked_frames(request.clip, masks, request.baseline)
    leaf, own = frame_graph(request.model, frames)
    run.ran(forward=len(frames))
    features = encoded.features[rows]
    features[which, when] = own.detach()
    at_features, logits = _at_features(request, request.target[rows], features)
    (product,) = torch.autograd.grad(own, leaf, at_features[which, when], materialize_grads=True)
    run.ran(backward=len(frames))
    found = require_finite(request.gradient.attributed(product, frames))
    before = request.base[rows[which], when]
    by_frame = (found - before).abs().sum((1, 2, 3), dtype=torch.float64)
    change = by_frame.new_zeros(len(masks)).index_add(0, which, by_frame)
    shifts = require_finite(at_features - encoded.at_features[rows])
    shifts[which, when] = 0
    return _MaskedFrames(change, logits, shifts)


def _with_unmasked(
    encoded: EncodedClips,
    masks: Sequence[Mask],
    change: Float[Tensor, "masks"],
    shifts: Shaped[Tensor, "masks time ..."],
    size: int,
    run: RunContext,
) -> Float[Tensor, "masks"]:
    """How far the attribution changes at the masked frames (`change`), and at all others."""
    request = encoded.request
    batch, time = request.clip.shape[:2]
    vectors_of = shifts.reshape(len(masks), time, -1)
    examples = torch.tensor([mask.example for mask in masks], device=change.device)
    # Rounding may take its share of what a mask does to its own frame, once for all others.
    weights = change / max(1, time - 1)
    combined = False
    with run.progress(batch * time, "other frames") as bar:
        for example in range(batch):
            for frame in range(time):
                vectors = vectors_of[:, frame]
                rows = ((examples == example) & vectors.any(1)).nonzero().flatten()
                if len(rows):
                    given = UnmaskedFrame(
                        gradient=request.gradient,
                        frame=request.clip[example, frame],
                        at_features=encoded.at_features[example, frame],
                        flops=encoded.flops,
                        at_a_time=size,
                        held=size * HELD,
                    )
                    changes = frame_changes(given, vectors[rows], weights[rows], run)
                    change = change.index_add(0, rows, changes.sums)
                    combined = combined or changes.directions > 0
                bar.update()
    run.took(COMBINED if combined else BY_FRAME, size)
    return change


def _at_features(
    request: FrameRequest, target: Target, features: Shaped[Tensor, "copies time ..."]
) -> tuple[Tensor, Tensor]:
    """The gradient of the objective at the features of copies of some clips, and their logits."""

    def objective(logits: Tensor) -> Tensor:
        return request.gradient.objective(logits, target)

    found, logits = gradient_at_features(request.model, features, objective)
    return found, logits.to(features.dtype)


def _close(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    apart, size = (found - expected).abs().sum(), expected.abs().sum()
    return bool(apart <= tolerance * size)
