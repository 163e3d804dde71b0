"""Where every frame of a file is, read from its packets without decoding any."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64

from temporal_attr.clips._container import OpenVideo, open_video

if TYPE_CHECKING:
    import av

# Frames that decoders keep back at most, to show them in another order than they are stored in.
_DEEPEST_REORDERING = 32
# Placeholders of MPEG-4, "as before", of which no frame comes; a real frame is longer.
_PLACEHOLDER_BYTES = 20
# In the first byte of a frame (RFC 6386, 9.1).
SHOWN_VP8 = 16
# ISO/IEC 13818-2, 6.2.3.1.
_CODING_EXTENSION, _REPEAT_FIRST_FIELD = 8, 2
# Formats whose header says how long the whole is, without being asked to count it.
_HEADER_HAS_DURATION = ("matroska", "flv", "asf")
UNKNOWN = -(2**63)
"""A time that the file does not tell."""
NEGLIGIBLE = 2.5
"""Frames that may be missing: the last one's length is often not stored, and some writers round the
whole up by a frame."""


@dataclass
class PacketTable:
    """The packets of a video in the order in which they are stored, which is that of decoding.

    Attributes:
        times: When each is shown, in units of the stream's clock; `UNKNOWN` where the file says
            nothing.
        keys: Whether decoding can start there.
        hidden: Whether it is only decoded, for others, and not shown.
        placeholders: Packets of which no frame may come.
        end: When the last packet of any stream ends, in seconds; None if unknown.
        promised: How many frames the header counts, or that would fill the time that it promises;
            0 where it does not say.
        repeats: Whether fields are shown twice, and the time of each frame is not stored.
        stopped: Why reading stopped before the end of the file, or empty.
        by_blocks: Whether the packets themselves were not read.
    """

    times: Int64[np.ndarray, " packets"]
    keys: Bool[np.ndarray, " packets"]
    hidden: Bool[np.ndarray, " packets"]
    placeholders: int = 0
    end: float | None = None
    promised: int = 0
    repeats: bool = False
    stopped: str = ""
    by_blocks: bool = False

    @classmethod
    def read(cls, path: Path) -> PacketTable:
        """Read all packets of a file, and decode none."""
        with open_video(path) as video:
            listed = len(video.stream.index_entries)
            table = cls._collected(video)
            table.promised = table._promise(video, listed)
        return table

    @property
    def count(self) -> int:
        """How many packets make a frame that is shown."""
        return len(self.times) - int(self.hidden.sum())

    @classmethod
    def _collected(cls, video: OpenVideo) -> PacketTable:
        import av  # noqa: PLC0415

        codec, number = video.stream.codec_context.name, video.stream.index
        smallest = _PLACEHOLDER_BYTES if codec in ("mpeg4", "msmpeg4v3", "h263") else 0
        wanted = video.container.streams if video.format_name in _HEADER_HAS_DURATION else ()
        rows: list[tuple[int, bool, bool, int]] = []
        end, placeholders, stopped, repeats = 0.0, 0, "", False
        may_repeat = codec == "mpeg2video" and video.format_name.startswith("mpeg")
        try:
            for packet in video.container.demux(*(wanted or (video.stream,))):
                time, length = packet.pts, packet.duration or 0
                if wanted and packet.stream_index != number:
                    if time is not None:
                        end = max(end, float((time + length) * packet.time_base))
                    continue
                if (size := packet.size) <= smallest:
                    # The very last one is empty and only ends the stream.
                    placeholders += size > 0 or time is not None
                    if not size:
                        continue
                repeats |= may_repeat and _repeats_field(bytes(packet))
                hidden = packet.is_discard or (codec == "vp8" and _unseen_vp8(packet))
                rows.append((UNKNOWN if time is None else time, packet.is_keyframe, hidden, length))
        except av.FFmpegError as error:
            stopped = error.strerror or type(error).__name__
        times, keys, hidden_ones, lengths = np.array(rows, np.int64).reshape(-1, 4).T
        last = (times + lengths)[times != UNKNOWN].max(initial=0)
        end = max(end, int(last) * float(video.stream.time_base or 1))
        return cls(
            times,
            keys.astype(bool),
            hidden_ones.astype(bool),
            placeholders,
            end if wanted else None,
            repeats=repeats,
            stopped=stopped,
        )

    def _promise(self, video: OpenVideo, listed: int) -> int:
        """How many frames the header promises; what it lists was counted before reading on."""
        name, stream = video.format_name, video.stream
        if name == "mov":
            # A file in fragments lists them as they are read.
            return max(len(stream.index_entries), listed) - int(self.hidden.sum())
        if name == "avi":
            # A list of frames is written last: where there is one, nothing after it is missing,
            # and the count may be of frames that were left out when recording.
            return stream.frames if listed <= 1 else 0
        missing = 0.0 if self.end is None else missing_frames(video, self.end)
        return self.count + round(missing) if missing > NEGLIGIBLE else 0


def missing_frames(video: OpenVideo, end: float) -> float:
    """How many frames would fill the time from an end, in seconds, to that which a header has."""
    # Counted from 0, wherever the first frame is.
    duration = video.container.duration
    return (duration / 1e6 - end) * video.rate if duration else 0.0


def _unseen_vp8(packet: av.Packet[Any]) -> bool:
    """Whether a frame of VP8 only helps to make others; its first byte says so."""
    return not memoryview(packet)[0] & SHOWN_VP8


def _repeats_field(packet: bytes) -> bool:
    """Whether a picture of MPEG-2 is shown for three fields; its coding extension says so."""
    at = -1
    while (at := packet.find(b"\0\0\1\xb5", at + 1)) >= 0:
        if len(packet) > at + 7 and packet[at + 4] >> 4 == _CODING_EXTENSION:
            return bool(packet[at + 7] & _REPEAT_FIRST_FIELD)
    return False


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """The frames of a video by the times of their packets; places are those in the file.

    Attributes:
        times: When the packet at each place is shown, in units of the stream's clock.
        keys: The places at which decoding can start.
        order: All places in the order of their times.
        shown: The places of the frames that are shown, in the order in which they are.
    """

    times: Int64[np.ndarray, " places"]
    keys: Int64[np.ndarray, " keys"]
    order: Int64[np.ndarray, " places"]
    shown: Int64[np.ndarray, " frames"]

    @classmethod
    def of(cls, table: PacketTable, format_name: str) -> FrameIndex | str:
        """The index, or why the times of the packets do not make one."""
        if format_name == "avi" and not table.keys.all():
            return "AVI stores when frames are decoded, not when they are shown"
        if table.placeholders:
            return "it has packets without a frame"
        times = table.times
        if not len(times) or (times == UNKNOWN).any():
            return "its packets have no times"
        keys, order = np.flatnonzero(table.keys), np.argsort(times, kind="stable")
        if not _follow(times, keys, order):
            return "times in it repeat, go back or do not follow the order of its frames"
        shown = order[~table.hidden[order]]
        return cls(times, keys, order, shown) if len(shown) else "it shows no frame"

    def place(self, time: int | None) -> int | None:
        """The place of the packet that is shown at a time; None if there is none."""
        return None if time is None else self._find(self.order, time, self.order)

    def number(self, time: int | None) -> int | None:
        """The number of the frame that is shown at a time; None if there is none."""
        return None if time is None else self._find(self.shown, time, None)

    def _find(self, places: np.ndarray, time: int, values: np.ndarray | None) -> int | None:
        at = bisect_left(places, time, key=self.times.__getitem__)
        if at == len(places) or self.times[places[at]] != time:
            return None
        return at if values is None else int(values[at])

    @cached_property
    def settled(self) -> Int64[np.ndarray, " places"]:
        """The number up to which frames must have come before all that a place needs have come.

        A frame can be made from later ones, which are stored before it.
        """
        numbers = np.full(len(self.times), -1)
        numbers[self.shown] = np.arange(len(self.shown))
        return np.maximum.accumulate(numbers)

    def key_before(self, place: int, unless: frozenset[int] | set[int] = frozenset()) -> int:
        """Where decoding must start for a place; 0 if no key is stored and shown before it."""
        for key in reversed(self.keys[: bisect_right(self.keys, place)]):
            if self.times[key] <= self.times[place] and key not in unless:
                return int(key)
        return 0

    def first_number(self, key: int) -> int:
        """The number of the first frame that decoding from a key gives rightly."""
        return bisect_left(self.shown, self.times[key], key=self.times.__getitem__)

    def without_first(self, count: int) -> FrameIndex:
        """The index of the same packets, of which the first frames are not shown."""
        return FrameIndex(self.times, self.keys, self.order, self.shown[count:])


def _follow(times: np.ndarray, keys: np.ndarray, order: np.ndarray) -> bool:
    """Whether times can be those of frames that are stored in the order of decoding."""
    if (np.diff(times[order]) <= 0).any():
        return False
    if (times[keys] < np.maximum.accumulate(times)[keys]).any():
        return False  # what is stored before a key is shown before it
    return bool((np.abs(order - np.arange(len(order))) <= _DEEPEST_REORDERING).all())
