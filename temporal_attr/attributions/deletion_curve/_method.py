"""The curve of frames: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._run import RunContext
from temporal_attr._told import shown
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import PerturbationRequest
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.deletion_curve._compute import (
    CurveRequest,
    Direction,
    FoundCurves,
    curve_work,
    frame_curves,
)
from temporal_attr.attributions.deletion_curve._result import DeletionCurveResult
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import AbsentFrames, FrameBaselines, check_frame_baselines


class DeletionCurve(PerturbingMethod[CurveRequest, FoundCurves, DeletionCurveResult]):
    """Frames in the order in which deleting each lowers the prediction most.

    At each step every frame that is left is deleted on trial, and the one without which the
    objective is lowest goes. A frame's score is by how much the objective drops as it goes, so the
    scores add up to the objective of the clip less that without frames. It is greedy: a frame that
    has a twin scores little until the twin is gone. With `direction="insert"` frames come, from
    none to all, each time the one that raises the objective most.

    Deletion and insertion are those of :cite:t:`petsiuk2018`, who use them to judge an attribution;
    there the order is the attribution's, here it is the model's own.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        baselines: What replaces an absent frame, as for `FrameShapley`.
        direction: `"delete"` or `"insert"`.
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, `"loss"`, or a
            function `(logits, target) -> (batch,)`.
        perturbations_per_eval: Clips that go through the model at a time; by default as many as
            have 16 frames, and fewer where memory is short.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (F = forward pass): of a framewise model 1 F, and the frames that stand for absent ones;
    of others T (T + 1) / 2 passes.

    Example:
        >>> import torch
        >>> clip = torch.tensor([1.0, 4.0, 2.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 3, 4, 4)
        >>> brightest = lambda clip: clip.amax((1, 3, 4))
        >>> result = DeletionCurve(brightest, baselines=0.0).explain(clip, target=0)
        >>> result.order.tolist(), result.curve.tolist(), result.frame_scores.tolist()
        ([[1, 2, 0]], [[4.0, 2.0, 1.0, 0.0]], [[1.0, 2.0, 1.0]])
    """

    name = "Deletion Curve"
    traits = Traits(
        slug="deletion-curve",
        question="Which frame does the prediction lose most by, and which then?",
        gives="drop as each frame is deleted in turn",
        axes="batch time",
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="T (T + 1) / 2 F; framewise model: at most 2 F",
        source="petsiuk2018",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        baselines: FrameBaselines = "neighbour",
        direction: Direction = "delete",
        objective: ObjectiveName | Objective = "logit",
        perturbations_per_eval: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        check_frame_baselines(baselines)
        if direction not in get_args(Direction):
            raise OptionError(
                'direction to be "delete" or "insert"', shown(direction), "Choose one."
            )
        self.baselines, self.direction = baselines, direction

    def _prepared(self, asked: PerturbationRequest) -> CurveRequest:
        AbsentFrames(asked.clip, self.baselines)
        return CurveRequest(asked, self.baselines, self.direction)

    def _found(self, request: CurveRequest, run: RunContext) -> FoundCurves:
        return frame_curves(request, run)

    def _result(
        self, request: CurveRequest, found: FoundCurves, said: dict[str, Any]
    ) -> DeletionCurveResult:
        return DeletionCurveResult(
            **said,
            frame_scores=found.attributed,
            rank=found.rank,
            curve=found.curve,
            direction=request.direction,
            complete=found.complete,
            objective=self.objective_name,
        )

    def _cost(self, request: CurveRequest) -> Work:
        return curve_work(request)
