"""What the header of an MP4 lists of its packets, where that is all there is to know."""

from __future__ import annotations

from itertools import chain
from operator import attrgetter
from pathlib import Path

import numpy as np

from temporal_attr.clips._container import OpenVideo, has_whole_packets
from temporal_attr.clips._index import PacketTable

# Boxes that say that frames are shown in another order than they are stored in, that more packets
# are listed elsewhere, or that the list itself is packed.
_MORE_TO_KNOW = (b"ctts", b"mvex", b"cmov")
# FFmpeg's flags of an entry.
_KEY, _HIDDEN = 1, 2
_ENTRY = attrgetter("timestamp", "pos", "size", "flags")


def listed_packets(video: OpenVideo, path: Path) -> PacketTable | None:
    """The table that reading all packets would give, in a tenth of the time.

    Args:
        video: The file, open, nothing read yet.
        path: Where it is.

    Returns:
        None where packets can differ from the list: then they must be read.
    """
    if video.format_name != "mov" or not has_whole_packets(video) or not _tells_all(path):
        return None
    entries = video.stream.index_entries
    told = chain.from_iterable(map(_ENTRY, entries))
    times, first, sizes, flags = np.fromiter(told, np.int64, 4 * len(entries)).reshape(-1, 4).T
    if (sizes <= 0).any() or (first < 0).any() or (first + sizes > path.stat().st_size).any():
        return None
    table = PacketTable(times, (flags & _KEY) > 0, (flags & _HIDDEN) > 0)
    table.promised = table.count
    return table


def _tells_all(path: Path) -> bool:
    """Whether the header is whole and packets are shown when they are decoded."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            length, name = int.from_bytes(head[:4], "big"), head[4:]
            passed = 8
            if length == 1:
                length, passed = int.from_bytes(file.read(8), "big"), 16
            if name == b"moof" or length < passed:
                return False
            if name == b"moov":
                header = file.read(length - passed)
                return len(header) == length - passed and not any(
                    box in header for box in _MORE_TO_KNOW
                )
            file.seek(length - passed, 1)
    return False
