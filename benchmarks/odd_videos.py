"""Odd, cut and damaged videos, read in every way and compared with what FFmpeg decodes.

    python benchmarks/odd_videos.py --note before.json      # with another version of the package
    python benchmarks/odd_videos.py --before before.json > benchmarks/results/odd_videos.md

Each file is read in a process of its own, so that one that crashes or hangs is counted as such. A
way of reading is *right* if every frame that it returns is the one that FFmpeg decodes, *named* if
it raises an error of this package after none or only right ones, and else *wrong*: another picture,
one that the decoder made up, an error of another kind, a crash, or half a minute without end (the
other ways are then left out).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import av
import numpy as np

from temporal_attr import TemporalAttrError, clip_windows, load_clip
from temporal_attr.clips import VideoFile

VIDEOS = Path(__file__).parents[2] / "shared" / "videos"
CUT: tuple[str, ...] = ("vfr.mkv", "frag.mp4", "vfr.webm", "longaudio.ts", "a.wmv")
CUT += ("h264b.avi", "inter2.mpg", "a.gif", "inter264.mp4")
FLIPS, TENTHS, PATIENCE = 200, range(1, 10), 30
Table = dict[str, dict[str, int]]
Seen = Iterator[tuple[int, float, np.ndarray]]


def in_order(path: Path) -> Seen:
    """Every frame from the first on."""
    with VideoFile(path) as video:
        for number, seconds, pixels in video.frames():
            yield number, seconds, pixels()[0].permute(1, 2, 0).numpy()


def uniform(path: Path) -> Seen:
    """Eight frames over the whole."""
    yield from _of_clip(load_clip(path, 8))


def windows(path: Path) -> Seen:
    """Overlapping windows."""
    for clip in clip_windows(path, 6):
        yield from _of_clip(clip)


def singly(path: Path) -> Seen:
    """Single frames in any order; those that are refused are left out."""
    with VideoFile(path) as video:
        numbers = random.Random(0).sample(range(video.frame_count), min(6, video.frame_count))
        for number in numbers:
            try:
                [pixels], [seconds] = video.read([number], lambda pixels: pixels)
            except TemporalAttrError:
                continue
            yield number, seconds, pixels[0].permute(1, 2, 0).numpy()


def _of_clip(clip: object) -> Seen:
    pictures = (clip.tensor[0].permute(0, 2, 3, 1) * 255).round().byte().numpy()  # type: ignore[attr-defined]
    yield from zip(clip.indices, clip.timestamps, pictures, strict=True)  # type: ignore[attr-defined]


WAYS = {way.__name__: way for way in (in_order, uniform, windows, singly)}


def decoded(path: Path) -> list[tuple[float | None, np.ndarray | None]]:
    """What FFmpeg shows: time and picture of each frame; no picture where it made it up."""
    found: list[tuple[float | None, np.ndarray | None]] = []
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.FFmpegError:
                    continue
                for frame in frames:
                    rgba = frame.to_ndarray(format="rgba").astype(int)
                    over_black = rgba[..., :3] * rgba[..., 3:] // 255
                    turned = np.rot90(over_black, frame.rotation // 90)
                    found.append((frame.time, None if frame.is_corrupt else turned))
    except (av.FFmpegError, IndexError):
        pass
    return found


def verdict(path: Path, way: str, shown: list[tuple[float | None, np.ndarray | None]]) -> str:
    """How one way of reading does on a file."""
    times = {round(time, 3): picture for time, picture in shown if time is not None}
    try:
        for number, seconds, picture in WAYS[way](path):
            here = shown[number][1] if number < len(shown) else None
            if not (_same(picture, here) or _same(picture, times.get(round(seconds, 3)))):
                return "wrong: another picture"
    except TemporalAttrError:
        return "named"
    except Exception as error:  # noqa: BLE001 - counted
        return f"wrong: {type(error).__name__}"
    return "right"


def _same(picture: np.ndarray, other: np.ndarray | None) -> bool:
    """The same but for the rounding of colours, in which decoders differ."""
    if other is None or picture.shape != other.shape:
        return False
    return bool(np.abs(picture.astype(int) - other).mean() < 1)


def _judge(path: Path, sender: Connection) -> None:
    shown = decoded(path)
    for way in WAYS:
        sender.send(verdict(path, way, shown))


def judged(path: Path) -> list[str]:
    """The verdicts of all ways, from a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_judge, args=(path, sender))
    process.start()
    sender.close()
    found: list[str] = []
    try:
        while len(found) < len(WAYS):
            found.append(receiver.recv() if receiver.poll(PATIENCE) else "wrong: no end")
            if found[-1] == "wrong: no end":
                break
    except EOFError:
        found.append("wrong: crash")
    process.kill()
    process.join()
    return found


def files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file to be read, and the group that it is counted in."""
    for path in sorted((VIDEOS / "odd").iterdir()):
        if path.suffix not in (".md", ".json"):
            yield f"{path.name}", path
    data, draw = _drifting(folder / "whole.mp4").read_bytes(), random.Random(0)
    for flip in range(FLIPS):
        mutant = bytearray(data)
        mutant[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        yield f"{FLIPS} flips of a bit of an MP4", _write(folder / f"{flip}.mp4", mutant)
    for name in CUT:
        data = (VIDEOS / "odd" / name).read_bytes()
        for tenth in TENTHS:
            cut = _write(folder / f"{tenth}-{name}", data[: len(data) * tenth // 10])
            yield f"{name} cut at every tenth", cut


def _drifting(path: Path) -> Path:
    """Texture that drifts, as H.264 with B-frames and a key frame every 12 frames."""
    texture = np.random.default_rng(0).integers(0, 255, (8, 12, 3), np.uint8)
    texture = texture.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", 25, options={"g": "12", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number in range(48):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, 3 * number, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _write(path: Path, data: bytes | bytearray) -> Path:
    path.write_bytes(data)
    return path


def measure() -> Table:
    """How often each verdict was given in each group, over all ways."""
    table: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for group, path in files(Path(folder)):
            print(path.name, file=sys.stderr)
            table.setdefault(group, Counter()).update(judged(path))
    return {group: dict(counts) for group, counts in table.items()}


def _cell(counts: dict[str, int]) -> str:
    wrong = {name: count for name, count in counts.items() if name.startswith("wrong")}
    kinds = ", ".join(f"{count} {name.removeprefix('wrong: ')}" for name, count in wrong.items())
    return f"{counts.get('right', 0)} | {counts.get('named', 0)} | {kinds or 0}"


def main() -> None:
    """Print the table, or note the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--note", type=Path)
    parser.add_argument("--before", type=Path)
    options = parser.parse_args()
    after = measure()
    if options.note:
        options.note.write_text(json.dumps(after))
        return
    before = json.loads(options.before.read_text()) if options.before else {}
    print(
        "# Odd, cut and damaged videos\n\nCommand: `python benchmarks/odd_videos.py --before "
        "before.json > benchmarks/results/odd_videos.md`\n\nEach file is read in four ways "
        f"({', '.join(WAYS)}). Before: with OpenCV's reader. PyAV {av.__version__}.\n\n"
        "| file | right before | named before | wrong before | right | named | wrong |\n"
        "|---|---|---|---|---|---|---|"
    )
    totals: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for group, counts in after.items():
        print(f"| {group} | {_cell(before.get(group, {}))} | {_cell(counts)} |")
        totals[0].update(before.get(group, {}))
        totals[1].update(counts)
    print(f"| **all** | {_cell(totals[0])} | {_cell(totals[1])} |")


if __name__ == "__main__":
    main()
