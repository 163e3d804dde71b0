"""From what a decoder gives to the picture that a player shows: RGB bytes, turned, opaque."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

OVER_BLACK = "transparent parts are shown over black"
"""The note of a picture that is not opaque."""

RawFrame = UInt8[Tensor, "1 channel height width"]

# By their numbers in the standard (ITU-T H.273): BT.2020, and the curves PQ and HLG.
_BT2020, _HDR_CURVES = (9, 10), {16: "PQ", 18: "HLG"}


class Painter:
    """Makes pictures of frames, and notes what was done to them.

    Attributes:
        notes: What there was to say, in the order in which it was seen.
    """

    def __init__(self) -> None:
        from av.video.reformatter import VideoReformatter  # noqa: PLC0415

        # Kept, for each one makes its tables anew: five times the work of decoding.
        self._reformatter = VideoReformatter()
        self.notes: dict[str, None] = {}

    def __call__(self, frame: VideoFrame) -> RawFrame:
        """The picture of a frame, as bytes."""
        import cv2  # noqa: PLC0415 - `import temporal_attr` must work without OpenCV's libraries

        self.look(frame)
        pixels = self._opaque(frame)
        upright = _upright(frame, pixels)
        if upright is None:
            self._note("its turn is by no multiple of 90 degrees: frames are shown as stored")
            upright = pixels
        planes = np.empty((1, 3, *upright.shape[:2]), np.uint8)
        # Eight times as quick as numpy's copy across axes.
        cv2.split(upright, list(planes[0]))
        return torch.from_numpy(planes)

    def look(self, frame: VideoFrame) -> None:
        """Note what a frame says of itself."""
        if frame.interlaced_frame:
            self._note("interlaced: each frame is woven of two fields, as stored")
        curve = _HDR_CURVES.get(int(frame.color_trc))
        if curve or int(frame.colorspace) in _BT2020:
            which = f"BT.2020{f' with {curve} (HDR)' if curve else ''}"
            self._note(f"colours are tagged {which}: converted by their matrix, not tone-mapped")

    def _note(self, text: str) -> None:
        self.notes.setdefault(text)

    def _opaque(self, frame: VideoFrame) -> np.ndarray:
        if not _has_alpha(frame):
            return self._array(frame, "rgb24")
        picture = self._array(frame, "rgba")
        if picture[..., 3].min() < 255:
            self._note(OVER_BLACK)
        return over_black(picture)

    def _array(self, frame: VideoFrame, form: str) -> np.ndarray:
        # As FFmpeg's programs do; in one thread, for a pool would be missing after a fork.
        shown = self._reformatter.reformat(frame, format=form, interpolation="BICUBIC", threads=1)
        array: np.ndarray = shown.to_ndarray()
        return array


def over_black(
    picture: UInt8[np.ndarray, "height width 4"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Colours as they are seen on black, given with their opacity."""
    opacity = picture[..., 3:].astype(np.uint16)
    seen: np.ndarray = ((picture[..., :3] * opacity + 127) // 255).astype(np.uint8)
    return seen


def _has_alpha(frame: VideoFrame) -> bool:
    form = frame.format
    return form.has_palette or any(component.is_alpha for component in form.components)


def _upright(frame: VideoFrame, pixels: np.ndarray) -> np.ndarray | None:
    """Turned and mirrored as the file asks for; None if that is not by a multiple of 90 degrees."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return pixels
    turned: np.ndarray
    # Where a step to the right and a step down in the stored frame lead on the screen.
    right_x, right_y, _, down_x, down_y = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    signs = tuple((value > 0) - (value < 0) for value in (right_x, right_y, down_x, down_y))
    if signs[1] == signs[2] == 0 and signs[0] and signs[3]:
        turned = pixels[:: signs[3], :: signs[0]]
        return turned
    if signs[0] == signs[3] == 0 and signs[1] and signs[2]:
        turned = pixels.transpose(1, 0, 2)[:: signs[1], :: signs[2]]
        return turned
    return None if any(signs) else pixels
