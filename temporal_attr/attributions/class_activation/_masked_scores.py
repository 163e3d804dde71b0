"""Score-CAM as a function of a record: weights from forward passes of masked clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, LayerValues
from temporal_attr.attributions._estimate import Work, stopwatch
from temporal_attr.attributions.class_activation._compute import (
    ActivationRequest,
    ClassActivation,
    LayerPass,
    layer_pass,
    spread,
)
from temporal_attr.attributions.class_activation._layers import of_example
from temporal_attr.attributions.class_activation._spread import by_frame, resized
from temporal_attr.attributions.class_activation._weighting import channel_masks
from temporal_attr.gradients import DEFAULT_CHUNK, halving, isolated_autograd
from temporal_attr.models import model_logits

PATH = "masked clips"


@dataclass(frozen=True)
class ScoreRequest:
    """What is asked, and how masked clips are made.

    Attributes:
        of: What is asked.
        baseline: What a masked value becomes, shaped like the clip.
        perturbations_per_eval: Masked clips that go through at a time; None for what memory allows.
    """

    of: ActivationRequest
    baseline: ClipTensor
    perturbations_per_eval: int | None


def score_activation(request: ScoreRequest, run: RunContext) -> ClassActivation:
    """The map whose weights are what the target's logit is of the clip under each channel.

    Args:
        request: What is asked.
        run: Counts the passes.
    """
    asked = request.of
    found = layer_pass(asked, run, differentiate=False)
    channels = sum(values.shape[1] for values in found.values)
    size = request.perturbations_per_eval or max(1, DEFAULT_CHUNK // asked.clip.shape[1])
    fixed = request.perturbations_per_eval is not None
    rows = []
    with run.progress(len(asked.clip) * channels, "channels") as bar:
        for example in range(len(asked.clip)):

            def attempt(count: int, example: int = example) -> Tensor:
                return _scores(request, found, example, count, run, bar)

            scores, size = halving(attempt, size, fixed, run, PATH, "masked clips")
            rows.append(scores)
    run.took(PATH, chunk_size=size)
    weights = torch.stack(rows).softmax(1)
    maps, start = [], 0
    for values in found.values:
        part = weights[:, start : start + values.shape[1], None, None, None].to(values)
        maps.append((part * values).sum(1))
        start += values.shape[1]
    return spread(asked, maps, False, found.logits, found.target)


def _scores(
    request: ScoreRequest,
    found: LayerPass,
    example: int,
    count: int,
    run: RunContext,
    bar: Any,  # noqa: ANN401 - of tqdm
) -> Tensor:
    """The target's logit of one clip under each of its channels `(channel,)`."""
    asked = request.of
    clip, baseline = (part[example : example + 1] for part in (asked.clip, request.baseline))
    target, frames = int(found.target[example]), clip.shape[1]
    logits = []
    with isolated_autograd((clip,)) as (own,), torch.no_grad():
        given = partial(of_example, example=example, batch=len(asked.clip))
        for masks in _masks(request, found.values, example, count):
            masked = own * masks + baseline.to(own) * (1 - masks)
            arguments = tuple(given(one, times=len(masks)) for one in asked.arguments)
            output = model_logits(asked.model, (masked,), arguments)
            logits.append(output[:, target].double())
            run.ran(forward=len(masks) * frames)
            bar.update(len(masks))
    return torch.cat(logits)


def _masks(
    request: ScoreRequest, values: tuple[LayerValues, ...], example: int, count: int
) -> Iterator[Tensor]:
    """Masks `(channel, time, 1, height, width)` of one clip, so many at a time."""
    clip = request.of.clip
    for of_layer, source in zip(values, request.of.layers.sources, strict=True):
        masks = channel_masks(of_layer[example : example + 1])[0]
        for start in range(0, len(masks), count):
            of_frames = by_frame(masks[start : start + count], source.step_of_frame)
            yield resized(of_frames, (clip.shape[3], clip.shape[4])).unsqueeze(2).to(clip.dtype)


def score_work(request: ScoreRequest) -> Work:
    """What that will take: a pass is made for the number of channels, and timed."""
    plan, asked = RunContext(), request.of
    with stopwatch(asked.clip) as watch:
        found = layer_pass(asked, plan, differentiate=False)
    channels = sum(values.shape[1] for values in found.values)
    plan.ran(forward=channels * asked.clip.shape[0] * asked.clip.shape[1])
    return Work(plan, watch.seconds * (1 + channels), "one forward pass")
