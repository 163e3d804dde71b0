"""What the blocks of a Matroska or WebM file say of its packets, read without the packets.

The format is RFC 9559: elements of an identifier, a size and a body, one inside another. A segment
holds tracks and clusters; a cluster has a time and blocks, each with its track, its time from there
and its flags.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Bool, Int64, UInt8

from temporal_attr.clips._container import OpenVideo, has_whole_packets
from temporal_attr.clips._index import NEGLIGIBLE, SHOWN_VP8, PacketTable, missing_frames

_EBML, _SEGMENT, _TRACKS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1654AE6B, 0x1F43B675
_TRACK, _NUMBER, _KIND, _CODEC = 0xAE, 0xD7, 0x83, 0x86
# A scale of the track's own time, a delay of its codec, and packed packets: then times or bytes
# are not as they are stored.
_CHANGED = (0x23314F, 0x56AA, 0x6D80)
_TIME, _SIMPLE, _GROUP, _BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
_REFERENCE, _CUT = 0xFB, 0x75A2
# Numbers and checksums: of a cluster, where it is and how large the one before; of a group, how
# long it is shown and its priority.
_BESIDE, _IN_GROUP, _LONGEST_NUMBER = (0xA7, 0xAB, 0xBF), (0x9B, 0xFA, 0xBF), 8
_VIDEO, _KEY, _LACED = 1, 0x80, 0x06
# A flag that the format does not use: something of the block is not to be shown.
_CUT_OFF = 0x10
# A number of a track that is one byte long has this bit.
_SHORT = 0x80
_LONGEST = 12
# Track, time, flags, and the first byte of the packet: with it VP8 tells what is not shown.
_HEAD = 5
# Whose keys are those of the file.
_CODECS = ("h264", "hevc", "vp8", "vp9", "av1", "ffv1")
_LARGEST = 64 << 20
_BUFFER = 1 << 20


class _OddError(Exception):
    """Something that FFmpeg may read otherwise than it is read here."""


def block_packets(video: OpenVideo, path: Path) -> PacketTable | None:
    """The table that reading all packets would give, in a third of the time.

    Args:
        video: The file, open, nothing read yet.
        path: Where it is.

    Returns:
        None where anything is not as plain files have it, or the file ends before its header says:
        then the packets must be read.
    """
    codec = video.stream.codec_context.name
    if video.format_name != "matroska" or not has_whole_packets(video) or codec not in _CODECS:
        return None
    try:
        with path.open("rb", buffering=_BUFFER) as file:
            tracks, heads, bases = _scan(file, path.stat().st_size)
        if len(tracks[1]) > len(video.container.streams):
            return None  # FFmpeg does not know all
        times, keys, firsts, last = _told(*tracks, b"".join(heads), bases)
    except (_OddError, IndexError):
        return None
    end = last * float(video.stream.time_base or 1)
    # How long the last packets are shown is not known here: it would leave less missing.
    if missing_frames(video, end) > NEGLIGIBLE:
        return None
    hidden = (firsts & SHOWN_VP8 == 0) & (codec == "vp8")
    return PacketTable(times, keys, hidden, end=end, by_blocks=True)


def _told(
    track: int, numbers: set[int], heads: bytes, bases: list[int]
) -> tuple[
    Int64[np.ndarray, " packets"],
    Bool[np.ndarray, " packets"],
    UInt8[np.ndarray, " packets"],
    int,
]:
    """When the packets of a track are shown, which are keys, their first bytes, and the last time.

    Args:
        track: Its number.
        numbers: Those of all tracks.
        heads: Of each block the first bytes: its track, its time from the cluster's on, its flags
            and the first of the packet.
        bases: The time of the cluster of each.
    """
    table = np.frombuffer(heads, np.uint8).reshape(-1, _HEAD)
    tracks, flags = table[:, 0], table[:, 3]
    times = np.array(bases, np.int64) + np.ascontiguousarray(table[:, 1:3]).view(">i2")[:, 0]
    ours = tracks == (track | _SHORT)
    known = np.isin(tracks, [number | _SHORT for number in numbers])
    odd = (times < 0) | (flags & _LACED > 0) | (ours & (flags & _CUT_OFF > 0))
    if not known.all() or odd.any():
        raise _OddError
    return times[ours], flags[ours] >= _KEY, table[ours, 4], int(times.max(initial=0))


def _scan(file: BinaryIO, size: int) -> tuple[tuple[int, set[int]], list[bytes], list[int]]:
    """The numbers of the video's track and of all, and the heads and bases of all blocks."""
    _, start = _require(file, 0, size, _EBML)
    first, end = _require(file, start, size, _SEGMENT)
    if end != size:
        raise _OddError
    tracks: tuple[int, set[int]] | None = None
    heads: list[bytes] = []
    bases: list[int] = []
    for name, at, after in _elements(file, first, size):
        if after - at > _LARGEST:
            raise _OddError
        file.seek(at)
        body = file.read(after - at)
        if name == _CLUSTER:
            base = _take_cluster(body, heads)
            bases += [base] * (len(heads) - len(bases))
        elif name == _TRACKS and tracks is None and not bases:
            tracks = _tracks(body)
        elif name == _TRACKS or _CLUSTER.to_bytes(4, "big") in body:
            raise _OddError  # twice, too late, or so large that it has taken a cluster in
    if tracks is None:
        raise _OddError
    return tracks, heads, bases


def _take_cluster(body: bytes, heads: list[bytes]) -> int:
    """Add the heads of the blocks of a cluster; its time."""
    at, end, base = 0, len(body), None
    while at < end:
        # Nearly all are of this kind, so they are read in place.
        if body[at] == _SIMPLE and (size := body[at + 1]) >= 0x40:
            first = at + 2
            if size >= 0x80:
                at = first + size - 0x80
            else:
                first += 1
                at = first + (size << 8 | body[at + 2]) - 0x4000
            if at - first < _HEAD or size == 0xFF:
                raise _OddError
            heads.append(body[first : first + _HEAD])
            continue
        name, first, at = _element(body, at)
        if name == _TIME and base is None and at - first <= _LONGEST_NUMBER:
            base = int.from_bytes(body[first:at], "big")
        elif name == _SIMPLE and at - first >= _HEAD:
            heads.append(body[first : first + _HEAD])
        elif name == _GROUP:
            heads.append(_head_of_group(body, first, at))
        elif name not in _BESIDE or at - first > _LONGEST_NUMBER:
            raise _OddError
    if at != end or base is None:
        raise _OddError
    return base


def _head_of_group(body: bytes, at: int, end: int) -> bytes:
    head, flags = b"", _KEY
    while at < end:
        name, first, at = _element(body, at)
        if name == _BLOCK and not head and at - first >= _HEAD:
            head = body[first : first + _HEAD]
        elif name == _REFERENCE:
            flags &= ~_KEY
        elif name == _CUT:
            flags |= _CUT_OFF
        elif name not in _IN_GROUP or at - first > _LONGEST_NUMBER:
            raise _OddError
    if at != end or not head:
        raise _OddError
    return head[:3] + bytes([head[3] & ~_KEY | flags]) + head[4:]


def _tracks(body: bytes) -> tuple[int, set[int]]:
    """The number of the only track with pictures, and those of all."""
    pictures, numbers = [], set()
    for name, first, after in _within(body, 0, len(body)):
        if name != _TRACK:
            continue
        told = {child: body[start:stop] for child, start, stop in _within(body, first, after)}
        number = int.from_bytes(told.get(_NUMBER, b""), "big")
        if not 0 < number < _SHORT - 1 or number in numbers:
            raise _OddError
        numbers.add(number)
        if int.from_bytes(told.get(_KIND, b""), "big") != _VIDEO:
            continue
        if told.get(_CODEC, b"V_MS").startswith(b"V_MS") or any(one in told for one in _CHANGED):
            raise _OddError
        pictures.append(number)
    if len(pictures) != 1:
        raise _OddError
    return pictures[0], numbers


def _elements(file: BinaryIO, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The identifier of each element of a file, and where its body begins and ends."""
    while at < end:
        file.seek(at)
        name, first, after = _element(file.read(_LONGEST), 0)
        if at + after > end:
            raise _OddError
        yield name, at + first, at + after
        at += after


def _require(file: BinaryIO, at: int, end: int, wanted: int) -> tuple[int, int]:
    name, first, after = next(_elements(file, at, end))
    if name != wanted:
        raise _OddError
    return first, after


def _within(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The same of the elements in one that is read."""
    while at < end:
        name, first, at = _element(body, at)
        yield name, first, at
    if at != end:
        raise _OddError


def _element(data: bytes, at: int) -> tuple[int, int, int]:
    """The identifier of an element, and where its body begins and ends."""
    named = at + 9 - data[at].bit_length()
    first = named + 9 - data[named].bit_length()
    size = int.from_bytes(data[named:first], "big")
    room = 1 << 7 * (first - named)
    if named - at > 4 or first - named > 8 or first > len(data) or size == 2 * room - 1:
        raise _OddError  # not of this format, cut off, or of a size that is not told
    return int.from_bytes(data[at:named], "big"), first, first + size - room
