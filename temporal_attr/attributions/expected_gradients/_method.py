"""Expected gradients: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError
from temporal_attr._require import require_count, require_seed
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._path_gradients import Explained, in_precision_of
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.expected_gradients._compute import (
    ExpectedRequest,
    References,
    expected,
    expected_work,
)
from temporal_attr.attributions.expected_gradients._draws import groups_of
from temporal_attr.attributions.expected_gradients._result import ExpectedGradientsResult
from temporal_attr.clips import check_finite
from temporal_attr.gradients import (
    Memory,
    Objective,
    ObjectiveName,
    require_memory,
    resolve_objective,
)
from temporal_attr.gradients._objectives import name_of
from temporal_attr.models import VideoModel


class ExpectedGradients(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""Expected gradients :cite:p:`erion2021`: integrated gradients without a single baseline.

    Integrated gradients depend on the clip where the path begins. Here that is a random clip
    :math:`x'` of a set D, and :math:`\alpha` a random point of the straight path from it (their
    equation 3):

    .. math:: \mathbb{E}_{x' \sim D, \alpha \sim U(0, 1)} \left[ (x_i - x'_i)
              \frac{\partial F(x' + \alpha (x - x'))}{\partial x_i} \right]

    So it sums to the objective of the clip less its mean over D, up to the chance of drawing. The
    paper draws all points independently. Here they come in independent groups, each of which covers
    the path and the references evenly; the mean stays the same, it varies less, and how much the
    groups differ says how much it does: the standard error of each frame's score.

    The set D says which question is answered:

    - a tensor of clips, such as some of the training data: what makes this clip another than those;
    - `"still"`, the clips in which one frame of this clip stands still, each frame as likely: what
      motion brings, without a first frame that counts more than others;
    - `"shuffled"`, the frames of this clip in all orders, each as likely: what order brings.

    The points between two clips are blends of them, which no network was trained on.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`.
        references: `(references, time, channel, height, width)`, or `"still"` or `"shuffled"`.
        n_samples: How many points are drawn, at least 2.
        seed: Of what is drawn; it is the same for all clips of a batch.
        objective: As for `TemporalGradient`.
        internal_batch_size: Clips that go through the model at a time; see `IntegratedGradients`.
        memory: How gradients are computed; see `TemporalGradient`.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (P = forward and backward pass, F = forward pass): `n_samples` P and F; `explain` one F
    more for each reference that was drawn.

    Example:
        >>> import torch
        >>> from temporal_attr.models import LateFusion
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
        >>> method = ExpectedGradients(LateFusion(network), torch.zeros(1, 4, 3, 8, 8), n_samples=2)
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> weight = network[1].weight[2].detach().reshape(3, 8, 8)
        >>> torch.allclose(method.attribute(clip, target=2), clip * weight / 4, atol=1e-6)
        True
    """

    name = "Expected Gradients"
    traits = Traits(
        slug="expected-gradients",
        question="How much of the difference to other clips came from each pixel: to real ones, to "
        "its own frames standing still, to its other orders?",
        gives="share of the objective, which sums to its difference to the mean over references",
        axes=CLIP_AXES,
        sign="signed",
        unit="objective",
        needs=("gradients",),
        cost="n P + F for n samples (50 by default)",
        source="erion2021",
        random=True,
    )

    _together = True

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        references: References = "still",
        n_samples: int = 50,
        seed: int = 0,
        objective: ObjectiveName | Objective = "logit",
        internal_batch_size: int | None = None,
        memory: Memory = "auto",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        if isinstance(references, Tensor):
            if references.ndim != 5 or not references.numel():
                raise ClipError(
                    "references (references, time, channel, height, width)",
                    f"shape {tuple(references.shape)}",
                    "Stack the clips.",
                )
            check_finite(references)
        groups_of(n_samples)
        require_seed(seed)
        if internal_batch_size is not None:
            require_count("internal_batch_size", internal_batch_size, 1)
        require_memory(memory)
        self.objective = resolve_objective(objective, self.activation)
        self.objective_name = name_of(objective)
        self.references: References = references
        self.n_samples, self.seed = n_samples, seed
        self.internal_batch_size, self.memory = internal_batch_size, memory

    @property
    def multiplies_by_inputs(self) -> bool:
        """It is a share of the prediction, not a sensitivity to the input."""
        return True

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ClipTensor | tuple[ClipTensor]:
        """The mean over references of what each value's change from them did to the objective.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.
            show_progress: Show a bar on anything over two seconds.

        Returns:
            A tensor (or tuple) shaped like `inputs`, in units of the objective: positive where the
            change raised it. Of half precision clips in float32.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats, or references are not like it.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits, or a gradient on
                a path is not finite.
            OptionError: If the model has no such memory path.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self.seed) as run:
            found = expected(request, run, ends=False)
        attribution = in_precision_of(found.attribution, request.clip)
        given: ClipTensor | tuple[ClipTensor] = as_given(attribution, inputs)
        return given

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ExpectedGradientsResult:
        """The attribution, its sums, and how exact they are; arguments as for `attribute`."""
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self.seed) as run:
            found = expected(request, run, ends=True)
        assert found.reference_values is not None
        clip, before = request.clip, found.reference_values
        scores = found.attribution.sum((2, 3, 4))
        gap = scores.sum(1) - (found.clip_values.to(scores) - before.to(scores))
        return ExpectedGradientsResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(clip.shape[0] * clip.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=in_precision_of(found.attribution, clip),
            frame_scores=in_precision_of(scores, clip),
            frame_error=in_precision_of(found.frame_error, clip),
            total_error=in_precision_of(found.total_error, clip),
            clip_values=in_precision_of(found.clip_values, clip),
            reference_values=in_precision_of(before, clip),
            convergence_delta=in_precision_of(gap, clip),
            n_samples=self.n_samples,
            references="tensor" if isinstance(self.references, Tensor) else self.references,
            objective=self.objective_name,
        )

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls; only `explain` wants the objective of references."""
        return expected_work(self._request(inputs, target, arguments), ends=of == "explain")

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> ExpectedRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        explained = Explained(
            self.model, arguments, self.objective, self.memory, self.internal_batch_size
        )
        return ExpectedRequest(explained, clip, target, self.references, self.n_samples, self.seed)
