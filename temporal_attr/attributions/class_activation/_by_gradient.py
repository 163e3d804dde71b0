"""Class activation maps whose weights come from gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, get_args

from captum.attr import GradientAttribution

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._run import RunContext
from temporal_attr._told import shown
from temporal_attr._typing import TargetLike
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.class_activation import _weighting
from temporal_attr.attributions.class_activation._compute import (
    ActivationRequest,
    ClassActivation,
    activation_work,
    class_activation,
)
from temporal_attr.attributions.class_activation._layers import LayerLike
from temporal_attr.attributions.class_activation._method import ClassActivationMethod
from temporal_attr.attributions.class_activation._weighting import Pool, Weighting
from temporal_attr.models import VideoModel


def _traits(slug: str, question: str, unit: str, source: str) -> Traits:
    return Traits(
        slug=slug,
        question=question,
        gives="map of a layer",
        axes=CLIP_AXES,
        sign="non-negative",
        unit=unit,
        needs=("gradients", "layers"),
        cost="F, and a backward pass from the output to the layer",
        source=source,
    )


class _ByGradient(ClassActivationMethod, GradientAttribution):  # type: ignore[misc]
    """A method that needs values and gradients of the layer.

    Attributes:
        weighting: From these to a map.
        extensive: Whether the values of a map are parts of a sum over its places.
    """

    weighting: ClassVar[Weighting]
    extensive: ClassVar[bool] = True

    def _computed(self, request: ActivationRequest, run: RunContext) -> ClassActivation:
        return class_activation(request, type(self).weighting, self.extensive, run)

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls, which compute the same."""
        return activation_work(self._request(inputs, target, arguments))


class _Pooled(_ByGradient):
    """One that has a weight for each channel."""

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        layer: LayerLike = "last",
        relu: bool = True,
        pool: Pool = "clip",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, layer, relu, activation)
        if not isinstance(pool, str) or pool not in get_args(Pool):
            raise OptionError('pool to be "clip" or "timestep"', shown(pool), "Choose one of them.")
        self.pool = pool


class GradCAM(_Pooled):
    r"""Gradient-weighted class activation mapping :cite:p:`selvaraju2017`, in space and time.

    Of a layer with values :math:`A^k` in channel k, and the target's logit :math:`S`,

    .. math::
        \alpha_k = \frac{1}{Z} \sum_{t,i,j} \frac{\partial S}{\partial A^k_{tij}}, \qquad
        M_{tij} = \mathrm{ReLU}\Big(\sum_k \alpha_k A^k_{tij}\Big)

    (their equations 1 and 2; of a video the mean goes over steps as well, Z being the number of all
    places). Before global average pooling and a linear classifier it is the class activation map of
    :cite:t:`zhou2016` over Z, and without `relu` its sum over steps, rows and columns is the logit
    less the bias.

    The weight of a channel is one number for the whole clip. So where steps are read differently,
    as the last frame by a recurrent network, a frame that is not read at all gets a map, too: there
    ask for `pool="timestep"`, or take `HiResCAM`.

    Where time, height and width are in the layer's output is measured, on the first clip of a size:
    channels may come first or last, frames be folded into the batch or come one call after another,
    places be tokens beside class tokens. Of a layer that returns several maps (SlowFast), or several
    layers, each gives a map; each is brought to the finest of them, scaled so that its sum over
    places is kept, and they are added up.

    Only what follows the layer is differentiated, so no graph is kept before it.

    Args:
        model: A `VideoModel` (see `temporal_attr.wrap`), any module that maps clips
            `(batch, time, channel, height, width)` to logits `(batch, classes)`, or a function that
            does, whose layer is given as a module.
        layer: Its path as in `named_modules()` (within a wrapper also that of the network itself),
            the module, or a tuple with one for each pathway. `"last"` is the last one, poolings
            aside, that gives a map of more than one place which all of the logits are read from.
        relu: Make negative numbers of the map 0, as the source does.
        pool: Whether a channel has one weight for the `"clip"`, or one for each `"timestep"` of the
            layer, by the gradient of that step.
        activation: What turns the model's outputs into the probabilities that a result shows; see
            `TemporalGradient`.

    Costs: a forward pass, and a backward pass to the layer. The first clip of a size takes five more
    forward passes, and mostly one of a clip twice as long, to find the axes; `"last"` some ten more.

    Example:
        >>> import torch
        >>> from temporal_attr.models import Conv3D
        >>> network = torch.nn.Sequential(
        ...     torch.nn.Conv3d(3, 4, 3, padding=1), torch.nn.AdaptiveAvgPool3d(1),
        ...     torch.nn.Flatten(), torch.nn.Linear(4, 5),
        ... ).eval()
        >>> clip = torch.rand(1, 6, 3, 16, 16)
        >>> result = GradCAM(Conv3D(network), layer="0", relu=False).explain(clip, target=2)
        >>> tuple(result.maps["model.0"].shape)
        (1, 6, 16, 16)
        >>> logit = result.logits[0, 2] - network[3].bias[2]
        >>> torch.allclose(result.maps["model.0"].sum(), logit, atol=1e-5)
        True
    """

    name = "Grad-CAM"
    traits = _traits(
        "grad-cam",
        "Where and when are the features that raise the logit, by the mean gradient of each?",
        "logits, for Z places",
        "selvaraju2017",
    )
    weighting = staticmethod(_weighting.grad_cam)


class GradCAMPlusPlus(_Pooled):
    r"""Grad-CAM++ :cite:p:`chattopadhay2018`, in space and time.

    The weight of a channel is a sum over its places of positive gradients, larger where few places
    of the channel are active, so that a small region counts as much as a large one:

    .. math::
        w_k = \sum_{t,i,j} \frac{(G^k_{tij})^2}{2 (G^k_{tij})^2 + (G^k_{tij})^3 \sum_{a} A^k_a}
        \mathrm{ReLU}(G^k_{tij}), \qquad G^k = \frac{\partial S}{\partial A^k}

    (their equations 5 and 19, for the score :math:`\exp(S)`, whose own factor, the same for all
    channels, is left out). Sums go over steps as well. Of several pathways maps are added up as they
    are.

    Args:
        model: See `GradCAM`.
        layer: See `GradCAM`.
        relu: See `GradCAM`.
        pool: See `GradCAM`; the sum of values is then that of the step, too.
        activation: See `GradCAM`.

    Costs: as `GradCAM`.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, widths=(4, 8))
        >>> method = GradCAMPlusPlus(model, layer="encoder", relu=True)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected a
    """

    name = "Grad-CAM++"
    traits = _traits(
        "grad-cam-plus-plus",
        "The same, where small regions are to count as large ones do?",
        "feature values by weight",
        "chattopadhay2018",
    )
    weighting = staticmethod(_weighting.grad_cam_plus_plus)
    extensive = False


class HiResCAM(_ByGradient):
    r"""HiResCAM :cite:p:`draelos2020`, in space and time: each value by its own gradient.

    .. math::
        M_{tij} = \mathrm{ReLU}\Big(\sum_k \frac{\partial S}{\partial A^k_{tij}} A^k_{tij}\Big)

    (their equation 6, in which there is no ReLU; `relu=False` leaves it out). Where all that follows
    the layer is linear it says exactly what each place adds: without `relu` its sum is the logit less
    the bias. A frame that is not read has a map of 0.

    Args:
        model: See `GradCAM`.
        layer: See `GradCAM`.
        relu: See `GradCAM`.
        activation: See `GradCAM`.

    Costs: as `GradCAM`.

    Example:
        >>> import torch
        >>> from temporal_attr.models import LateFusion
        >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten())
        >>> model = LateFusion(encoder, torch.nn.Linear(4 * 14 * 14, 5), "last").eval()
        >>> scores = HiResCAM(model, relu=False).explain(torch.rand(1, 4, 3, 16, 16), 1).frame_scores
        >>> (scores != 0).tolist()
        [[False, False, False, True]]
    """

    name = "HiResCAM"
    traits = _traits(
        "hi-res-cam",
        "Which places and times of a layer raise the logit, each by its own gradient?",
        "logits",
        "draelos2020",
    )
    weighting = staticmethod(_weighting.hi_res_cam)


class LayerCAM(_ByGradient):
    r"""LayerCAM :cite:p:`jiang2021`, in space and time: values by their own positive gradients.

    .. math::
        M_{tij} = \mathrm{ReLU}\Big(\sum_k
        \mathrm{ReLU}\Big(\frac{\partial S}{\partial A^k_{tij}}\Big) A^k_{tij}\Big)

    (their equations 5 to 7). It is meant for earlier layers as well, whose maps are finer.

    Args:
        model: See `GradCAM`.
        layer: See `GradCAM`.
        relu: See `GradCAM`.
        activation: See `GradCAM`.

    Costs: as `GradCAM`.

    Example:
        >>> import torch
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> clip = torch.rand(1, 4, 3, 32, 32)
        >>> tuple(LayerCAM(model, layer="layers.0").explain(clip, 1).maps["layers.0"].shape)
        (1, 4, 8, 8)
    """

    name = "LayerCAM"
    traits = _traits(
        "layer-cam",
        "Which places and times of an early layer raise the logit, at a finer resolution?",
        "logits",
        "jiang2021",
    )
    weighting = staticmethod(_weighting.layer_cam)
