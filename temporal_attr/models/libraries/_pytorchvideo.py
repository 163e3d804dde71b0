"""Pytorchvideo's networks, recognised by their build, so that copies of the code work as well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from temporal_attr._activation import Activation
from temporal_attr._errors import UnsupportedModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._conv3d import triple
from temporal_attr.models._parts import WholeAndParts
from temporal_attr.models._sizes import LONGEST, ROOMY, SizeCheck, shape_of, without_values
from temporal_attr.models.layers._timesteps import LayerTimesteps
from temporal_attr.models.libraries._pytorchvideo_mvit import PyTorchVideoMViT, is_mvit
from temporal_attr.models.libraries._slowfast import SlowFast
from temporal_attr.models.libraries._slowfast_builds import SlowFastBuild

Wrapper = TypeVar("Wrapper", bound=WholeAndParts)

LastMap: TypeAlias = Callable[[Any, Tensor], Tensor]
"""From a network without values and a clip to the map that its head pools."""

_MEAN, _STD = 0.45, 0.225
_CROP = 224
"""Of networks that pool over a map of any size."""

_HEAD = ("pool", "dropout", "proj", "activation", "output_pool")


class PyTorchVideoNet(LayerTimesteps):
    """A network of pytorchvideo with one pathway: slow, c2d, i3d, csn, r2plus1d or x3d.

    Its timesteps are those of the last map before the head's pooling. Where the head is a pooling
    and a linear layer, a timestep's logits are its prediction (`exactness="linear"`); the weights
    are a trapezoid where the clip is longer than the pooling's kernel. X3D's head has a ReLU after
    the pooling, whose zeros are held as they are on the clip (`"frozen"`).

    A softmax or sigmoid at the end is left out, so outputs are logits, and becomes the wrapper's
    `activation`; on a clip with several windows of the pooling, the network itself averages
    probabilities, and the wrapper logits. `Swish` as a function with a gradient written by hand,
    which relevance could not pass, is run as the same function of PyTorch. The network itself is
    left as it is.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing | None = None) -> None:
        blocks: Any = model.blocks
        place = len(blocks) - 1
        ending = _left_out(blocks[-1].activation)
        layer = _last_map(blocks)
        super().__init__(
            model,
            layer,
            layout="batch channel time height width",
            time_axis=2,
            exactness="linear" if _ends_linearly(blocks[-1]) else "frozen",
            stages=[name for name in _stages(blocks) if name != layer],
            substitutes={
                **({f"blocks.{place}.activation": nn.Identity()} if ending else {}),
                **_plain_swish(model),
            },
            preprocessing=preprocessing,
        )
        self.activation = ending
        self._check_size = SizeCheck()

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if the head's pooling fits into the map that becomes of it."""
        volume = super().to_layout(clip)
        self._check_size(self.model, volume)
        return volume


def wrap_pytorchvideo(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a network of pytorchvideo's build; None for any other.

    Raises:
        UnsupportedModelError: If it is of this build, and no classifier of clips.
    """
    if is_mvit(model):
        return PyTorchVideoMViT(model, preprocessing or _mvit_preset(model))
    _refuse_boxes(model)
    build = SlowFastBuild.of(model)
    if build is not None:
        return _wrap_two_pathways(model, preprocessing, build)
    blocks: Any = getattr(model, "blocks", None)
    if not isinstance(blocks, nn.ModuleList) or len(blocks) < 2:
        return None
    head: Any = blocks[-1]
    if not all(hasattr(head, name) for name in _HEAD):
        return None
    if head.output_pool is None:
        raise UnsupportedModelError(
            "a network that gives logits (batch, classes)",
            f"{type(model).__name__}, whose head has no output_pool and gives a map of logits",
            "Build it with head_output_with_global_average=True.",
        )
    if head.pool is None:
        return None
    wrapper = PyTorchVideoNet(model, preprocessing)
    pool = getattr(head.pool, "pool", head.pool)
    return _made_for(wrapper, pool, lambda bare, clip: _through(bare.blocks[:-1], clip))


def _wrap_two_pathways(
    model: nn.Module, preprocessing: Preprocessing | None, build: SlowFastBuild
) -> SlowFast:
    wrapper = SlowFast(model, preprocessing=preprocessing)
    alpha = wrapper.alpha
    # The fast pathway has all frames.
    return _made_for(
        wrapper,
        build.parts(model)[0][1],
        lambda bare, clip: build.maps(bare, [clip[:, :, ::alpha], clip])[1],
    )


def _refuse_boxes(model: nn.Module) -> None:
    if any(hasattr(part, "roi_layer") for part in model.modules()):
        raise UnsupportedModelError(
            "a classifier of whole clips",
            f"{type(model).__name__}, which classifies boxes in them",
            "Pass a method a function that binds the boxes, such as "
            "lambda clip: network(clip.transpose(1, 2), boxes).",
        )


def _ends_linearly(head: Any) -> bool:  # noqa: ANN401 - a module of another library
    """Whether all that follows the last map is a pooling and linear, but for what is left out."""
    kept = None if _left_out(head.activation) else head.activation
    return kept is None and getattr(head.pool, "post_act", None) is None


def _left_out(ending: nn.Module | None) -> Activation | None:
    if isinstance(ending, nn.Softmax):
        return "softmax"
    return "sigmoid" if isinstance(ending, nn.Sigmoid) else None


def _last_map(blocks: nn.ModuleList) -> str:
    """The module whose output the head pools: the last block, or what an X3D's head computes."""
    pool: Any = blocks[-1].pool
    if not hasattr(pool, "pre_conv"):
        return f"blocks.{len(blocks) - 2}"
    names = ("pre_act", "pre_norm", "pre_conv")
    last = next(name for name in names if getattr(pool, name) is not None)
    return f"blocks.{len(blocks) - 1}.pool.{last}"


def _stages(blocks: nn.ModuleList) -> list[str]:
    """Where the network can be cut: after each residual block, and each other block."""
    names: list[str] = []
    for place, block in enumerate(list(blocks)[:-1]):
        inner = getattr(block, "res_blocks", None)
        # Where the stage adds the shortcut, and not the block, it passes by the block.
        parts = list(inner) if isinstance(inner, nn.ModuleList) else []
        count = len(parts) if all(hasattr(one, "branch2") for one in parts) else 0
        # What the last of these gives is what their stage gives.
        names += [f"blocks.{place}.res_blocks.{i}" for i in range(count - 1)]
        names.append(f"blocks.{place}")
    return names


def _plain_swish(model: nn.Module) -> Mapping[str, nn.Module]:
    """`nn.SiLU` by the path of each module that is the same function, written by hand."""
    probe = torch.linspace(-9, 9, 37, dtype=torch.float64).reshape(1, 1, 1, 1, -1)
    expected = nn.SiLU()(probe)
    found: dict[str, nn.Module] = {}
    for path, part in model.named_modules():
        kind = type(part)
        if "swish" in kind.__name__.lower() and not kind.__module__.startswith("torch."):
            with torch.no_grad():
                # As a class of this name may have a slope of its own.
                if not list(part.parameters()) and torch.allclose(part(probe), expected):
                    found[path] = nn.SiLU()
    return found


def _made_for(wrapper: Wrapper, pool: nn.Module, last_map: LastMap) -> Wrapper:
    """A wrapper with the frames and the size whose map the head's pooling takes as a whole.

    That is what the hub's networks were trained on, with mean .45 and standard deviation .225, and
    an eighth more on the short side before the crop. Where the pooling takes any, the size is that
    of most networks.
    """
    model: nn.Module = wrapper.model
    first = next(part for part in model.modules() if isinstance(part, nn.Conv3d))
    height = width = _CROP
    if isinstance(pool, nn.AvgPool3d):
        bare, sides = without_values(model), (LONGEST, ROOMY, ROOMY)
        clip = torch.empty((1, first.in_channels, *sides), dtype=first.weight.dtype, device="meta")
        shape = shape_of(lambda: last_map(bare, clip))
        if shape is not None:
            strides = (whole // left for whole, left in zip(sides, shape[2:], strict=True))
            sizes = (
                window * stride
                for window, stride in zip(triple(pool.kernel_size), strides, strict=True)
            )
            wrapper.clip_frames, height, width = sizes
    if wrapper.preprocessing is None:
        wrapper.preprocessing = _preset(height, width, first.in_channels)
    return wrapper


def _preset(height: int, width: int, channels: int = 3) -> Preprocessing:
    return Preprocessing(
        min(height, width) * 8 // 7,
        (height, width),
        Normalization((_MEAN,) * channels, (_STD,) * channels),
    )


def _mvit_preset(model: Any) -> Preprocessing:  # noqa: ANN401 - a module of another library
    grid = model.cls_positional_encoding.patch_embed_shape
    patches = model.patch_embed.patch_model
    height, width = (step * side for step, side in zip(patches.stride[1:], grid[1:], strict=True))
    return _preset(height, width, patches.in_channels)


def _through(blocks: nn.ModuleList, x: Any) -> Any:  # noqa: ANN401 - a tensor or a list
    for block in blocks:
        x = block(x)
    return x
