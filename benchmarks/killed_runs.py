"""Kill the command line again and again, and look at what is left.

A run writes over the result of another, or explains a folder of videos, and gets SIGKILL after a
random part of the time that it takes. Afterwards every folder of a result must hold one that loads,
with no file that its manifest does not list as it is; the table must be whole; and a last run that
is not killed must end well and leave nothing beside.

    python benchmarks/killed_runs.py

The package may be another version (PYTHONPATH), and `--print` then writes no table. Where it has no
manifest, a folder is judged by whether the result loads and its pictures can be read.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import matplotlib.image
import torch

import temporal_attr
from temporal_attr import cli, load_result, synthetic

MODEL = "zoo:mixed-appearance-late-fusion"
TIMES = 30
OUT = Path(__file__).parent / "results" / "killed_runs.md"


def command(videos: Path, out: Path, folder: bool, frames: int) -> list[str]:
    """A run at the command line."""
    what = f"--video-dir={videos}" if folder else str(videos / "0.webm")
    method = ["--method=shuffle-probe", "--shuffles=4"] if folder else []
    options = [f"--model={MODEL}", f"--frames={frames}", f"--out={out}", *method]
    return ["explain", what, *options]


def started(arguments: list[str]) -> int:
    """The number of a process that runs the command line; forked, as imports take longest."""
    number = os.fork()
    if number == 0:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - until the end
        os._exit(cli.main(arguments))
    return number


def seconds_of(arguments: list[str]) -> float:
    """How long a run takes that is not killed, and that must end well."""
    start = time.perf_counter()
    code = os.waitstatus_to_exitcode(os.waitpid(started(arguments), 0)[1])
    if code:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}")
    return time.perf_counter() - start


def killed_after(arguments: list[str], seconds: float) -> bool:
    """Start a run and kill it; whether it was still there to be killed."""
    number = started(arguments)
    time.sleep(seconds)
    os.kill(number, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == -signal.SIGKILL


def state_of(place: Path) -> str:
    """What is in a folder of one result."""
    old = place.with_name(f".{place.name}.old")
    folder = old if old.is_dir() and not place.exists() else place
    try:
        load_result(place)
    except temporal_attr.TemporalAttrError as error:
        return f"no result ({error.got})"
    for picture in folder.glob("*.png"):
        try:
            matplotlib.image.imread(picture)
        except (OSError, SyntaxError, ValueError):
            return f"half a picture ({picture.name})"
    if len(list(folder.glob("*.png"))) < 2:
        return "a result without its pictures"
    try:
        from temporal_attr.cli._output import files_of_others  # noqa: PLC0415
    except ImportError:
        return "whole"
    return "files that are not as listed" if files_of_others(folder) else "whole"


def table_of(out: Path) -> str:
    """What is in the table of a folder run."""
    try:
        with (out / "clips.csv").open() as file:
            rows = list(csv.DictReader(file))
    except OSError:
        return "no table"
    return "whole" if all(None not in row.values() for row in rows) else "half a row"


def one_video(place: Path, videos: Path, random_: random.Random) -> Counter[str]:
    """Runs over the result of an earlier one."""
    out, found = place / "out", Counter[str]()
    seconds = [seconds_of(command(videos, out, False, 4)) for _ in range(3)][-1]
    for number in range(TIMES):
        # The last part of a run is where files are written.
        killed = killed_after(
            command(videos, out, False, 3 + number % 2), seconds * random_.uniform(0.3, 1)
        )
        found[f"{'killed' if killed else 'ended'}: {state_of(out)}"] += 1
    seconds_of(command(videos, out, False, 5))
    left = [path.name for path in place.iterdir() if path.name.startswith(".out")]
    found[f"afterwards: {state_of(out)}, {len(left)} left beside"] += 1
    return found


def many_videos(place: Path, videos: Path, random_: random.Random) -> Counter[str]:
    """Runs over a folder, each of which goes on where the last one was killed."""
    out, found = place / "all", Counter[str]()
    seconds = seconds_of(command(videos, out, True, 4))
    again = ["--overwrite"] if "--print" not in sys.argv else []
    for _ in range(TIMES):
        killed = killed_after(
            [*command(videos, out, True, 4), *again], seconds * random_.uniform(0.3, 1)
        )
        states = {state_of(out / path.name) for path in videos.iterdir()} - {"whole"}
        states |= {table_of(out)} - {"whole"}
        found[f"{'killed' if killed else 'ended'}: {', '.join(sorted(states)) or 'whole'}"] += 1
    seconds_of(command(videos, out, True, 4))
    left = [path.name for path in out.rglob(".*")]
    found[f"afterwards: table {table_of(out)}, {len(left)} left beside"] += 1
    return found


def main() -> None:
    """Kill, look and write the table."""
    torch.set_num_threads(1)  # a process that has other threads cannot be forked
    random_ = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        videos = place / "videos"
        videos.mkdir()
        for number in range(2):
            planted = synthetic.Mixed(frames=8, size=48).sample(number)
            planted.write(videos / f"{number}.webm")
        lines = [
            f"{TIMES} runs each of `temporal-attr explain` over an earlier result, killed",
            "(SIGKILL) after a random part of their time; `python benchmarks/killed_runs.py`.",
            "",
            "| run | what was left | times |",
            "|---|---|---|",
        ]
        for what, runs in (("one video", one_video), ("two videos", many_videos)):
            found = runs(place, videos, random_)
            rows = [f"| {what} | {state} | {count} |" for state, count in sorted(found.items())]
            print("\n".join(rows), flush=True)
            lines += rows
    text = "\n".join(lines) + "\n"
    if "--print" not in sys.argv:
        OUT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
