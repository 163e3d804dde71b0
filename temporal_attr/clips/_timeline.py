"""Which frames a video has and when they are shown, by its packets or by counting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from temporal_attr.clips._blocks import block_packets
from temporal_attr.clips._container import OpenVideo, has_side_alpha, open_video
from temporal_attr.clips._index import FrameIndex, PacketTable
from temporal_attr.clips._listed import listed_packets
from temporal_attr.clips._passes import CountedPass, IndexedPass, IrregularError, Shown

if TYPE_CHECKING:
    from av.video.stream import VideoStream

_TRIED = 8


class Timeline:
    """The frames of one file: how many, and when each is shown.

    Args:
        path: The file.
        video: The same, open, nothing read yet. It is left somewhere behind its beginning.

    Attributes:
        path: The file.
        fps: Frames a second, by the header.
        promised: How many frames the header says there are; 0 if it does not.
        index: Where the frames are; None if they can only be counted.
        notes: What there is to say about it.
    """

    def __init__(self, path: Path, video: OpenVideo) -> None:
        self.path = path
        self.notes: list[str] = []
        self._times: list[float] | None = None
        self._sound = 0
        table = packets_of(video, path)
        if table.stopped:
            self.notes.append(f"reading stops after {len(table.times)} packets: {table.stopped}")
        if table.repeats:
            self.notes.append(
                "some of its fields are shown twice (pulldown): times of frames for which the file "
                "stores none are guesses, and can be wrong"
            )
        self._by_blocks = table.by_blocks
        self.promised, self.fps = table.promised, video.rate
        self._unit = float(video.stream.time_base or 1)
        self.notes += _looks(video.stream)
        found = FrameIndex.of(table, video.format_name)
        self.index: FrameIndex | None = None
        if isinstance(found, str):
            self.count_instead(found)
        else:
            self.index = found
            self._try_out(IndexedPass(video, found))

    @property
    def length(self) -> int:
        """Number of frames that the file has, sound or not."""
        if self.index is not None:
            return len(self.index.shown)
        return len(self._counted())

    def count_instead(self, reason: str) -> None:
        """Give the packets' times up, and say why."""
        self.index, self._times, self._sound = None, None, 0
        if self._by_blocks:
            self.promised, self._by_blocks = PacketTable.read(self.path).promised, False
        self.notes.append(f"{reason}, so frames are counted from the beginning")

    def seconds(self, shown: Shown) -> float:
        """When a frame is shown, by the file; by the rate where it says nothing."""
        if shown.time is not None:
            return shown.time * self._unit
        return self._counted()[shown.number]

    def sound_length(self) -> int:
        """How many frames there are up to the last before which none since its key is damaged."""
        if self.index is None:
            self._counted()
            return self._sound
        for key in reversed([0, *self.index.keys[1:].tolist()]):
            first = self.index.first_number(key) if key else 0
            sound = 0
            with open_video(self.path) as video:
                for shown in IndexedPass(video, self.index, key):
                    if not shown.sound or shown.number != first + sound:
                        break
                    sound += 1
            if sound:
                return first + sound
        return 0

    def _try_out(self, trial: IndexedPass) -> None:
        """Compare the first frames that the decoder gives with those of the index."""
        try:
            numbers = [shown.number for shown, _ in zip(trial, range(_TRIED), strict=False)]
        except IrregularError:
            self.count_instead("its packets do not tell which frames are shown")
            return
        if trial.damaged or not numbers:
            return
        index = trial.index
        if numbers[0]:
            self.index = index.without_first(numbers[0])
            self.notes.append(
                f"the first {numbers[0]} pictures are not shown: they need a key frame before the "
                "beginning"
            )
        if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            self.count_instead("its packets do not tell which frames are shown")

    def _counted(self) -> list[float]:
        """When each frame is shown, found by decoding all of them."""
        if self._times is None:
            times: list[float | None] = []
            with open_video(self.path) as video:
                for shown in CountedPass(video):
                    times.append(None if shown.time is None else shown.time * self._unit)
                    self._sound += shown.sound
            self._times = _without_gaps(times, 1 / self.fps)
        return self._times


def packets_of(video: OpenVideo, path: Path) -> PacketTable:
    """The packets of a file, by the quickest way that tells all of them."""
    return listed_packets(video, path) or block_packets(video, path) or PacketTable.read(path)


def _looks(stream: VideoStream) -> Iterator[str]:
    """How the frames are shown, where it is not as they are stored."""
    aspect = float(stream.sample_aspect_ratio or 1)
    if aspect != 1:
        yield (
            f"its pixels are {aspect:.4g} times as wide as high: frames are given as stored, where "
            "a player stretches them"
        )
    if has_side_alpha(stream):
        yield "it has an alpha channel and is shown over black"


def _without_gaps(times: list[float | None], step: float) -> list[float]:
    """Times a step apart where they are missing, counted from the nearest one before or after."""
    known = [number for number, time in enumerate(times) if time is not None]
    filled, anchor = [], known[0] if known else 0
    for number, time in enumerate(times):
        anchor = number if time is not None else anchor
        filled.append((times[anchor] or 0.0) + (number - anchor) * step)
    return filled
