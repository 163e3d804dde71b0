"""A network in a layout of its own, of which it is not known where its timesteps are."""

from __future__ import annotations

from torch import nn

from temporal_attr._errors import FrameLogitsError
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import FrameLogits, RunStage, VideoModel
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.layers import Network


class WithoutTimesteps(VideoModel):
    """A network that takes canonical clips, and has no `frame_logits`.

    `wrap` returns it where a network runs, and it is open which of its layers the timesteps are to
    be taken from. Gradients, shuffling, masking and relevance work; what needs timesteps is an
    error that says what to write.

    Args:
        network: The network, and how it is called.
        layout: What it takes; see `LayerTimesteps`.
        reason: Why it has no timesteps, raised where they are asked for.
        preprocessing: See `VideoModel`.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4 * 4, 5)).eval()
        >>> reason = FrameLogitsError("timesteps", "none", "Name a layer.")
        >>> model = WithoutTimesteps(Network(network), "batch time channel height width", reason)
        >>> model(torch.rand(1, 2, 3, 4, 4)).shape
        torch.Size([1, 5])
        >>> model.frame_logits(torch.rand(1, 2, 3, 4, 4))
        Traceback (most recent call last):
        ...
        temporal_attr._errors.FrameLogitsError: expected timesteps, got none. Name a layer.
    """

    exactness = "none"
    has_timesteps = False

    def __init__(
        self,
        network: Network,
        layout: str,
        reason: FrameLogitsError,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(preprocessing)
        self.model = network.module
        self.layout = layout
        self._handed = (network.keyword, network.listed)
        self._substituted = tuple(network.substitutes)
        self._substitutes = nn.ModuleList(network.substitutes.values())
        self._reason = reason
        self._adopt_mode(self.model)

    @property
    def network(self) -> Network:
        """The network with its substitutes, and how it is called."""
        parts = dict(zip(self._substituted, self._substitutes, strict=True))
        return Network(self.model, parts, *self._handed)

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own logits; those of the network with its substitutes, if it has any."""
        return logits_of(self.network(self.to_layout(clip)))

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """None: it is not known which layer has them."""
        raise self._again()

    def head(self, features: Features) -> Logits:
        """None, likewise."""
        raise self._again()

    def frame_head(self, features: Features) -> FrameLogits:
        """None, likewise."""
        raise self._again()

    def require_timesteps(self) -> None:
        """Raise: it has none."""
        raise self._again()

    def _again(self) -> FrameLogitsError:
        """The reason, without the traceback of the last time."""
        return FrameLogitsError(self._reason.expected, self._reason.got, self._reason.remedy)
