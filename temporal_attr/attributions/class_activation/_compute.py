"""Class activation maps by gradients, as a function of a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import (
    ClipTensor,
    FrameScores,
    LayerMap,
    LayerValues,
    Logits,
    Target,
    TargetLike,
)
from temporal_attr.attributions._estimate import Work, graph_size, stopwatch
from temporal_attr.attributions.class_activation._layers import MappedLayers
from temporal_attr.attributions.class_activation._spread import by_frame, merged, on_pixels
from temporal_attr.attributions.class_activation._weighting import Weighting
from temporal_attr.gradients import isolated_autograd, mended, native_recurrence, resolve_target
from temporal_attr.gradients._query import no_gradient
from temporal_attr.models import model_logits
from temporal_attr.models.layers import TappedRun
from temporal_attr.perturbations import at_least_single


@dataclass(frozen=True)
class ActivationRequest:
    """What is asked: of which model and layers, for which class.

    Attributes:
        model: A wrapper, or any function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clip.
        layers: Whose maps are taken.
        relu: Whether negative numbers of the map are 0.
    """

    model: Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    layers: MappedLayers
    relu: bool


@dataclass(frozen=True)
class ClassActivation:
    """A map on the pixels, its numbers for frames, and the maps of the layers.

    Attributes:
        attribution: `(batch, time, channel, height, width)`.
        frame_scores: `(batch, time)`.
        maps: One for each pathway.
        logits: Of the clips.
        target: The classes explained.
    """

    attribution: ClipTensor
    frame_scores: FrameScores
    maps: tuple[LayerMap, ...]
    logits: Logits
    target: Target


@dataclass(frozen=True)
class LayerPass:
    """What one pass tells of the layers.

    Attributes:
        values: Of each map.
        gradients: Of the target's logit with respect to these; none without a backward pass.
        logits: Of the clips.
        target: The classes explained.
    """

    values: tuple[LayerValues, ...]
    gradients: tuple[LayerValues, ...]
    logits: Logits
    target: Target


def class_activation(
    request: ActivationRequest, weighting: Weighting, extensive: bool, run: RunContext
) -> ClassActivation:
    """The map of a weighting of gradients.

    Args:
        request: What is asked.
        weighting: From values and gradients to a map.
        extensive: See `merged`.
        run: Counts the passes.
    """
    found = layer_pass(request, run)
    run.took("whole")
    maps = [
        weighting(values, gradient)
        for values, gradient in zip(found.values, found.gradients, strict=True)
    ]
    return spread(request, maps, extensive, found.logits, found.target)


def layer_pass(
    request: ActivationRequest, run: RunContext, differentiate: bool = True
) -> LayerPass:
    """The layers' values, and their gradients by a graph that begins at them."""
    batch, frames = request.clip.shape[:2]
    tapped = TappedRun(request.layers.taps, differentiate)
    with isolated_autograd((request.clip,)) as (clip,), native_recurrence(clip.is_cuda):
        with tapped.running():
            # A copy, because the model may work in place.
            output = model_logits(request.model, (clip.clone(),), request.arguments)
        run.ran(forward=batch * frames)
        target = resolve_target(request.target, output)
        gradients = None
        if differentiate:
            if not output.requires_grad:
                raise no_gradient()
            chosen = mended(output).gather(1, target[:, None])
            gradients = tapped.gradients(chosen)
            run.ran(backward=batch * frames)
        sources = request.layers.sources
        values = tuple(_exact(source.of(tapped.calls, batch).detach()) for source in sources)
        slopes = tuple(_exact(one.of(gradients, batch)) for one in sources) if gradients else ()
    return LayerPass(values, slopes, output.detach().to(request.clip.dtype), target)


def spread(
    request: ActivationRequest,
    maps: Sequence[LayerMap],
    extensive: bool,
    logits: Logits,
    target: Target,
) -> ClassActivation:
    """Maps of layers on the pixels and frames of the clip."""
    clip = request.clip
    steps = [source.step_of_frame for source in request.layers.sources]
    of_frames = by_frame(maps[0], steps[0]) if len(maps) == 1 else merged(maps, steps, extensive)
    if request.relu:
        of_frames = of_frames.relu()
        maps = [one.relu() for one in maps]
    pixels = on_pixels(of_frames, clip.shape[2], (clip.shape[3], clip.shape[4]))
    precise = at_least_single(clip.dtype)
    return ClassActivation(
        attribution=pixels.to(precise).contiguous(),
        frame_scores=of_frames.mean((2, 3)).to(precise),
        maps=tuple(one.to(precise).contiguous() for one in maps),
        logits=logits,
        target=target,
    )


def activation_work(request: ActivationRequest) -> Work:
    """What a map by gradients will take: it is made, and timed."""
    plan = RunContext()
    with stopwatch(request.clip) as watch, graph_size(request.model) as held:
        layer_pass(request, plan)
    return Work(plan, watch.seconds, "it", graph_bytes=held.bytes)


def _exact(values: Tensor) -> Tensor:
    """Values in at least single precision, in which products of many channels are added up."""
    return values if values.dtype == torch.float64 else values.float()
