"""Motion and appearance in any attribution: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar

from captum.attr import Attribution, PerturbationAttribution
from captum.log import log_usage

from temporal_attr._activation import Activation
from temporal_attr._require import require_count, require_seed
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._nested import (
    NestedMethod,
    as_method,
    known_activation,
    known_arguments,
    model_of,
)
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.lrp import LRP
from temporal_attr.attributions.selective_relevance._compute import (
    SplitRequest,
    split,
    split_work,
)
from temporal_attr.attributions.selective_relevance._result import SelectiveRelevanceResult
from temporal_attr.attributions.selective_relevance._split import (
    Static,
    frame_sums,
    motion_share,
    resolve_sigma,
)
from temporal_attr.gradients import logit
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import seeded


class SelectiveRelevance(VideoMethod, PerturbationAttribution):  # type: ignore[misc]
    r"""What of an attribution is about motion, and what about appearance.

    An attribution of a clip does not say whether a pixel counts for what it shows or for how it
    moves. In a clip that stands still there is no motion, so what is attributed there is about
    appearance, and motion is the rest :cite:p:`hiley2019`:
    :math:`R^{motion} = R(x) - R^{appearance}`. `attribute` gives the part of motion.

    What stands still is up to `static`:

    - `"frame"`: for each frame the clip in which that frame stands still, all the time. The frame
      gets the mean of what is attributed to it at all places where it stands, so that appearance
      sums to the mean of what these clips are attributed. Both parts of a pixel are of the same
      picture.
    - `"frozen"`: the clip in which the first frame stands still. It takes one attribution for all
      frames, but where something has moved since, the parts of a pixel are of two pictures.
    - `"mean_frame"`: likewise the mean over time of each pixel, which is a blur where things move.
    - `"derivative"`, selective relevance :cite:p:`hiley2020`: no clip stands still. Where the
      attribution changes over time by more than `sigma` standard deviations it is motion, elsewhere
      appearance. The derivative is that of a Sobel operator in time, height and width. The authors'
      code keeps one sign of it and takes what is outside of the clip for 0, which makes the first
      and the last frame change; here both signs count, and the attribution goes on outside.

    Of a method that is conserved, such as LRP, both parts are conserved, too: appearance sums to
    the target's logit of what stands still, and motion to the rest of the clip's. (Of a model that
    ends in a softmax or sigmoid, LRP explains the logits before it, and the parts sum to those.)

    Of `IntegratedGradients`, take a baseline that shows nothing, as by default: from a clip that
    stands still motion is attributed only, and appearance is 0.

    Args:
        method: Any method of this library or Captum's whose attribution is shaped like the clip;
            or a model, whose `LRP` is then split, since it is conserved.
        static: `"frame"`, `"frozen"`, `"mean_frame"` or `"derivative"`.
        sigma: For `"derivative"`, how many standard deviations of the derivative, over the whole
            clip, a change is motion from; by default 1.
        perturbations_per_eval: Clips that are attributed at a time. By default as many as have 16
            frames, at least one, and fewer where memory is short.
        seed: For methods that draw random numbers, and have no seed of their own: all clips see the
            same ones, one at a time. Without it such a method is refused.
        method_arguments: Handed to the method's `attribute` by name, such as `n_steps`.
        activation: What makes probabilities of the model's outputs; by default that of the method
            given.

    Costs (A = one attribution, F = forward pass): T + 1 A for `"frame"`, 2 A for `"frozen"` and
    `"mean_frame"`, 1 A for `"derivative"`, and F; one A more for another library's method without a
    seed, to see that it repeats itself. `explain` adds an F for each clip that stands still.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("lstm", classes=4, widths=(4, 8))
        >>> method = SelectiveRelevance(TemporalGradient(model), "frozen")
        >>> still = torch.rand(1, 1, 3, 16, 16).expand(1, 5, 3, 16, 16)
        >>> bool((method.attribute(still, target=1) == 0).all())
        True
    """

    name = "Selective Relevance"
    traits = Traits(
        slug="selective-relevance",
        question="What of another method's attribution is about motion, and what about appearance?",
        gives="part of the attribution that is about motion",
        axes=CLIP_AXES,
        sign="signed",
        unit="of the method",
        needs=("relevance rules",),
        cost="(T + 1) A + F, where A is one attribution by the method; 2 A + F beside one still "
        "clip",
        source="hiley2020",
        takes_methods=True,
    )

    default_method: ClassVar[type[VideoMethod]] = LRP
    """What a model's attribution is, where it is given in place of a method."""

    def __init__(
        self,
        method: Attribution | VideoModel | Callable[..., Any],
        static: Static = "frame",
        sigma: float | None = None,
        perturbations_per_eval: int | None = None,
        seed: int | None = None,
        method_arguments: Mapping[str, Any] | None = None,
        activation: Activation | None = None,
    ) -> None:
        self.method = as_method(method, self.default_method)
        super().__init__(model_of(self.method), known_activation(self.method, activation))
        self.static: Static = static
        self.sigma = resolve_sigma(static, sigma)
        if perturbations_per_eval is not None:
            require_count("perturbations_per_eval", perturbations_per_eval, 1)
        if seed is not None:
            require_seed(seed)
        self.perturbations_per_eval, self.seed = perturbations_per_eval, seed
        self.method_arguments = known_arguments(self.method, method_arguments)

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
        """The part of the method's attribution that is about motion.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to the model after the clips.
            show_progress: Show a bar on anything over two seconds.

        Returns:
            A tensor (or tuple) shaped like `inputs`, in the method's unit. Of half precision clips
            in float32.

        Raises:
            ClipError: If `inputs` is not a clip of finite floats.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode or does not return logits, the method's
                attribution is not shaped like the clip, or it draws random numbers without a seed.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self.seed) as run:
            found = split(request, run, predict=False)
        given: ClipTensor | tuple[ClipTensor] = as_given(found.motion, inputs)
        return given

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> SelectiveRelevanceResult:
        """Both parts, and what each is of the logit; arguments as for `attribute`."""
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress, self.seed) as run:
            found = split(request, run, predict=True)
        rest = None if found.still_logits is None else logit(found.still_logits, found.target)
        return SelectiveRelevanceResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(request.clip.shape[0] * request.clip.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=found.motion,
            frame_scores=frame_sums(found.motion),
            appearance=found.appearance,
            appearance_scores=frame_sums(found.appearance),
            motion_share=motion_share(found.motion, found.appearance),
            still_logits=found.still_logits,
            appearance_logit=rest,
            motion_logit=None if rest is None else logit(found.logits, found.target) - rest,
            static=self.static,
            sigma=self.sigma,
            method_name=self.method.get_name(),
        )

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls; only `explain` predicts what stands still."""
        return split_work(self._request(inputs, target, arguments), of == "explain")

    def _draws(self) -> AbstractContextManager[Any]:
        """With a seed, a model may draw random numbers: each pass gets the same ones."""
        return seeded(self.seed)

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> SplitRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        return SplitRequest(
            nested=NestedMethod(self.method, arguments, self.method_arguments),
            clip=clip.detach(),
            target=target,
            static=self.static,
            sigma=self.sigma,
            perturbations_per_eval=self.perturbations_per_eval,
            seed=self.seed,
        )
