"""Class activation maps whose weights come from gradients."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, get_args

from captum.attr import GradientAttribution

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError
from temporal_attr._run import RunContext
from temporal_attr._told import shown
from temporal_attr._typing import LayerMap, LayerValues, TargetLike
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.class_activation._compute import (
    ActivationRequest,
    ClassActivation,
    activation_work,
    class_activation,
)
from temporal_attr.attributions.class_activation._layers import LayerLike
from temporal_attr.attributions.class_activation._method import ClassActivationMethod
from temporal_attr.attributions.class_activation._weighting import (
    Pool,
    grad_cam,
    grad_cam_plus_plus,
    hi_res_cam,
    layer_cam,
    require_map,
)
from temporal_attr.models import VideoModel


def _traits(slug: str, question: str, unit: str, source: str) -> Traits:
    return Traits(
        slug=slug,
        question=question,
        gives="map of a layer, on the pixels",
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
        extensive: Whether the values of a map are parts of a sum over its places.
    """

    extensive: ClassVar[bool] = True

    def _computed(self, request: ActivationRequest, run: RunContext) -> ClassActivation:
        return class_activation(request, self._map, self.extensive, run)

    @abstractmethod
    def _map(self, values: LayerValues, gradient: LayerValues) -> LayerMap:
        """The map of a layer's values, by their gradient."""

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls, which compute the same."""
        return activation_work(self._request(inputs, target, arguments))


def _require_pool(pool: object) -> None:
    """Raise unless this says over what a channel's gradient is pooled."""
    if not isinstance(pool, str) or pool not in get_args(Pool):
        raise OptionError('pool to be "clip" or "timestep"', shown(pool), "Choose one of them.")


class GradCAM(_ByGradient):
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

    Where time, height and width are in the layer's output is measured on the first clip of a size:
    channels may come first or last, frames be folded into the batch or come one call after another,
    places be tokens, with class tokens before them. Of a layer that returns several maps
    (SlowFast), or several layers, each gives a map; each is brought to the finest of them, scaled
    so that its sum over places is kept, and they are added up.

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
        activation: What turns the model's outputs into the probabilities that a result shows;
            see `TemporalGradient`.

    Costs: a forward pass, and a backward pass to the layer. Once a model, layer and size of clips,
    the axes are found, which takes five more forward passes and, where the layer has fewer steps
    than the clip frames, one of a clip twice as long; `"last"` takes some ten more, one of them
    with the whole graph of a clip, if memory suffices. These are no part of the run.

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
        "Where and when are the features of a layer that raise the logit?",
        "logits",
        "selvaraju2017",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        layer: LayerLike = "last",
        relu: bool = True,
        pool: Pool = "clip",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, layer, relu, activation)
        _require_pool(pool)
        self.pool = pool

    def _map(self, values: LayerValues, gradient: LayerValues) -> LayerMap:
        return grad_cam(values, gradient, self.pool)


class GradCAMPlusPlus(_ByGradient):
    r"""Grad-CAM++ :cite:p:`chattopadhay2018`, in space and time.

    The weight of a channel is a sum over its places of positive gradients, larger where few places
    of the channel are active, so that a small region counts as much as a large one:

    .. math::
        w_k = \sum_{t,i,j} \frac{(G^k_{tij})^2}{2 (G^k_{tij})^2 + (G^k_{tij})^3 \sum_{a} A^k_a}
        \mathrm{ReLU}(G^k_{tij}), \qquad G^k = \frac{\partial S}{\partial A^k}

    (the fraction is their equation 19, for the score :math:`\exp(S)`, whose own factor, the same
    for all channels, is left out). Sums go over steps as well. Of several pathways maps are added
    up as they are.

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
        >>> result = GradCAMPlusPlus(model).explain(torch.rand(1, 4, 3, 32, 32), target=1)
        >>> tuple(result.attribution.shape), result.layers
        ((1, 4, 3, 32, 32), ('encoder.4',))
    """

    name = "Grad-CAM++"
    traits = _traits(
        "grad-cam-plus-plus",
        "Where and when, if a small region is to count as much as a large one?",
        "feature values by weight",
        "chattopadhay2018",
    )
    extensive = False

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        layer: LayerLike = "last",
        relu: bool = True,
        pool: Pool = "clip",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, layer, relu, activation)
        _require_pool(pool)
        self.pool = pool

    def _map(self, values: LayerValues, gradient: LayerValues) -> LayerMap:
        return grad_cam_plus_plus(values, gradient, self.pool)


class HiResCAM(_ByGradient):
    r"""HiResCAM :cite:p:`draelos2020`, in space and time: each value by its own gradient.

    .. math::
        M_{tij} = \mathrm{ReLU}\Big(\sum_k \frac{\partial S}{\partial A^k_{tij}} A^k_{tij}\Big)

    Where all that follows the layer is linear it says exactly what each place adds: without `relu`
    its sum is the logit less the bias. A step that is not read has a map of 0; frames after
    the last step, which a layer without padding leaves over, show that of the last. Where all that
    follows goes through a norm, as in a transformer that reads a class token, value times gradient
    adds up to nothing at every place, and is refused by a `ModelError`: name the norm as `layer`.

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
        >>> result = HiResCAM(model, relu=False).explain(torch.rand(1, 4, 3, 16, 16), target=1)
        >>> (result.frame_scores != 0).tolist()
        [[False, False, False, True]]
    """

    name = "HiResCAM"
    traits = _traits(
        "hi-res-cam",
        "How much does each place and time of a layer add to the logit?",
        "logits",
        "draelos2020",
    )

    def _map(self, values: LayerValues, gradient: LayerValues) -> LayerMap:
        found = hi_res_cam(values, gradient)
        require_map(found, values, gradient)
        return found


class LayerCAM(_ByGradient):
    r"""LayerCAM :cite:p:`jiang2021`, in space and time: values by their own positive gradients.

    .. math::
        M_{tij} = \mathrm{ReLU}\Big(\sum_k
        \mathrm{ReLU}\Big(\frac{\partial S}{\partial A^k_{tij}}\Big) A^k_{tij}\Big)

    It is meant for earlier layers as well, whose maps are finer.

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
        "Where and when does an early layer, with its finer map, support the logit?",
        "logits",
        "jiang2021",
    )

    def _map(self, values: LayerValues, gradient: LayerValues) -> LayerMap:
        return layer_cam(values, gradient)
