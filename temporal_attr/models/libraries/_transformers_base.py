"""What the video classifiers of the transformers library have in common."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError, UnsupportedModelError, printable
from temporal_attr._typing import ClipTensor, Logits
from temporal_attr.clips import Preprocessing
from temporal_attr.models._outputs import logits_of
from temporal_attr.models._parts import WholeAndParts

_ARGUMENTS = ("pixel_values_videos", "pixel_values")
"""What the library calls a video."""

_ACTIVATIONS: dict[str, Activation] = {
    "multi_label_classification": "sigmoid",
    "regression": "none",
}
"""By a configuration's `problem_type`; what has another is found out from the outputs."""


class TransformersVideo(WholeAndParts):
    """A video classifier of the transformers library, which holds its configuration.

    Clips have the size, and where positions are counted the number of frames, of the configuration,
    which is read and never written to. Names of classes are those of its `id2label`, unless they
    are the library's own placeholders.
    """

    layout = "batch time channel height width"
    exactness = "frozen"
    any_length = False
    """Whether clips may have another number of whole tubelets than the configuration's."""

    def __init__(self, model: nn.Module, preprocessing: Preprocessing | None = None) -> None:
        super().__init__(model, preprocessing)
        self._argument = video_argument(model)
        self.clip_frames, self._size, self.frames_per_step = self._shape(self._net.config)
        try:
            # Another version of the library has other parts. Asked of the class, since a module
            # says of a property that fails only that it is not there.
            type(self).stages.__get__(self)
        except AttributeError as error:
            raise UnsupportedModelError(
                f"{type(model).__name__} with the parts that it has in transformers 5.24",
                f"another layout ({error})",
                "Update transformers, or wrap the model by hand in a subclass of VideoModel.",
            ) from None

    @property
    def _net(self) -> Any:  # noqa: ANN401 - a module of another library
        return self.model

    @staticmethod
    def _shape(config: Any) -> tuple[int, tuple[int, int], int]:  # noqa: ANN401
        """Frames, height and width of a clip, and frames of a tubelet."""
        return config.num_frames, pair(config.image_size), 1

    @property
    def channels(self) -> int:
        """Number of channels, by the configuration."""
        config = self._net.config
        return int(getattr(config, "num_channels", None) or config.in_chans)

    def to_layout(self, clip: ClipTensor) -> Tensor:
        """The clip, if it is what the positions were made for."""
        video = super().to_layout(clip)
        frames, size = clip.shape[1], tuple(clip.shape[3:])
        wanted, fits = f"{self.clip_frames} frames", frames == self.clip_frames
        if self.any_length:
            wanted = f"a multiple of {self.frames_per_step} frames"
            fits = frames % self.frames_per_step == 0
        if not fits or size != self._size:
            raise ClipError(
                f"{wanted} of {self._size[0]} x {self._size[1]}, as the configuration of "
                f"{type(self.model).__name__} says",
                f"{frames} of {size[0]} x {size[1]}",
                "Load the clip with that many frames and the preprocessing of the checkpoint.",
            )
        return video

    def forward(self, clip: ClipTensor) -> Logits:
        """The network's own logits."""
        return logits_of(self.model(**{self._argument: self.to_layout(clip)}))


def video_argument(model: nn.Module) -> str:
    """What a network calls its video, by the signature of its `forward`.

    Raises:
        UnsupportedModelError: If it takes none.
    """
    parameters = inspect.signature(model.forward).parameters
    for name in _ARGUMENTS:
        if name in parameters:
            return name
    raise UnsupportedModelError(
        f"a model that takes {' or '.join(_ARGUMENTS)}",
        f"{type(model).__name__}({', '.join(parameters)})",
        "Pass a function of clips instead, such as lambda clip: model(clip).logits.",
    )


def activation_of(config: Any) -> Activation | None:  # noqa: ANN401 - of another library
    """What turns outputs into probabilities, if a configuration says so."""
    return _ACTIVATIONS.get(str(config.problem_type))


def class_names_of(config: Any) -> tuple[str, ...]:  # noqa: ANN401 - of another library
    """The names of the classes in a configuration, but for placeholders such as LABEL_3."""
    labels = dict(config.id2label or {})
    names = [str(labels.get(place, "")) for place in range(len(labels))]
    placeholders = all(name == f"LABEL_{place}" for place, name in enumerate(names))
    return () if placeholders else tuple(printable(name, keep="") for name in names)


def pair(sides: Any) -> tuple[int, int]:  # noqa: ANN401 - a configuration has either
    """Height and width of a size that may be one number for both."""
    return (sides, sides) if isinstance(sides, int) else (sides[0], sides[1])


def first_of(layer: nn.Module, tokens: Tensor, **arguments: Any) -> Tensor:  # noqa: ANN401
    """The tokens that a layer gives, beside its attention weights."""
    output: Tensor = layer(tokens, **arguments)[0]
    return output


def by_head(tokens: Tensor, heads: int) -> Tensor:
    """`(batch, head, token, feature)` of tokens whose features are those of all heads."""
    heads_apart: Tensor = tokens.unflatten(-1, (heads, -1))
    return heads_apart.transpose(1, 2)


def eager_softmax_dtype(model: nn.Module) -> torch.dtype | None:
    """What the attention of most families computes its softmax in, where it is `"eager"`.

    None is for the dtype of the scores.
    """
    net: Any = model
    return torch.float32 if net.config._attn_implementation == "eager" else None
