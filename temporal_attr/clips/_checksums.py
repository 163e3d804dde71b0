"""Checksums that FFmpeg compares without a word of it in what it gives."""

from __future__ import annotations

import zlib

# Of FFV1 (RFC 9043, 4.8): behind each slice its size, a byte of errors, and the checksum.
_SIZE, _TRAILER = 3, 8
# Bits from the last to the first: its checksum takes them in the other order than zlib's does.
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_ONES = 0xFFFFFFFF
# What the checksum begins and ends with: 0, and in later versions another.
_REFERENCES = (0, 0x7A8C4079)


def has_whole_slices(packet: bytes) -> bool:
    """Whether no checksum of a packet of FFV1 is wrong; True where it has none."""
    slices, end = [], len(packet)
    while end > _TRAILER:
        trailer = end - _TRAILER
        start = trailer - int.from_bytes(packet[trailer : trailer + _SIZE], "big")
        if start < 0:
            return True
        slices.append(packet[start:end])
        end = start
    if end:
        return True  # no chain of such slices
    return any(all(_checksum(one, first) == first for one in slices) for first in _REFERENCES)


def _checksum(data: bytes, first: int) -> int:
    """CRC-32, the highest bit first, from a value on."""
    mirrored = zlib.crc32(data.translate(_MIRRORED), _mirrored(first) ^ _ONES) ^ _ONES
    return _mirrored(mirrored)


def _mirrored(value: int) -> int:
    return int(f"{value:032b}"[::-1], 2)
