"""Where every frame of a file is, read from its packets without decoding any."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from temporal_attr.clips._container import OpenVideo, open_video

# Frames that decoders keep back at most, to show them in another order than they are stored in.
_DEEPEST_REORDERING = 32
# Placeholders of MPEG-4, "as before", of which no frame comes; a real frame is longer.
_PLACEHOLDER_BYTES = 20
# Formats whose header says how long the whole is, without being asked to count it.
_HEADER_HAS_DURATION = ("matroska", "flv", "asf")


@dataclass
class PacketTable:
    """The packets of a video in the order in which they are stored, which is that of decoding.

    Attributes:
        times: When each is shown, in units of the stream's clock; None where the file says nothing.
        keys: Whether decoding can start there.
        hidden: Whether it is only decoded, for others, and not shown.
        placeholders: Packets of which no frame may come.
        end: When the last packet of any stream ends, in seconds; None if unknown.
        promised: How many frames the header counts, or that would fill the time that it promises;
            0 where it does not say.
        stopped: Why reading stopped before the end of the file, or empty.
    """

    times: list[int | None] = field(default_factory=list)
    keys: list[bool] = field(default_factory=list)
    hidden: list[bool] = field(default_factory=list)
    placeholders: int = 0
    end: float | None = None
    promised: int = 0
    stopped: str = ""

    @classmethod
    def read(cls, path: Path) -> PacketTable:
        """Read all packets of a file, and decode none."""
        with open_video(path) as video:
            table = cls()
            listed = len(video.stream.index_entries)
            table._collect(video)
            table.promised = table._promise(video, listed)
        return table

    def _collect(self, video: OpenVideo) -> None:
        import av  # noqa: PLC0415

        container, stream = video.container, video.stream
        codec, number = stream.codec_context.name, stream.index
        smallest = _PLACEHOLDER_BYTES if codec in ("mpeg4", "msmpeg4v3", "h263") else 0
        all_streams = video.format_name in _HEADER_HAS_DURATION
        times, keys, hidden, end = self.times, self.keys, self.hidden, 0.0
        try:
            for packet in container.demux() if all_streams else container.demux(stream):
                time = packet.pts
                if all_streams and time is not None:
                    end = max(end, float((time + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index != number:
                    continue
                if packet.size <= smallest:
                    # The very last one is empty and only ends the stream.
                    self.placeholders += packet.size > 0 or time is not None
                    if not packet.size:
                        continue
                times.append(time)
                keys.append(packet.is_keyframe)
                unseen = packet.is_discard or (codec == "vp8" and not memoryview(packet)[0] & 16)
                hidden.append(unseen)
        except av.FFmpegError as error:
            self.stopped = error.strerror or type(error).__name__
        self.end = end if all_streams else None

    def _promise(self, video: OpenVideo, listed: int) -> int:
        """How many frames the header promises; what it lists was counted before reading on."""
        name, container, stream = video.format_name, video.container, video.stream
        if name == "mov":
            # A file in fragments lists them as they are read.
            return max(len(stream.index_entries), listed) - sum(self.hidden)
        if name == "avi":
            # A list of frames is written last: where there is one, nothing after it is missing,
            # and the count may be of frames that were left out when recording.
            return stream.frames if listed <= 1 else 0
        if self.end is None or not container.duration:
            return 0
        stop = (container.start_time or 0) / 1e6 + container.duration / 1e6
        missing = (stop - self.end) * video.rate
        # The last frame's length is often not stored, and some round the whole up by a frame.
        return len(self.times) - sum(self.hidden) + round(missing) if missing > 2.5 else 0


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video by the times of their packets; places are those in the file.

    Attributes:
        times: When the packet at each place is shown, in units of the stream's clock.
        keys: The places at which decoding can start.
        shown: The places of the frames that are shown, in the order in which they are.
    """

    times: list[int]
    keys: list[int]
    shown: list[int]

    @classmethod
    def of(cls, table: PacketTable, format_name: str) -> FrameIndex | str:
        """The index, or why the times of the packets do not make one."""
        if format_name == "avi" and not all(table.keys):
            return "AVI stores when frames are decoded, not when they are shown"
        if table.placeholders:
            return "it has packets without a frame"
        times = [time for time in table.times if time is not None]
        if not times or len(times) < len(table.times):
            return "its packets have no times"
        keys = [place for place, key in enumerate(table.keys) if key]
        if len(set(times)) < len(times) or not _in_order(times, keys):
            return "times in it repeat, go back or do not follow the order of its frames"
        shown = [place for place, hidden in enumerate(table.hidden) if not hidden]
        shown.sort(key=times.__getitem__)
        return cls(times, keys, shown) if shown else "it shows no frame"

    @cached_property
    def place_of(self) -> dict[int, int]:
        """The place of the packet that is shown at a time."""
        return {time: place for place, time in enumerate(self.times)}

    @cached_property
    def number_of(self) -> dict[int, int]:
        """The number of the frame that is shown at a time."""
        return {self.times[place]: number for number, place in enumerate(self.shown)}

    @cached_property
    def settled(self) -> list[int]:
        """The number up to which frames must have come before all that a place needs have come.

        A frame can be made from later ones, which are stored before it.
        """
        numbers = [-1] * len(self.times)
        for number, place in enumerate(self.shown):
            numbers[place] = number
        return list(accumulate(numbers, max))

    def key_before(self, place: int, unless: frozenset[int] | set[int] = frozenset()) -> int:
        """Where decoding must start for a place; 0 if no key is stored and shown before it."""
        for key in reversed(self.keys[: bisect_right(self.keys, place)]):
            if self.times[key] <= self.times[place] and key not in unless:
                return key
        return 0

    def first_number(self, key: int) -> int:
        """The number of the first frame that decoding from a key gives rightly."""
        return bisect_right(self.shown, self.times[key] - 1, key=self.times.__getitem__)

    def without_first(self, count: int) -> FrameIndex:
        """The index of the same packets, of which the first frames are not shown."""
        return FrameIndex(self.times, self.keys, self.shown[count:])


def _in_order(times: list[int], keys: list[int]) -> bool:
    """Whether times can be those of frames that are stored in the order of decoding."""
    latest = list(accumulate(times, max))
    if any(times[key] < latest[key] for key in keys):
        return False  # what is stored before a key is shown before it
    order = sorted(range(len(times)), key=times.__getitem__)
    return all(abs(at - number) <= _DEEPEST_REORDERING for number, at in enumerate(order))
