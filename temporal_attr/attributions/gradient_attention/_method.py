"""Gradient attention: options and checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum.attr import GradientAttribution
from captum.log import log_usage

from temporal_attr._activation import Activation
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._attention import AttentionRequest
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.gradient_attention._compute import (
    attention_work,
    explained,
    gradient_attention,
)
from temporal_attr.attributions.gradient_attention._result import GradientAttentionResult
from temporal_attr.models import VideoModel


class GradientAttention(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""Attention weighted by its gradients :cite:p:`chefer2021generic`, for any video transformer.

    Rollout of what in the attention raises the target's logit:
    :math:`\bar A = E_h[(\nabla A \odot A)^+]` is the mean over heads of the positive part of the
    weights times the gradient of the logit by them (equation 5), and
    :math:`R = (I + \bar A_1) \cdots (I + \bar A_L)` (equation 6, for self-attention). The row of R
    that the classifier reads, of a class token or the mean over tokens, is spread over the pixels
    that each token is made of.

    Unlike `AttentionRollout` it depends on the target. It still sees attention weights only: values
    and all other layers have a part in it through the gradients alone. The earlier method of the
    same authors :cite:p:`chefer2021` has relevance of the attention in place of A; this is the
    later one, which needs none.

    How the layers of a model are composed, without being told how it arranges its tokens, and
    where that deviates from a product of matrices, is said at `AttentionRollout`; here a skip
    connection beside attention gets all of the mass, and so does attention. As published:

    - R is not normalised. (The authors' code for the earlier method divides its rows by their
      sums; their formulas do not.)
    - The identity is part of it: the mass that comes past all attention. Of a class token that
      lies on no pixel; in a model whose classifier reads the mean over tokens every token gets the
      same of it, which hides what attention adds. `identity=False` takes it off.
    - Attention whose queries are learned, as in a pooling head, has no skip connection from the
      clip: there R is :math:`\bar A` times what the keys hold. (The paper normalises between
      modalities first; there is one here.)

    Of a model that ends in a softmax or sigmoid, the logits before it are differentiated.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`. It must
            have softmax attention that can be seen into.
        identity: Keep the mass that comes past all attention, as published.
        activation: What turns the model's outputs into the probabilities that a result shows; see
            `TemporalGradient`.

    Costs: two forward passes, a backward pass of gradients and one of mass; `explain` one more
    of each for the attention over time, and `identity=False` one more of each.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> attribution = GradientAttention(model).attribute(clip, target=1)
        >>> tuple(attribution.shape), bool((attribution >= 0).all())
        ((1, 4, 3, 16, 16), True)
        >>> torch.equal(attribution, GradientAttention(model).attribute(clip, target=2))
        False
    """

    name = "Gradient Attention"
    traits = Traits(
        slug="gradient-attention",
        question="Which attention, over all layers, raises the logit of the class?",
        gives="attention that raises the logit",
        axes=CLIP_AXES,
        sign="non-negative",
        unit="mass, comparable within a clip",
        needs=("gradients",),
        cost="2 F and two backward passes",
        source="chefer2021generic",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        identity: bool = True,
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        self.identity = identity

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
    ) -> ClipTensor | tuple[ClipTensor]:
        """The mass of every value of the clip.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain, in any of Captum's forms; None only where the model has
                one class. `(timestep, class)` explains the logits of a timestep.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.

        Returns:
            A tensor (or tuple) shaped like `inputs`, of 0 or more: larger where more of the
            attention that raises the target's logit comes to lie.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model has no attention, or none that can be seen into; if weights do
                not sum to 1; if tokens are mixed by attention of another kind, or branches beside
                attention cannot be told apart; if it is in training mode, or attends differently
                in two passes over the same clip.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started() as run:
            found = gradient_attention(request, self.identity, run)
        return found.attribution if isinstance(inputs, torch.Tensor) else (found.attribution,)

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        temporal_attention: bool = True,
    ) -> GradientAttentionResult:
        """The masses, their sums over frames and tokens, and the attention of the layers.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            temporal_attention: Also give the model's own attention between times, and the scores
                of tokens; they take one more pass forward and back.

        Raises:
            ClipError: And the others, as for `attribute`.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started() as run:
            found, over_time = explained(request, self.identity, temporal_attention, run)
        return GradientAttentionResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(found.attribution.shape[0] * found.attribution.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=found.attribution,
            frame_scores=found.frame_scores,
            token_scores=over_time.token_scores if over_time else None,
            temporal_attention=over_time.weights if over_time else None,
            layers=over_time.layers if over_time else (),
            left_out=over_time.left_out if over_time else (),
            identity=self.identity,
        )

    def _work(
        self,
        inputs: object,
        target: TargetLike,
        arguments: object,
        of: Call,
        temporal_attention: bool = True,
    ) -> Work:
        """Of `attribute`, or of `explain` with or without the attention over time."""
        request = self._request(inputs, target, arguments)
        return attention_work(request, self.identity, of == "explain" and temporal_attention)

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
    ) -> AttentionRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        request = AttentionRequest(self.model, clip, target, arguments)
        request.require_visible()
        return request
