"""A place in a video file that can be moved, forwards by decoding and elsewhere by seeking."""

from __future__ import annotations

import os
from collections.abc import Iterator

from temporal_attr.clips._container import OpenVideo, open_video
from temporal_attr.clips._passes import CountedPass, FaultError, IndexedPass, IrregularError, Shown
from temporal_attr.clips._timeline import Timeline

# Decoding on as far as this is quicker than to seek.
_NEAR = 8


class Cursor:
    """A decoder at a place in a file.

    Args:
        timeline: Which frames there are.
        threads: How many threads decode, until there is a fault.
        video: The file, open for one thread and read before; opened anew by default.
    """

    def __init__(
        self, timeline: Timeline, threads: int = 1, video: OpenVideo | None = None
    ) -> None:
        self._timeline, self._threads = timeline, threads
        self._next = 0
        self._frames: Iterator[Shown] | None = None
        self._untouched = video is None
        self._take(video or open_video(timeline.path, threads))
        self._seeks = self._video.can_start_at_keys

    def close(self) -> None:
        """Give the decoder back."""
        self._frames = None
        self._video.close()

    def following(self, target: int) -> Shown | None:
        """The frame of a number, or the next that can be decoded; None if there is none."""
        while True:
            if self._process != os.getpid():
                # After a fork both processes would read on from one place in one open file.
                self._reopen()
            if self._frames is None or target < self._next or self._jump_pays(target):
                self._start(target)
            try:
                return self._advance(target)
            except IrregularError:
                self._distrust()
            except FaultError:
                self._threads = 1
                self._reopen()

    def _advance(self, target: int) -> Shown | None:
        assert self._frames is not None
        for shown in self._frames:
            if shown.number != self._next and not self._pass.damaged:
                raise IrregularError
            self._next = shown.number + 1
            if shown.number >= target:
                return shown
        self._frames = None
        if self._next < self._timeline.length and not self._pass.damaged:
            raise IrregularError
        return None

    def _jump_pays(self, target: int) -> bool:
        index = self._timeline.index
        if index is None or not self._seeks or not self._next + _NEAR < target < len(index.shown):
            return False
        key = index.key_before(int(index.shown[target]))
        return index.first_number(key) > self._next + _NEAR

    def _start(self, target: int) -> None:
        index = self._timeline.index
        key = 0
        if index is not None and self._seeks:
            key = index.key_before(int(index.shown[min(target, len(index.shown) - 1)]))
        if not key and not self._untouched:
            self._reopen()
        self._untouched = False
        self._pass: IndexedPass | CountedPass = (
            CountedPass(self._video) if index is None else IndexedPass(self._video, index, key)
        )
        self._next = index.first_number(key) if index is not None and key else 0
        self._frames = iter(self._pass)

    def _distrust(self) -> None:
        """Read without seeking from now on; where that was so already, without an index."""
        self._frames = None
        if isinstance(self._pass, IndexedPass) and not self._pass.key:
            self._timeline.count_instead("its packets do not tell which frames are shown")
        self._seeks = False

    def _reopen(self) -> None:
        self._frames, self._untouched = None, True
        self._video.close()
        self._take(open_video(self._timeline.path, self._threads))

    def _take(self, video: OpenVideo) -> None:
        self._video, self._process = video, os.getpid()
