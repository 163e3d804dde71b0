"""Integrated gradients: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._precision import wide
from temporal_attr._require import require_count, require_seed, require_within
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, PerExample, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._clip_paths import PathName, Rule, require_start, require_steps
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._nested import known_normalization
from temporal_attr.attributions._path_gradients import (
    Explained,
    explained_values,
    in_precision_of,
    require_like,
)
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.integrated_gradients._compute import (
    Ends,
    IntegralRequest,
    integral_work,
    integrated,
    warn_of_gaps,
)
from temporal_attr.attributions.integrated_gradients._result import IntegratedGradientsResult
from temporal_attr.clips import Normalization
from temporal_attr.gradients import (
    Memory,
    Objective,
    ObjectiveName,
    require_memory,
    resolve_objective,
)
from temporal_attr.gradients._objectives import name_of
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import ClipBaselines, check_clip_baselines


class IntegratedGradients(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""Integrated gradients :cite:p:`sundararajan2017` along paths that a video can take.

    From a baseline clip :math:`x'` a path :math:`\gamma` leads to the clip :math:`x`. Each value
    gets what its change along the path did to the objective F (their equation 1, and its
    generalization to any path, in their section 4):

    .. math:: \int_0^1 \frac{\partial F(\gamma(\alpha))}{\partial \gamma_i}
              \frac{d \gamma_i}{d \alpha} d\alpha

    So the attribution sums to :math:`F(x) - F(x')`, up to the error of the approximation, which the
    result has as its `convergence_delta`. What the baseline shows as well gets nothing: the
    baseline says which question is answered.

    ============== ================================ ==============================================
    baselines      shows                            the attribution says
    ============== ================================ ==============================================
    `"black"`, 0.0 nothing                          what the objective owes to all of the clip
    `"mean"`       the mean colour                  the same, but for the colour
    `"blur"`       coarse shapes                    what detail brings
    `"mean_frame"` the mean over time of each pixel what motion brings
    `"frozen"`     the first frame, standing still  what motion brings after the first, which gets 0
    `"shuffled"`   the same frames in another order what the order of frames brings
    a tensor       another clip                     what makes this clip another
    ============== ================================ ==============================================

    The path `"straight"` blends both clips. Its points are double exposures, which no network was
    trained on. The path `"frames"` goes through the clip at a growing speed, from its first frame
    standing still to the clip: each point is what a camera films in slow motion, with each frame or
    the blend of two neighbours. It begins at `"frozen"`, and says what motion brings.

    Along the straight path the sum also divides exactly among temporal frequencies, as the
    difference between clip and baseline is the sum of its Fourier components over time
    (`frequency_scores`).

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`.
        baselines: Where the path begins: a number, in input values; a name of the table above; or
            a tensor that fits the clip. By default 0.0 as in Captum, since motion alone, which
            video would suggest, leaves out what the frames show; for the path `"frames"`,
            `"frozen"`.
        n_steps: At how many points the path is differentiated, at first.
        rule: `"gausslegendre"`, `"riemann_left"`, `"riemann_right"`, `"riemann_middle"` or
            `"riemann_trapezoid"`, as in Captum but for the last, whose weights here sum to 1.
        path: `"straight"` or `"frames"`.
        objective: As for `TemporalGradient`.
        tolerance: Double the number of points of each clip until its `convergence_delta` is at most
            this share of the difference that is attributed, or `max_steps` would be passed; then
            a `ToleranceWarning` says so. All points are new each time.
        max_steps: The largest number of points, for `tolerance`.
        internal_batch_size: Clips that go through the model at a time. By default as many as have
            16 frames, at least one, and fewer where memory is short; with arguments after the clip,
            which belong to the whole batch, always the batch.
        memory: How gradients are computed; see `TemporalGradient`.
        normalization: How pixel values became input values, for `"black"`; by default the model's.
        seed: Of the order of `"shuffled"`.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (P = forward and backward pass, F = forward pass): `n_steps` P and F; one F more in
    `explain` and for the delta. With a tolerance less than twice the P of the last number of steps.

    Example:
        >>> import torch
        >>> from temporal_attr.models import LateFusion
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
        >>> method = IntegratedGradients(LateFusion(network), "mean_frame", n_steps=1)
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> attribution, delta = method.attribute(clip, target=2, return_convergence_delta=True)
        >>> weight = network[1].weight[2].detach().reshape(3, 8, 8)
        >>> torch.allclose(attribution, (clip - clip.mean(1)) * weight / 4, atol=1e-6)
        True
        >>> delta.abs().item() < 1e-6
        True
    """

    name = "Integrated Gradients"
    traits = Traits(
        slug="integrated-gradients",
        question="How much of the difference to a baseline clip came from each pixel: of black, of "
        "a still clip, of another order?",
        gives="share of the objective, which sums to its difference to the baseline",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective",
        needs=("gradients",),
        cost="n P + F for n steps (50 by default)",
        source="sundararajan2017",
    )

    _together = True

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        baselines: ClipBaselines | None = None,
        n_steps: int = 50,
        rule: Rule = "gausslegendre",
        path: PathName = "straight",
        objective: ObjectiveName | Objective = "logit",
        tolerance: float | None = None,
        max_steps: int = 1600,
        internal_batch_size: int | None = None,
        memory: Memory = "auto",
        normalization: Normalization | None = None,
        seed: int = 0,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        self.normalization = known_normalization(self.model, normalization)
        if baselines is None:
            baselines = "frozen" if path == "frames" else 0.0
        require_start(path, baselines)
        check_clip_baselines(baselines, self.normalization)
        require_steps(rule, n_steps)
        require_count("max_steps", max_steps, n_steps if tolerance is not None else 1, 2**12)
        if tolerance is not None:
            require_within("tolerance", tolerance, 0)
        if internal_batch_size is not None:
            require_count("internal_batch_size", internal_batch_size, 1)
        require_memory(memory)
        require_seed(seed)
        self.objective = resolve_objective(objective, self.activation)
        self.objective_name = name_of(objective)
        self.baselines: ClipBaselines = baselines
        self.n_steps, self.rule, self.path = n_steps, rule, path
        self.tolerance, self.max_steps = tolerance, max_steps
        self.internal_batch_size, self.memory, self.seed = internal_batch_size, memory, seed

    @property
    def multiplies_by_inputs(self) -> bool:
        """It is a share of the prediction, not a sensitivity to the input."""
        return True

    def has_convergence_delta(self) -> bool:
        """It sums to a difference, so what is missing can be told."""
        return True

    def compute_convergence_delta(
        self,
        attributions: ClipTensor | tuple[ClipTensor],
        start_point: ClipTensor | tuple[ClipTensor],
        end_point: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
    ) -> PerExample:
        """The sum of the attribution less the difference of the objective, for each example.

        Args:
            attributions: What `attribute` returned.
            start_point: The clip where the path begins, shaped like the other.
            end_point: The clip that was explained.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
        """
        entry = attributions[0] if isinstance(attributions, tuple) else attributions
        start, arguments = self._checked_single(start_point, additional_forward_args)
        end, _ = self._checked_single(end_point, additional_forward_args)
        with started() as run:
            explained = self._explained(arguments)
            before, after = (explained_values(explained, one, target, run) for one in (start, end))
        require_like(entry, end)
        return Ends(after, before).gap(entry.flatten(1).sum(1, dtype=wide(entry))).to(entry)

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        return_convergence_delta: bool = False,
    ) -> Any:  # noqa: ANN401 - with or without the delta
        """What each value's change from the baseline did to the objective.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.
            show_progress: Show a bar on anything over two seconds.
            return_convergence_delta: Also return, for each example, the sum of the attribution less
                the difference of the objective `(batch,)`.

        Returns:
            A tensor (or tuple) shaped like `inputs`, in units of the objective: positive where the
            change raised it. Of half precision clips in float32.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats, or the baselines do not fit it.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits, or a gradient on
                the path is not finite.
            OptionError: If the model has no such memory path.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self._seed) as run:
            found = integrated(request, run, ends=return_convergence_delta)
        warn_of_gaps(request, found.unmet, stacklevel=6)
        attribution = as_given(in_precision_of(found.attribution, request.clip), inputs)
        if return_convergence_delta:
            assert found.gap is not None
            return attribution, in_precision_of(found.gap, request.clip)
        return attribution

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> IntegratedGradientsResult:
        """The attribution, its sums and what they are off by; arguments as for `attribute`."""
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self._seed) as run:
            found = integrated(request, run, ends=True)
        warn_of_gaps(request, found.unmet, stacklevel=5)
        assert found.ends is not None
        assert found.gap is not None
        clip, parts = request.clip, found.frequencies()
        return IntegratedGradientsResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(clip.shape[0] * clip.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=in_precision_of(found.attribution, clip),
            frame_scores=in_precision_of(found.attribution.sum((2, 3, 4)), clip),
            clip_values=in_precision_of(found.ends.clip, clip),
            baseline_values=in_precision_of(found.ends.start, clip),
            convergence_delta=in_precision_of(found.gap, clip),
            n_steps=found.n_steps,
            unmet=found.unmet,
            frequency_scores=None if parts is None else in_precision_of(parts, clip),
            baselines="tensor" if isinstance(self.baselines, Tensor) else str(self.baselines),
            path=self.path,
            objective=self.objective_name,
            tolerance=self.tolerance,
        )

    @property
    def _seed(self) -> int | None:
        """Its seed, where something is drawn."""
        drawn = isinstance(self.baselines, str) and self.baselines == "shuffled"
        return self.seed if drawn else None

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls; only `explain` wants the objective of the baseline."""
        return integral_work(self._request(inputs, target, arguments), ends=of == "explain")

    def _explained(self, arguments: tuple[Any, ...]) -> Explained:
        return Explained(
            self.model, arguments, self.objective, self.memory, self.internal_batch_size
        )

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> IntegralRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        return IntegralRequest(
            explained=self._explained(arguments),
            clip=clip,
            target=target,
            baselines=self.baselines,
            normalization=self.normalization,
            seed=self.seed,
            path=self.path,
            rule=self.rule,
            n_steps=self.n_steps,
            tolerance=self.tolerance,
            max_steps=self.max_steps,
        )
