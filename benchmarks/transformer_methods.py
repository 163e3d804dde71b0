"""What is compared on video transformers: from a model, a clip and a class to an attribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from inspect import getmembers, isfunction, signature
from itertools import cycle, product
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from temporal_attr import LRP, TemporalGradient, relevance
from temporal_attr.models import VideoModel
from temporal_attr.relevance import Composite
from temporal_attr.zoo import DividedTransformer

BLOCK = (2, 8, 8)
"""Frames, height and width of a tubelet, of both transformers."""
BASELINES = ("background", "grey")
AT_A_TIME = 48
"""Masked clips in a forward pass."""

Explain: TypeAlias = Callable[[VideoModel, Tensor, Tensor], Tensor]
"""From a model, clips `(B, T, C, H, W)` and their classes to attributions of the clips' shape."""


@dataclass(frozen=True)
class Method:
    """A way to explain, and whether the sign of what it gives says for and against."""

    explain: Explain
    signed: bool = True


def sides(clip: Tensor) -> tuple[int, int, int]:
    """Tubelets of a clip in time, height and width."""
    shape = (clip.shape[1], clip.shape[3], clip.shape[4])
    time, height, width = (whole // part for whole, part in zip(shape, BLOCK, strict=True))
    return time, height, width


def tubelets(clips: Tensor) -> Tensor:
    """`(T, H, W)`: the number of the tubelet that a pixel is in."""
    grid = torch.arange(math.prod(sides(clips))).reshape(sides(clips))
    for axis, length in enumerate(BLOCK):
        grid = grid.repeat_interleave(length, axis)
    return grid


def spread(numbers: Tensor, clips: Tensor) -> Tensor:
    """A number for each tubelet, `(B, tubelets)`, shared equally by the values that it covers."""
    pixels = numbers[:, tubelets(clips)][:, :, None]
    return (pixels / (math.prod(BLOCK) * clips.shape[2])).expand_as(clips)


def baseline_of(clip: Tensor, name: str) -> Tensor:
    """What replaces a tubelet that is left out: a mid-grey, or the background.

    The background is the median over time of each pixel. It is what was behind the cue, unless the
    cue covers the pixel half of the time, and differs from what a model was trained on by little
    more than noise; grey squares are new to it.
    """
    background = clip.median(1, keepdim=True).values.expand_as(clip)
    return {"background": background, "grey": torch.zeros_like(clip)}[name]


def logits_of(model: VideoModel, clip: Tensor, kept: Tensor, baseline: str) -> Tensor:
    """`(masks, classes)`: logits with the baseline in the tubelets that are not kept.

    Args:
        model: Any.
        clip: `(1, T, C, H, W)`.
        kept: `(masks, tubelets)`.
        baseline: See `baseline_of`.
    """
    other = baseline_of(clip, baseline)
    found = []
    with torch.no_grad():
        for chunk in kept.split(AT_A_TIME):
            masks = chunk[:, tubelets(clip)][:, :, None]
            found.append(model(torch.where(masks, clip, other)))
    return torch.cat(found)


def drops(model: VideoModel, clip: Tensor, target: int, baseline: str) -> Tensor:
    """`(tubelets,)`: by how much the target's logit drops without each tubelet."""
    count = int(tubelets(clip).max()) + 1
    kept = ~torch.eye(count, dtype=torch.bool)
    whole = torch.ones(1, count, dtype=torch.bool)
    logits = logits_of(model, clip, torch.cat([whole, kept]), baseline)[:, target]
    return logits[0] - logits[1:]


def leave_one_out(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
    """The drop with the background in place of each tubelet, over its pixels."""
    pairs = zip(clips.split(1), targets.tolist(), strict=True)
    found = [drops(model, clip, target, "background") for clip, target in pairs]
    return spread(torch.stack(found), clips)


def gradient(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
    """TemporalGradient."""
    found: Tensor = TemporalGradient(model).attribute(clips, target=targets)
    return found


def gradient_input(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
    """The gradient times the clip, whose 0 is a mid-grey."""
    return gradient(model, clips, targets) * clips


def random_numbers(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
    """Random numbers for pixels, the same for all models."""
    return torch.rand(clips.shape, generator=torch.Generator().manual_seed(0))


def clip_itself(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
    """How far pixels are from a mid-grey: what pixels tell without a model."""
    return clips


class _Softmaxes(TorchFunctionMode):
    """Keeps what every softmax gives: the attention weights, in the order of their layers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        found = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax":
            self.found.append(found.detach())
        return found


def _all_tokens(weights: Tensor, axis: str, grid: tuple[int, int, int]) -> Tensor:
    """`(B, tokens, tokens)`: the mean attention over heads of every token to every other."""
    batch, steps, places = grid
    mean = weights.mean(1)
    if axis == "time":
        along = mean.reshape(batch, places, steps, steps)
        mean = torch.einsum("bpsz,pq->bspzq", along, torch.eye(places))
    elif axis == "space":
        along = mean.reshape(batch, steps, places, places)
        mean = torch.einsum("bspq,sz->bspzq", along, torch.eye(steps))
    return mean.reshape(batch, steps * places, steps * places)


def attention_rollout(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
    """Attention rollout (Abnar and Zuidema, 2020): products of attention, half of it the shortcut.

    Divided attention is two such layers a block, each zero between tokens that it does not join.
    The class is read from the mean token, so a token counts what all tokens read from it on
    average. It is the same for every class.
    """
    with torch.no_grad(), _Softmaxes() as seen:
        model(clips)
    steps, height, width = sides(clips)
    grid = (len(clips), steps, height * width)
    axes = cycle(("time", "space") if isinstance(model, DividedTransformer) else ("all",))
    shortcut = torch.eye(steps * height * width)
    rolled = shortcut.expand(len(clips), -1, -1)
    for weights, axis in zip(seen.found, axes, strict=False):
        rolled = (_all_tokens(weights, axis, grid) + shortcut) / 2 @ rolled
    return spread(rolled.mean(1), clips)


def by_relevance(composite: Composite) -> Method:
    """LRP under a composite."""

    def explain(model: VideoModel, clips: Tensor, targets: Tensor) -> Tensor:
        return LRP(model, composite).explain(clips, target=targets).attribution

    return Method(explain)


def presets() -> dict[str, Composite]:
    """The composites that the library has by name."""
    module = getattr(relevance, "composites", None)
    made = {}
    for name, make in getmembers(module, isfunction):
        if not name.startswith("_") and "Composite" in str(signature(make).return_annotation):
            made[name] = make()
    return made


CHOICES: dict[str, tuple[str, ...]] = {
    "attention": ("value", "full"),
    "norm": ("identity", "fixed-std"),
}
"""Fields of a composite that concern transformers, and what they can be."""


def variants(composite: Composite) -> dict[str, Composite]:
    """The other choices that a composite could have made for attention and norms."""
    known = {field.name for field in fields(composite)}
    names = [name for name in CHOICES if name in known]
    found = {}
    for values in product(*(CHOICES[name] for name in names)):
        chosen: dict[str, Any] = dict(zip(names, values, strict=True))
        other = replace(composite, **chosen)
        if other != composite:
            found[", ".join(values)] = other
    return found


def methods(grid: bool = False) -> dict[str, Method]:
    """All that are compared, by name.

    Args:
        grid: Also every preset with the other rules for attention and norms.
    """
    found = {
        "random numbers": Method(random_numbers),
        "the clip itself": Method(clip_itself, signed=False),
        "leaving one out": Method(leave_one_out),
        "TemporalGradient": Method(gradient, signed=False),
        "gradient x input": Method(gradient_input),
        "attention rollout": Method(attention_rollout),
    }
    for name, composite in (presets() or {"default": Composite()}).items():
        found[f"LRP, {name}"] = by_relevance(composite)
        if grid:
            for label, other in variants(composite).items():
                found[f"LRP, {name}, {label}"] = by_relevance(other)
    return found
