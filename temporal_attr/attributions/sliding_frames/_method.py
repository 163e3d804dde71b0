"""Windows of frames that are changed: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import require_count
from temporal_attr._run import RunContext
from temporal_attr._told import shown
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import PerturbationRequest
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import Traits
from temporal_attr.attributions.sliding_frames._compute import (
    Change,
    FoundDrops,
    SlidingRequest,
    sliding_work,
    window_drops,
)
from temporal_attr.attributions.sliding_frames._result import SlidingFramesResult
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel


class SlidingFrames(PerturbingMethod[SlidingRequest, FoundDrops, SlidingFramesResult]):
    """By how much the prediction drops when a window of frames is frozen, reversed or dropped.

    The window moves over the clip frame by frame; a frame's score is the mean drop over the windows
    that have it. All that a model sees are frames of the clip, so that masked clips stay natural:
    a video that freezes for a moment (what moves there is gone, what stands there stays), that runs
    backwards for a moment (only the order changes: a model that cannot see order has exactly 0), or
    that is cut. It is occlusion :cite:p:`zeiler2014` in time.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        window: Frames that are changed together; by default a quarter of the clip, and 2 where
            that leaves other frames.
        change: `"freeze"`: the frame before the window, or after it at the start, stands for all of
            its frames. `"reverse"`: they come in reverse order. `"drop"`: they are left out, for
            models that take any number of frames.
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, `"loss"`, or a
            function `(logits, target) -> (batch,)`.
        perturbations_per_eval: Clips that go through the model at a time; by default as many as
            have 16 frames, and fewer where memory is short.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (F = forward pass): of a framewise model 1 F; of others a pass for each window.

    Example:
        >>> import torch
        >>> clip = torch.tensor([1.0, 4.0, 2.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 3, 4, 4)
        >>> last = lambda clip: clip[:, -1].mean((2, 3))
        >>> SlidingFrames(last, window=2, change="reverse").explain(clip, target=0).drops
        tensor([[ 0., -2.]])
        >>> SlidingFrames(last, window=1).attribute(clip, target=0)
        tensor([[ 0.,  0., -2.]])
    """

    name = "Sliding Frames"
    traits = Traits(
        slug="sliding-frames",
        question="What does the prediction lose when the video freezes, runs backwards or is cut "
        "for a moment?",
        gives="mean drop over the windows with each frame",
        axes="batch time",
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="at most (T + 1) F; framewise model: F",
        source="zeiler2014",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        window: int | None = None,
        change: Change = "freeze",
        objective: ObjectiveName | Objective = "logit",
        perturbations_per_eval: int | None = None,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        if window is not None:
            require_count("window", window, 1)
        if change not in get_args(Change):
            raise OptionError(
                'change to be "freeze", "reverse" or "drop"', shown(change), "Choose one."
            )
        if change == "reverse" and window == 1:
            raise OptionError("a window of at least 2 frames to reverse", "1", "Take 2 or more.")
        self.window, self.change = window, change

    def _prepared(self, asked: PerturbationRequest) -> SlidingRequest:
        time = asked.clip.shape[1]
        most = time if self.change == "reverse" else time - 1
        window = self.window or max(1, min(most, max(2, time // 4)))
        if window > most:
            raise ClipError(
                f"a clip of at least {window + time - most} frames, for a window of {window}",
                f"{time} frames",
                "Give a shorter window, or a longer clip.",
            )
        return SlidingRequest(asked, window, self.change)

    def _found(self, request: SlidingRequest, run: RunContext) -> FoundDrops:
        return window_drops(request, run)

    def _result(
        self, request: SlidingRequest, found: FoundDrops, said: dict[str, Any]
    ) -> SlidingFramesResult:
        return SlidingFramesResult(
            **said,
            frame_scores=found.attributed,
            drops=found.drops,
            window=request.window,
            change=request.change,
            complete=found.complete,
            objective=self.objective_name,
        )

    def _cost(self, request: SlidingRequest) -> Work:
        return sliding_work(request)
