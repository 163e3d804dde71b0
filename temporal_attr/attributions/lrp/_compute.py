"""The relevance of every value of a clip for the target's logit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._run import RunContext
from temporal_attr._typing import ClipTensor, Logits, Target, TargetLike
from temporal_attr.attributions._relevance import traced
from temporal_attr.gradients import isolated_autograd, resolve_target
from temporal_attr.models import VideoModel, model_logits
from temporal_attr.relevance import Composite


@dataclass(frozen=True)
class RelevanceRequest:
    """What is asked: the target's relevance, by which rules.

    Attributes:
        model: A wrapper, or a function of clips.
        clip: `(batch, time, channel, height, width)`.
        target: In any of Captum's forms.
        arguments: Handed to the model after the clip.
        composite: The rules.
    """

    model: VideoModel | Callable[..., Any]
    clip: ClipTensor
    target: TargetLike
    arguments: tuple[Any, ...]
    composite: Composite


@dataclass(frozen=True)
class ClipRelevance:
    """Relevance of the clip, the logits, and the classes explained."""

    relevance: ClipTensor
    logits: Logits
    target: Target


def clip_relevance(request: RelevanceRequest, run: RunContext) -> ClipRelevance:
    """Propagate the target's logit back to the pixels."""
    with isolated_autograd((request.clip,)) as (clip,):

        def forward(clip: Tensor) -> Tensor:
            return model_logits(request.model, (clip,), request.arguments)

        found = traced(request.model, forward, clip, request.composite, run)
        logits = found.output.detach()
        target = resolve_target(request.target, logits)
        at_output = torch.zeros_like(logits)
        at_output.scatter_(1, target[:, None], logits.gather(1, target[:, None]))
        relevance = found.relevance(at_output).contiguous()
        run.ran(backward=clip.shape[0] * clip.shape[1])
        run.took("whole")
        return ClipRelevance(relevance, logits, target)
