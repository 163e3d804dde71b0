"""Where every frame of a file is, read from its packets without decoding any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video file in the order in which they are shown.

    Attributes:
        seconds: When each is shown.
        is_key: Whether each can be decoded without the ones before it.
    """

    seconds: Float[np.ndarray, " frames"]
    is_key: Bool[np.ndarray, " frames"]

    @classmethod
    def read(cls, path: Path) -> FrameIndex | None:
        """The index of a file; None if its packets do not tell frames apart by their times."""
        import cv2  # noqa: PLC0415

        # With format -1 OpenCV hands on packets as they are stored.
        packets = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        found = []
        while packets.grab():
            key = packets.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME)
            found.append((packets.get(cv2.CAP_PROP_POS_MSEC) / 1000, bool(key)))
        packets.release()
        found.sort()
        seconds = np.array([time for time, _ in found])
        if not found or (np.diff(seconds) <= 0).any():
            return None
        return cls(seconds, np.array([key for _, key in found]))

    def number(self, seconds: float) -> int:
        """The number of the frame that is shown at a time."""
        return int(np.abs(self.seconds - seconds).argmin())

    def seeking_pays(self, position: int, target: int) -> bool:
        """Whether decoding can leave out frames between `position` and `target`.

        OpenCV aims 16 frames before the one it seeks, and starts at the key frame before that.
        """
        return bool(self.is_key[position + 2 : max(0, target - 16)].any())
