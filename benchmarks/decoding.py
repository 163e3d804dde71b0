"""Decoding a few frames of a long video: `load_clip` against OpenCV read from start to end.

    python benchmarks/decoding.py > benchmarks/results/decoding.md

The floor is OpenCV told to jump to each frame, without a check that it arrived there.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from temporal_attr import load_clip
from temporal_attr.clips import uniform_indices, write_video

LENGTH, HEIGHT, WIDTH, FRAMES = 6000, 180, 320, 16


def long_video(folder: Path) -> Path:
    """Texture that drifts, so that every frame differs from the last."""
    random = np.random.default_rng(0)
    tile = random.integers(0, 255, (HEIGHT // 12, WIDTH // 20, 3)).repeat(12, 0).repeat(20, 1)
    texture = tile.astype(np.uint8)
    drifting = (np.roll(texture, step, 1) for step in range(LENGTH))
    return write_video(list(drifting), folder / "long.webm", fps=30)


def read_all(path: Path) -> list[np.ndarray]:
    """Decode every frame and keep those asked for."""
    wanted = set(uniform_indices(LENGTH, FRAMES))
    capture = cv2.VideoCapture(str(path))
    kept = []
    for index in range(LENGTH):
        image = capture.read()[1]
        if index in wanted:
            kept.append(image)
    return kept


def jump(path: Path) -> list[np.ndarray]:
    """Seek each frame and trust that it is the right one."""
    capture = cv2.VideoCapture(str(path))
    kept = []
    for index in uniform_indices(LENGTH, FRAMES):
        capture.set(cv2.CAP_PROP_POS_FRAMES, index)
        kept.append(capture.read()[1])
    return kept


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        path = long_video(Path(folder))
        contenders: dict[str, Callable[[Path], object]] = {
            "jump (floor, unchecked)": jump,
            "load_clip": lambda path: load_clip(path, FRAMES),
            "read all": read_all,
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(5):
            for name, run in contenders.items():
                start = time.perf_counter()
                run(path)
                times[name].append(time.perf_counter() - start)
    print(
        "# Decoding\n\nCommand: `python benchmarks/decoding.py > benchmarks/results/decoding.md`\n"
    )
    print(
        f"{FRAMES} uniform frames of {LENGTH} ({HEIGHT} x {WIDTH}, VP9), median of 5 rounds, "
        f"OpenCV {cv2.__version__}.\n\n| how | seconds | of the floor |\n|---|---|---|"
    )
    floor = statistics.median(times["jump (floor, unchecked)"])
    for name, values in times.items():
        value = statistics.median(values)
        print(f"| {name} | {value:.2f} | {value / floor:.2f} |")


if __name__ == "__main__":
    main()
