"""One pass of the decoder over a file: which frame comes next, and whether it is sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from temporal_attr.clips._checksums import has_whole_slices
from temporal_attr.clips._container import OpenVideo
from temporal_attr.clips._index import FrameIndex

if TYPE_CHECKING:
    import av
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_BIDIRECTIONAL = 3  # FFmpeg's number of a B-frame
_DEEPEST_REORDERING = 32


@dataclass(frozen=True)
class Shown:
    """A frame as it comes from the decoder.

    Attributes:
        number: Which frame of the video it is, counted from 0.
        time: When it is shown, in units of the stream's clock; None where the file says nothing.
        frame: The decoded frame.
        sound: Whether it and all that it was made from were decoded without a fault.
    """

    number: int
    time: int | None
    frame: VideoFrame
    sound: bool


class FaultError(Exception):
    """Several threads met a fault; one thread will tell where it is."""


class IrregularError(Exception):
    """The decoder gives other frames than the packets announce, and reports no damage."""


def decoded(video: OpenVideo, packet: av.Packet[VideoStream]) -> tuple[list[VideoFrame], bool]:
    """The frames that come when a packet is handed to the decoder, and whether it was whole."""
    import av  # noqa: PLC0415

    try:
        frames, taken = video.decoder.decode(packet if packet.size else None), True
    except av.FFmpegError:
        frames, taken = [], False
    if video.stream.codec_context.name == "ffv1":
        # What is damaged FFmpeg takes from the frame before, and does not mark.
        taken = taken and has_whole_slices(bytes(packet))
    if video.threads > 1 and (not taken or any(frame.is_corrupt for frame in frames)):
        raise FaultError
    return frames, taken


@dataclass
class IndexedPass:
    """Frames from a key on, each known by its time.

    Args:
        video: The file, open for decoding.
        index: Where the frames are.
        key: The place to start at.
    """

    video: OpenVideo
    index: FrameIndex
    key: int = 0
    _faults: list[int] = field(default_factory=list)
    _false_keys: set[int] = field(default_factory=set)

    @property
    def damaged(self) -> bool:
        """Whether the decoder has met a fault."""
        return bool(self._faults)

    def __iter__(self) -> Iterator[Shown]:
        """Frames in order; a number is left out where the decoder gave no frame.

        Raises:
            IrregularError: If a frame comes that the index does not have there.
            FaultError: If several threads decode and one meets a fault.
        """
        first = self.index.first_number(self.key) if self.key else 0
        held: deque[tuple[int, VideoFrame]] = deque()
        newest = first - 1
        for place, packet in self._packets():
            frames, taken = decoded(self.video, packet)
            if not taken:
                self._fault(place)
            for frame in frames:
                number = self._number(frame)
                if number < first:
                    continue  # made from frames before the key
                if number <= newest:
                    raise IrregularError
                newest = number
                self._look(number, frame)
                held.append((number, frame))
            while held and self.index.settled[self.index.shown[held[0][0]]] <= newest:
                yield self._shown(*held.popleft())
        while held:
            yield self._shown(*held.popleft())

    def _packets(self) -> Iterator[tuple[int, av.Packet[VideoStream]]]:
        """From the key on, each with its place, which must be the one that the index has for it."""
        if self.key:
            self.video.seek(int(self.index.times[self.key]))
        place = -1
        for packet in self.video.packets():
            if not packet.size:
                if packet.pts is None and place >= 0:
                    yield place, packet  # the end: what the decoder still holds
                continue
            found = self.index.place(packet.pts)
            if (
                found is None
                or (place >= 0 and found != place + 1)
                or (place < 0 and found > self.key)
            ):
                raise IrregularError
            if found >= self.key:
                place = found
                yield place, packet

    def _number(self, frame: VideoFrame) -> int:
        number = self.index.number(frame.pts)
        if number is None:
            raise IrregularError
        return number

    def _fault(self, place: int) -> None:
        # Frames before the key cannot be whole, and none after it is made from them.
        if self.index.times[place] >= self.index.times[self.key] or not self.key:
            self._faults.append(place)

    def _look(self, number: int, frame: VideoFrame) -> None:
        place = int(self.index.shown[number])
        if frame.is_corrupt:
            self._fault(place)
        if not frame.key_frame:
            self._false_keys.add(place)

    def _shown(self, number: int, frame: VideoFrame) -> Shown:
        sound = not self._faults or self._is_sound(int(self.index.shown[number]))
        return Shown(number, frame.pts, frame, sound)

    def _is_sound(self, place: int) -> bool:
        start = self.index.key_before(place, self._false_keys)
        return not any(start <= fault <= place for fault in self._faults)


@dataclass
class CountedPass:
    """All frames from the beginning, known by their count alone.

    After damage no frame is sound: one that was lost cannot be told from one that was not.
    """

    video: OpenVideo
    damaged: bool = False

    def __iter__(self) -> Iterator[Shown]:
        """Frames in order, none left out."""
        clock = _Clock(use=[self.video.format_name != "avi", True])
        held: deque[Shown] = deque()
        number = 0
        for packet in self.video.packets():
            if not packet.size and packet.pts is not None:
                continue  # "as before"; handing it over would end the decoding
            frames, taken = decoded(self.video, packet)
            self.damaged |= not taken
            for frame in frames:
                self.damaged |= frame.is_corrupt
                held.append(Shown(number, clock.read(frame), frame, True))
                number += 1
                # It can be made from the next that is none, which may turn out to be damaged.
                if frame.pict_type == _BIDIRECTIONAL and len(held) < _DEEPEST_REORDERING:
                    continue
                while held:
                    yield self._judged(held.popleft())
        while held:
            yield self._judged(held.popleft())

    def _judged(self, shown: Shown) -> Shown:
        return Shown(shown.number, shown.time, shown.frame, not self.damaged)


@dataclass
class _Clock:
    """The likelier of the two times that a frame comes with, as FFmpeg's programs choose it.

    The one with fewer steps backwards in time; the other where it is missing.

    Args:
        use: Whether to look at the time of showing, and at that of decoding.
    """

    use: list[bool]
    faults: list[int] = field(default_factory=lambda: [0, 0])
    last: list[int | None] = field(default_factory=lambda: [None, None])

    def read(self, frame: VideoFrame) -> int | None:
        times = [
            time if use else None
            for time, use in zip((frame.pts, frame.dts), self.use, strict=True)
        ]
        for which, time in enumerate(times):
            before = self.last[which]
            if time is not None:
                self.faults[which] += before is not None and time <= before
                self.last[which] = time
            else:
                self.last[which] = times[1 - which] if times[1 - which] is not None else before
        use_first = self.faults[0] <= self.faults[1] or times[1] is None
        return times[0] if use_first and times[0] is not None else times[1]
