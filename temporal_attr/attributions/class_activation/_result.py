"""What a class activation map found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from temporal_attr._activation import output_name
from temporal_attr._typing import LayerMap
from temporal_attr.attributions._results import PixelResult


@dataclass(frozen=True, eq=False)
class ClassActivationResult(PixelResult):
    """What `explain` of `GradCAM` and the other class activation methods found.

    Attributes:
        attribution: `(batch, time, channel, height, width)`, the map on the clip's pixels, the same
            for each of their channels. 0 or more with `relu`.
        frame_scores: `(batch, time)`, the mean of the map over each frame.
        maps: `(batch, steps, rows, columns)` as the layer has it, by its name; of a model of
            several pathways one for each. With `relu` each is 0 or more by itself; `attribution` is
            then what is positive of their sum.
        method_name: The name of the method's class.
        relu: Whether negative numbers were made 0.

    Example:
        >>> import torch
        >>> from temporal_attr import HiResCAM
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> result = HiResCAM(model).explain(torch.rand(2, 5, 3, 32, 32), target=1)
        >>> [(name, tuple(found.shape)) for name, found in result.maps.items()]
        [('layers.1', (2, 5, 4, 4))]
        >>> bool(torch.allclose(result.frame_scores, result.maps["layers.1"].mean((2, 3))))
        True
    """

    same_in_channels: ClassVar[bool] = True

    maps: dict[str, LayerMap]
    method_name: str
    relu: bool

    @property
    def found_by(self) -> str:
        """The name of the method's class, such as "GradCAM"."""
        return self.method_name

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers whose maps they are."""
        return tuple(self.maps)

    @property
    def meaning(self) -> str:
        """The map."""
        return f"{self.method_name} for the {output_name(self.activation)}"

    @property
    def frame_meaning(self) -> str:
        """The mean of the map over a frame."""
        return f"{self.meaning},\nmean over the frame"

    def _details(self, example: int) -> list[str]:
        sizes = [
            f"{name!r} ({' x '.join(str(size) for size in found.shape[1:])})"
            for name, found in self.maps.items()
        ]
        lines = [f"{self.method_name} of the layer {' and '.join(sizes)} (steps x rows x columns)"]
        if not self.frame_scores[example].any():
            lines.append("the map is zero everywhere: nothing in it supports the target")
            return lines
        return [*lines, f"frames with most of the map: {self._top_frames(example)}"]
