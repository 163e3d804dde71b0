"""Decoding: frames of a long video, and windows over a whole one, beside OpenCV and bare PyAV.

    python benchmarks/decoding.py > benchmarks/results/decoding.md

All take turns, so that what else the machine does meets them alike; on a machine that is shared the
processor's time says more than the clock. OpenCV's jumping does not check
that it arrived at the frame asked for.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np
import torch
from av.video.reformatter import VideoReformatter

from temporal_attr import clip_windows, load_clip
from temporal_attr.clips import uniform_indices, write_video

LONG, SHORT, FRAMES, ROUNDS = 108_000, 8_000, 16, 3
Contender = Callable[[Path], object]


class Drifting(Sequence[np.ndarray]):
    """Texture that drifts, so that every frame differs from the last; made when it is asked for."""

    def __init__(self, length: int, height: int, width: int) -> None:
        tile = np.random.default_rng(0).integers(0, 255, (height // 12, width // 16, 3), np.uint8)
        self.texture, self.length = tile.repeat(12, 0).repeat(16, 1), length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, step: int) -> np.ndarray:  # type: ignore[override]
        if step >= self.length:
            raise IndexError(step)
        return np.roll(self.texture, step, 1)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[step] for step in range(self.length))


def jump(path: Path) -> None:
    """Seek each frame with OpenCV and trust that it is the right one."""
    capture = cv2.VideoCapture(str(path))
    for index in uniform_indices(LONG, FRAMES):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        capture.read()


def packets(path: Path) -> None:
    """Go over all packets with PyAV, as an exact count needs."""
    with av.open(str(path)) as container:
        for _ in container.demux(container.streams.video[0]):
            pass


def opencv(path: Path) -> None:
    """Decode every frame to pixels with OpenCV."""
    capture = cv2.VideoCapture(str(path))
    while capture.read()[0]:
        pass


def pyav(path: Path) -> None:
    """Decode every frame to RGB with PyAV: one scaler kept, frames decoded in several threads."""
    scaler = VideoReformatter()
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(container.streams.video[0]):
            scaler.reformat(frame, format="rgb24").to_ndarray()


def values(path: Path) -> None:
    """The same, and each frame made what windows hold: planes of float32 in [0, 1], the last 48."""
    scaler, held = VideoReformatter(), deque[torch.Tensor](maxlen=48)
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(container.streams.video[0]):
            pixels = torch.from_numpy(scaler.reformat(frame, format="rgb24").to_ndarray())
            held.append(pixels.permute(2, 0, 1).contiguous().float().div_(255))


def windows(overlap: float) -> Contender:
    """All windows of 12 frames."""

    def run(path: Path) -> None:
        for _ in clip_windows(path, 12, overlap):
            pass

    return run


def table(path: Path, contenders: dict[str, Contender]) -> None:
    """Print the median of each, and how it compares with the first."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(ROUNDS):
        for name, run in contenders.items():
            start, worked = time.perf_counter(), time.process_time()
            run(path)
            times[name].append((time.perf_counter() - start, time.process_time() - worked))
    print("| how | seconds | of the first | processor seconds | of the first |")
    print("|---|---|---|---|---|", flush=True)
    first: list[float] = []
    for name, rounds in times.items():
        medians = [statistics.median(kind) for kind in zip(*rounds, strict=True)]
        first = first or medians
        cells = [
            f"{value:.2f} | {value / one:.2f}" for value, one in zip(medians, first, strict=True)
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def copied(path: Path, to: Path) -> Path:
    """The same packets in another container."""
    with av.open(str(path)) as source, av.open(str(to), "w") as target:
        read = source.streams.video[0]
        written = target.add_stream_from_template(read)
        for packet in source.demux(read):
            if packet.dts is not None:
                packet.stream = written
                target.mux(packet)
    return to


def main() -> None:
    """Print the tables."""
    print(
        "# Decoding\n\nCommand: `nice -n -5 python benchmarks/decoding.py > "
        f"benchmarks/results/decoding.md`\n\nMedian of {ROUNDS} rounds, OpenCV {cv2.__version__}, "
        f"PyAV {av.__version__}, {torch.get_num_threads()} threads of torch; "
        f"load of the machine at the start {os.getloadavg()[0]:.1f}."
    )
    with tempfile.TemporaryDirectory() as folder:
        webm = write_video(Drifting(LONG, 96, 160), Path(folder, "long.webm"), 30)
        for path in (webm, *(copied(webm, webm.with_suffix(end)) for end in (".mp4", ".mkv"))):
            print(f"\n{FRAMES} uniform frames of {LONG} (96 x 160, VP9 in {path.suffix[1:]}).\n")
            contenders: dict[str, Contender] = {
                "OpenCV, jumping (unchecked)": jump,
                "`load_clip`": lambda path: load_clip(path, FRAMES),
                "PyAV, all packets, nothing decoded": packets,
            }
            table(path, contenders)
        path = write_video(Drifting(SHORT, 180, 320), Path(folder, "short.webm"), 30)
        print(f"\nWindows of 12 frames over {SHORT} (180 x 320, VP9 in webm).\n")
        passes: dict[str, Contender] = {
            "PyAV, every frame, to float32 planes": values,
            "PyAV, every frame, to bytes": pyav,
            "OpenCV, every frame, to bytes": opencv,
            "`clip_windows`, overlap 1/2": windows(0.5),
            "`clip_windows`, overlap 11/12": windows(11 / 12),
        }
        table(path, passes)


if __name__ == "__main__":
    main()
