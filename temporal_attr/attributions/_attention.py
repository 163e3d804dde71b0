"""What the methods that follow attention share: mass on the pixels, and attention over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._precision import wide
from temporal_attr._run import RunContext
from temporal_attr._typing import (
    ClipTensor,
    Logits,
    Target,
    TargetLike,
    TokenAttention,
    TokenScores,
)
from temporal_attr.gradients import resolve_target
from temporal_attr.models import VideoModel, model_logits, require_visible_attention
from temporal_attr.perturbations import at_least_single
from temporal_attr.relevance import AttentionCall, AttentionFlow, token_means, trace

GAP = 0.25
"""Places of tokens that are closer than this, in frames or pixels, are one."""

LEAST = 1e-3
"""A token with less of its mass on the clip has no place there."""

HALF_START = 1024.0
"""The mass that is propagated in half precision: a pixel's share of 1 is too small for it."""


@dataclass(frozen=True)
class AttentionRequest:
    """What is asked: where the mass of a target's output lies.

    Attributes:
        model: A wrapper, or a function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clip.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]

    def logits(self, clip: Tensor) -> Tensor:
        """What the model says."""
        return model_logits(self.model, (clip,), self.arguments)

    def require_visible(self) -> None:
        """Raise where attention is a kernel that shows no weights."""
        if isinstance(self.model, nn.Module):
            require_visible_attention(self.model)


@dataclass(frozen=True)
class AttentionMap:
    """Where the mass of each output lies.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, of 0 or more.
        frame_scores: `(batch, time)`, its sums, before they are rounded to the clip's precision.
        logits: Of the clips.
        target: The classes asked for.
    """

    attribution: ClipTensor
    frame_scores: Tensor
    logits: Logits
    target: Target


@dataclass(frozen=True)
class AttentionOverTime:
    """The attention of the model by itself.

    Attributes:
        token_scores: `(batch, time, height, width)` of the grid of tokens; None if pixels do not
            lie in tubes of tokens.
        weights: `(batch, layer, time, time)`; None if no layer's tokens have times.
        layers: Of these layers, their submodules.
        left_out: The submodules of all other layers with attention.
    """

    token_scores: TokenScores | None
    weights: TokenAttention | None
    layers: tuple[str, ...]
    left_out: tuple[str, ...]


def attention_map(
    request: AttentionRequest, clip: ClipTensor, flow: AttentionFlow, run: RunContext
) -> AttentionMap:
    """Propagate the mass of the target's output back to the pixels, by the rules of a flow."""
    frames = clip.shape[0] * clip.shape[1]
    found = trace(request.logits, clip, None, flow.composite, request.model, logits=True)
    run.ran(forward=frames)
    flow.require_attention()
    logits = found.output.detach()
    target = resolve_target(request.target, logits)
    start = HALF_START if clip.dtype == torch.float16 else 1.0
    at_output = torch.zeros_like(logits).scatter_(1, target[:, None], start)
    mass = found.relevance(at_output)
    run.ran(backward=frames)
    run.took("whole")
    pixels, precise = mass.to(wide(mass)) / start, at_least_single(clip.dtype)
    of_frames = pixels.sum((2, 3, 4)).to(precise)
    return AttentionMap(pixels.to(precise).contiguous(), of_frames, logits, target)


def attention_over_time(
    request: AttentionRequest, clip: ClipTensor, attribution: ClipTensor, run: RunContext
) -> AttentionOverTime:
    """The weights of every layer between the times of its tokens.

    Where a token is follows from a pass in which nothing goes through attention, so that every
    token stays at its own place (`relevance.token_means`).
    """
    flow, frames = AttentionFlow("skip", model=request.model), clip.shape[0] * clip.shape[1]
    found = trace(request.logits, clip, None, flow.composite, request.model, logits=True)
    run.ran(forward=frames)
    flow.require_attention()
    _, time, _, height, width = clip.shape
    sizes = (time, height, width)
    indices = [_index(clip, axis, size) for axis, size in zip((1, 3, 4), sizes, strict=True)]
    fields = [torch.ones_like(clip), _index(clip, 0, len(clip)), *indices]
    mass, examples, *places = token_means(found, flow.calls, fields)
    run.ran(backward=frames)
    grid = [len(_groups(_places(one[0], mass[0]))) for one in places]
    # A cell that reads all inputs so far has as many queries as tokens once, by chance.
    reading = {call.module for call in flow.calls if not _of_tokens(call)}
    read = [
        None
        if call.module in reading
        else _between_times(call, _places(times, of), _places(owners, of).round(), len(clip))
        for call, of, times, owners in zip(flow.calls, mass, places[0], examples, strict=True)
    ]
    usual = next((one.shape for one in read if one is not None), None)
    kept = [one is not None and one.shape == usual for one in read]
    shown = [one for one in read if one is not None and one.shape == usual]
    modules = [call.module.removeprefix("module ").strip("'") for call in flow.calls]
    return AttentionOverTime(
        _by_tokens(attribution, grid),
        torch.stack(shown, 1) if shown else None,
        tuple(name for name, keep in zip(modules, kept, strict=True) if keep),
        tuple(name for name, keep in zip(modules, kept, strict=True) if not keep),
    )


def _index(clip: Tensor, axis: int, size: int) -> Tensor:
    """The number of each place along an axis, shaped as the clip."""
    numbers = torch.arange(size, dtype=clip.dtype, device=clip.device)
    shape = [size if at == axis else 1 for at in range(clip.ndim)]
    return numbers.reshape(shape).expand(clip.shape)


def _places(means: Tensor, mass: Tensor) -> Tensor:
    """The mean place of each value; NaN where none of its mass is on the clip."""
    return torch.where(mass > LEAST, means / mass, torch.nan)


def _groups(places: Tensor) -> list[float]:
    """The places that there are, in order, each by its least number."""
    known = places[~places.isnan()].unique()
    if not len(known):
        return []
    starts = torch.cat([known[:1], known[1:][known.diff() > GAP]])
    found: list[float] = starts.tolist()
    return found


def _of_tokens(call: AttentionCall) -> bool:
    """Whether there are as many queries as tokens that the values are of."""
    return call.product(call.weights, torch.ones_like(call.values)).shape == call.values.shape


def _between_times(
    call: AttentionCall, places: Tensor, owners: Tensor, batch: int
) -> Tensor | None:
    """What queries of each time give to keys of each time, mean over heads and queries.

    None where no token has a time.

    Args:
        call: The call of attention.
        places: The time of each value; NaN where it has none.
        owners: The example that each value is of.
        batch: How many examples there are.

    Returns:
        `(batch, query_time, key_time)`.
    """
    starts = _groups(places)
    whole = call.product(call.weights, torch.ones_like(call.values).detach())
    if not starts:
        return None
    bounds = torch.tensor(starts, device=places.device, dtype=places.dtype) - GAP / 2
    number = torch.bucketize(places.contiguous(), bounds) - 1
    number = number.masked_fill(places.isnan(), -1)
    keys = [(number == key).to(whole) for key in range(len(starts))]
    given = [call.product(call.weights, key) for key in keys]
    found = whole.new_zeros(batch, len(starts), len(starts))
    for example in range(batch):
        for query in range(len(starts)):
            rows = (number == query) & (owners == example)
            for key, weights in enumerate(given):
                found[example, query, key] = weights[rows].mean(dtype=wide(weights))
    return found


def _by_tokens(attribution: ClipTensor, grid: Sequence[int]) -> TokenScores | None:
    """The sums of an attribution over the tubes of a grid of tokens, if it is even in each."""
    batch, time, channels, height, width = attribution.shape
    sizes = (time, height, width)
    if not all(grid) or any(size % parts for size, parts in zip(sizes, grid, strict=True)):
        return None
    t, h, w = grid
    tubes = attribution.reshape(batch, t, time // t, channels, h, height // h, w, width // w)
    tubes = tubes.permute(0, 1, 4, 6, 2, 3, 5, 7).flatten(4)
    room = 64 * torch.finfo(tubes.dtype).eps * tubes.abs().amax()
    if (tubes.amax(-1) - tubes.amin(-1)).amax() > room:
        return None
    return tubes.sum(-1, dtype=wide(tubes)).to(attribution)
