"""Attention rollout: options and checks."""

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
from temporal_attr.attributions.attention_rollout._compute import explained, rollout, rollout_work
from temporal_attr.attributions.attention_rollout._result import AttentionRolloutResult
from temporal_attr.models import VideoModel


class AttentionRollout(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""Attention rollout :cite:p:`abnar2020`, for any video transformer.

    The attention of all layers is multiplied, with each layer's skip connection beside it:
    :math:`\tilde A = \frac12 A + \frac12 I` with A the mean over heads, and
    :math:`R = \tilde A_1 \cdots \tilde A_L` (section 3 and equation 1). The row of R that the
    classifier reads, of a class token or the mean over tokens, is spread over the pixels that each
    token is made of.

    **It does not depend on the target.** `target` is checked and otherwise unused: the map of every
    class is the same, whatever the class. `GradientAttention` has maps of a class. Nor do values,
    norms and the layers between have a part in it; where attention goes is not what decides
    (docs/attention.md).

    The product is not computed from matrices of layers, which would have to be told how each
    family arranges its tokens. Mass is propagated from the output to the pixels by the functions
    that the model calls: by the weights through each attention, half and half at each sum of a
    skip connection, and in equal parts through everything else
    (`temporal_attr.relevance.AttentionFlow`). For attention over all tokens of a clip that is the
    product above. It is also right where a model attends over time and over space in turn, within
    windows, to pooled keys, or within one frame at a time, and it finds out by itself what the
    classifier reads. Where it deviates from a product of layers:

    - A skip connection around layers without attention gives half to each branch, which is the
      identity where those layers keep tokens apart, as they do in a transformer.
    - Merged or pooled tokens get equal parts, whatever their values; so do the pixels under a
      convolution, and of two convolutions that overlap a pixel between them gets more.
    - A second skip connection inside attention, as around the pooled queries of MViT, is halved
      like any other.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), or a function of clips
            `(batch, time, channel, height, width)` that returns logits `(batch, classes)`. It must
            have softmax attention that can be seen into.
        activation: What turns the model's outputs into the probabilities that a result shows; see
            `TemporalGradient`.

    Costs: a forward pass, and a backward pass of mass; `explain` one more of each for the
    attention over time.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> attribution = AttentionRollout(model).attribute(clip, target=1)
        >>> tuple(attribution.shape), round(attribution.sum().item(), 4)
        ((1, 4, 3, 16, 16), 1.0)
        >>> torch.equal(attribution, AttentionRollout(model).attribute(clip, target=2))
        True
    """

    name = "Attention Rollout"
    traits = Traits(
        slug="attention-rollout",
        question="Where does attention come to lie over all layers, for whichever class?",
        gives="share of attention, the same for every class",
        axes=CLIP_AXES,
        sign="non-negative",
        unit="share of the clip",
        needs=("forward passes",),
        cost="F and one backward pass",
        source="abnar2020",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
    ) -> ClipTensor | tuple[ClipTensor]:
        """The share of attention of every value of the clip.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: As for Captum's methods. It is checked; the result is the same for all classes.
                Of `(timestep, class)`, the timestep counts.
            additional_forward_args: Handed to a function after the clip; a tuple is spread.

        Returns:
            A tensor (or tuple) shaped like `inputs`, of 0 or more. It sums to 1 for each example,
            less what lies on class tokens, learned tokens and borders.

        Raises:
            ClipError: If `inputs` is not one clip of finite floats.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model has no attention, or none that can be seen into; if weights do
                not sum to 1; if tokens are mixed by attention of another kind, or branches beside
                attention cannot be told apart; if it is in training mode.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started() as run:
            found = rollout(request, run)
        return found.attribution if isinstance(inputs, torch.Tensor) else (found.attribution,)

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        temporal_attention: bool = True,
    ) -> AttentionRolloutResult:
        """The shares, their sums over frames and tokens, and the attention of the layers.

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
            found, over_time = explained(request, temporal_attention, run)
        return AttentionRolloutResult(
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
        return rollout_work(request, of == "explain" and temporal_attention)

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
