"""Random masks of space and time: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_seed, require_within
from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import Work
from temporal_attr.attributions._objective_values import (
    PerturbationRequest,
    check_pixel_baselines,
    pixel_baseline,
    three_sizes,
)
from temporal_attr.attributions._perturbing import PerturbingMethod
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.rise._compute import (
    FoundRise,
    RiseRequest,
    masked_at_random,
    rise_work,
)
from temporal_attr.attributions.rise._result import RISEResult
from temporal_attr.gradients import Objective, ObjectiveName
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import Baselines


class RISE(PerturbingMethod[RiseRequest, FoundRise, RISEResult]):
    r"""How the prediction for randomly masked clips goes with what the masks keep.

    Masks are random grids of cells, kept with probability p, interpolated smoothly in space and
    time and shifted at random :cite:p:`petsiuk2018`. With :math:`f_n` the objective of the clip
    under mask :math:`M_n`,

    .. math:: S = \frac{1}{p}\,\mathrm{cov}_n(f_n, M_n),

    by how much the mean objective rises where a place is kept. Their equation 6, the mean of
    :math:`f_n M_n / p`, has the mean of :math:`f_n` added to every place, and with it most of its
    noise; both are unbiased. The standard error of every place comes from the same masks.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        n_samples: How many masks.
        grid: Cells of a mask along time, height and width; where a clip has fewer places along an
            axis, each is a cell.
        keep: p, the probability with which a cell is kept, between 0 and 1.
        baselines: What replaces what is masked: a number in input values, `"mean"` (of each
            channel), `"blur"`, or a tensor that fits the clip. The source has black pixels; the
            blur leaves the clip more like a video.
        objective: `"logit"` of the target, `"probability"` (as the source), `"log_probability"`,
            `"loss"`, or a function `(logits, target) -> (batch,)`.
        perturbations_per_eval: Clips that go through the model at a time; by default as many as
            have 16 frames, and fewer where memory is short.
        seed: Of the masks, which are the same for every clip.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (F = forward pass): a pass for each mask.

    Example:
        >>> import torch
        >>> frame = lambda clip: clip[:, 2].mean((2, 3))
        >>> clip = torch.ones(1, 4, 3, 8, 8)
        >>> result = RISE(frame, n_samples=200, grid=(4, 1, 1), baselines=0.0).explain(clip, 0)
        >>> result.frame_scores.argmax().item()
        2
    """

    name = "RISE"
    traits = Traits(
        slug="rise",
        question="Where does the prediction rise when the clip is seen through random holes?",
        gives="rise of the mean prediction where a place is kept",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective",
        needs=("forward passes",),
        cost="(S + 1) F, where S is the number of masks",
        source="petsiuk2018",
        random=True,
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        n_samples: int = 500,
        grid: Sequence[int] = (4, 7, 7),
        keep: float = 0.5,
        baselines: Baselines = "blur",
        objective: ObjectiveName | Objective = "logit",
        perturbations_per_eval: int | None = None,
        seed: int = 0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, objective, perturbations_per_eval, activation)
        require_count("n_samples", n_samples, 2)
        require_within("keep", keep, 0, 1)
        if keep in (0, 1):
            raise OptionError("keep between 0 and 1", str(keep), "Try 0.5.")
        require_seed(seed)
        check_pixel_baselines(baselines)
        self.n_samples, self.keep, self.seed = int(n_samples), float(keep), seed
        self.grid, self.baselines = three_sizes("grid", grid), baselines

    def _prepared(self, asked: PerturbationRequest) -> RiseRequest:
        time, _, height, width = asked.clip.shape[1:]
        cells, places, pixels = (
            min(count, length)
            for count, length in zip(self.grid, (time, height, width), strict=True)
        )
        return RiseRequest(
            asked=asked,
            baseline=pixel_baseline(asked.clip, self.baselines),
            grid=(cells, places, pixels),
            keep=self.keep,
            n_samples=self.n_samples,
            seed=self.seed,
        )

    def _found(self, request: RiseRequest, run: RunContext) -> FoundRise:
        return masked_at_random(request, run)

    def _result(self, request: RiseRequest, found: FoundRise, said: dict[str, Any]) -> RISEResult:
        return RISEResult(
            **said,
            attribution=found.attributed,
            frame_scores=found.attributed.mean((2, 3, 4)),
            error_map=found.error,
            mean_value=found.mean,
            samples=found.samples,
            complete=found.complete,
            objective=self.objective_name,
        )

    def _cost(self, request: RiseRequest) -> Work:
        return rise_work(request)
