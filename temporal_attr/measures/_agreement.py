"""Does a saliency video point to what moves? Agreement with the flow, and with it by chance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_within
from temporal_attr._typing import ClipTensor, PerExample
from temporal_attr.clips import FullShuffle, draw_orders
from temporal_attr.measures._frame_scores import require_attribution
from temporal_attr.measures._score_ratios import ranks, unit_deviations

SaliencyVideo = Float[Tensor, "batch time height width"]
"""One number for each pixel of each frame."""

FlowFields = Float[Tensor, "batch pairs height width 2"]
"""Where each pixel of a frame goes in the next one."""

FlowMagnitudes = Float[Tensor, "batch pairs height width"]
"""How far it goes."""

# Means of the same numbers in another order differ by rounding only: they lie in [-1, 1].
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Agreement:
    """How well two videos agree, and how well they would if the frames of one came in any order.

    Attributes:
        frames: `(batch, pairs)`, of each frame with the flow into it; NaN where one is constant.
        value: `(batch,)`, the mean over frames for which there is a number; NaN if there are none.
        chance: `(batch,)`, the same of saliency frames in random order, in the mean over the orders
            for which there is a number; NaN if there are none.
        p_value: `(batch,)`, the probability that an order drawn at random agrees at least as well
            as the natural one, in (0, 1]; NaN where the value is.

    Example:
        >>> flow = torch.eye(5).reshape(1, 5, 1, 5)
        >>> saliency = torch.cat([torch.zeros(1, 1, 1, 5), flow], 1)
        >>> flow_agreement(saliency, flow, top=0.2).intersection.value
        tensor([1.], dtype=torch.float64)
    """

    frames: Float[Tensor, "batch pairs"]
    value: PerExample
    chance: PerExample
    p_value: PerExample


@dataclass(frozen=True)
class FlowAgreement:
    """How well a saliency video agrees with the flow of its clip.

    Attributes:
        rank_correlation: Spearman's, over the pixels of a frame; in [-1, 1].
        intersection: Of the pixels with the largest saliency, the share that are among those with
            the largest flow; in [0, 1].

    Example:
        >>> flow = torch.eye(5).reshape(1, 5, 1, 5)
        >>> saliency = torch.cat([torch.zeros(1, 1, 1, 5), flow], 1)
        >>> flow_agreement(saliency, flow, top=0.2).intersection.value
        tensor([1.], dtype=torch.float64)
    """

    rank_correlation: Agreement
    intersection: Agreement


def saliency_video(attribution: ClipTensor) -> SaliencyVideo:
    """How much each pixel of each frame matters: the L2 norm of its attribution over the channels.

    Args:
        attribution: `(batch, time, channel, height, width)`, of this library or Captum's.

    Returns:
        `(batch, time, height, width)`, in the unit of the attribution, 0 or more.

    Raises:
        ClipError: If the attribution does not have five axes.

    Example:
        >>> saliency_video(torch.tensor([3.0, -4.0]).reshape(1, 1, 2, 1, 1))
        tensor([[[[5.]]]])
    """
    require_attribution(attribution)
    saliency: Tensor = torch.linalg.vector_norm(attribution, dim=2)
    return saliency


def flow_agreement(
    saliency: SaliencyVideo,
    flow: FlowFields | FlowMagnitudes,
    top: float = 0.1,
    shuffles: int = 20,
    seed: int = 0,
) -> FlowAgreement:
    """Does the saliency of a frame point to what moved into it?

    The saliency of frame t is compared to the magnitude of the flow from frame t - 1 to t, pixel by
    pixel, from the second frame on: by Spearman's rank correlation, where equal pixels share the
    mean of their ranks, and by how many of the top pixels are the same, where equal pixels share
    what is left of the top: so much is to be expected if those that fill it up are drawn at random.

    Chance is the same with the saliency of frames 2 to T in random order, other than their own: it
    keeps what all frames have in common, such as an object that stays in the middle, and a saliency
    that is the same in each frame agrees no better than by chance. The p-value counts the natural
    order itself, and so is never below 1 / (shuffles + 1) :cite:p:`phipson2010`. It takes any order
    to be as likely as another. Neighbouring frames are alike: of two videos that drift slowly and
    have nothing else in common, it is small more often than it should be.

    Flow is of each pixel of the earlier frame: what moves far is salient a little beside its flow.

    Args:
        saliency: `(batch, time, height, width)`, larger where pixels matter more, of at least 3
            frames: from `saliency_video`, or with a sign if what opposes counts as least.
        flow: `(batch, time - 1, height, width, 2)` from `optical_flow`, or its magnitude
            `(batch, time - 1, height, width)`, of the same pixels.
        top: The share of a frame's pixels that are at the top, in (0, 1), rounded to whole pixels
            and at least 1. Of pixels drawn at random, this share meets.
        shuffles: How many orders to draw, all different, and the same for each clip. Three frames
            have 1 other order of their last two, four have 5, and five have 23.
        seed: The same seed draws the same orders.

    Returns:
        Both agreements, in float64 on the device of the saliency. A frame whose saliency or flow is
        constant, but for the rounding of its type, has none: NaN.

    Raises:
        ClipError: If the saliency does not have four axes, fewer than 3 frames or no pixel, the
            flow does not have its shape, or one of the two is not finite floats.
        OptionError: If an option is out of its range, or there are fewer orders than shuffles.

    Example:
        >>> flow = torch.eye(5).reshape(1, 5, 1, 5)  # one pixel moves, in each frame another
        >>> saliency = torch.cat([torch.zeros(1, 1, 1, 5), flow], 1)
        >>> found = flow_agreement(saliency, flow, top=0.2).intersection
        >>> found.value.item(), round(found.chance.item(), 2), round(found.p_value.item(), 3)
        (1.0, 0.15, 0.048)
    """
    require_within("top", top, 0, 1)
    if top in (0, 1):
        raise OptionError("top between 0 and 1", f"{top}", "Try 0.1.")
    _require_maps(saliency, flow)
    orders = draw_orders(FullShuffle(), saliency.shape[1] - 1, shuffles, seed)
    magnitude = flow if flow.ndim == 4 else torch.linalg.vector_norm(flow, dim=4)
    # (measure, clip, saliency frame, flow frame): every order reads its numbers from here.
    pairs: Tensor = saliency.new_zeros(2, *magnitude.shape[:2], magnitude.shape[1]).double()
    maps = (saliency[:, 1:].detach(), magnitude.detach().to(saliency.device))
    for clip, sides in enumerate(zip(*maps, strict=True)):
        first, second = (side.flatten(1) for side in sides)
        pairs[0, clip] = _rank_correlations(first, second)
        pairs[1, clip] = _intersections(first, second, top)
    orders = orders.to(saliency.device)
    return FlowAgreement(_against_chance(pairs[0], orders), _against_chance(pairs[1], orders))


def _rank_correlations(
    first: Float[Tensor, "one pixels"], second: Float[Tensor, "other pixels"]
) -> Float[Tensor, "one other"]:
    """Spearman's correlation of each map of one with each of the other."""
    sides = []
    for maps in (first, second):
        known = torch.where(_constant(maps)[:, None], torch.nan, ranks(maps))
        sides.append(unit_deviations(known))
    return (sides[0] @ sides[1].T).clamp(-1, 1)


def _intersections(
    first: Float[Tensor, "one pixels"], second: Float[Tensor, "other pixels"], top: float
) -> Float[Tensor, "one other"]:
    """The share of the top pixels of each map of one that are top pixels of each of the other."""
    count = max(1, round(top * first.shape[1]))
    sides = []
    for maps in (first, second):
        least = maps.topk(count).values[:, -1:]
        above, equal = maps > least, maps == least
        left = count - above.sum(1, keepdim=True)
        chosen = above.double() + equal.double() * (left.double() / equal.sum(1, keepdim=True))
        sides.append(chosen.masked_fill(_constant(maps)[:, None], torch.nan))
    return sides[0] @ sides[1].T / count


def _constant(maps: Float[Tensor, "maps pixels"]) -> Bool[Tensor, "maps"]:
    """Whose pixels differ by no more than the precision of their type."""
    spread = maps.amax(1) - maps.amin(1)
    return spread <= torch.finfo(maps.dtype).eps * maps.abs().amax(1)


def _against_chance(
    pairs: Float[Tensor, "batch pairs pairs"], orders: Int[Tensor, "orders pairs"]
) -> Agreement:
    """The natural order, on the diagonal, beside the shuffled ones."""
    frames = pairs.diagonal(dim1=1, dim2=2)
    value = frames.nanmean(1)
    # At place p stands frame orders[p], beside the flow of place p.
    places = torch.arange(orders.shape[1], device=orders.device)
    shuffled = pairs[:, orders, places].nanmean(2)
    known = ~shuffled.isnan()
    as_good = (shuffled >= value[:, None] - _ROUNDING).sum(1)
    p_value = (1 + as_good).double() / (1 + known.sum(1))
    p_value = p_value.masked_fill(value.isnan(), torch.nan)
    return Agreement(frames, value, shuffled.nanmean(1), p_value)


def _require_maps(saliency: Tensor, flow: Tensor) -> None:
    if saliency.ndim != 4 or saliency.shape[1] < 3 or 0 in saliency.shape[2:]:
        raise ClipError(
            "saliency (batch, time, height, width) of at least 3 frames",
            f"shape {tuple(saliency.shape)}",
            "Take `saliency_video` of an attribution; two frames have one flow, and no order.",
        )
    batch, time, height, width = saliency.shape
    magnitude = (batch, time - 1, height, width)
    if tuple(flow.shape) not in (magnitude, (*magnitude, 2)):
        raise ClipError(
            f"flow of shape {magnitude}, or with 2 components at the end",
            f"shape {tuple(flow.shape)}",
            "Take the flow of the frames that the saliency is of.",
        )
    for name, maps in (("saliency", saliency), ("flow", flow)):
        if not maps.is_floating_point():
            got, remedy = f"{maps.dtype}", "Convert it with `.float()`."
            raise ClipError(f"{name} in floating point", got, remedy)
        bad = int((~maps.isfinite()).sum())
        if bad:
            got = f"{bad} of {maps.numel()} NaN or infinite"
            raise ClipError(f"finite {name}", got, "Look where they come from.")
