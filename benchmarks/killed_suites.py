"""Suites that are killed at random moments, and go on: the same table, and nothing done twice.

    python benchmarks/killed_suites.py [--kills 10]

A child process compares three methods on eight clips by four metrics; each explanation leaves a
mark in a log before it begins. The child is killed (SIGKILL) at random moments, started again, and
at last let go on to its end. Its table must be that of a run that nobody disturbed, and no
explanation may have begun more than once but those that a kill has cut short. Then what a suite
takes beside the explanations and metrics themselves. Writes results/killed_suites.md.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from temporal_attr import LRP, TemporalGradient
from temporal_attr.evaluation import Example, Suite, Truth
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import Keyframe
from temporal_attr.zoo import build_model

RESULTS = Path(__file__).parent / "results"
METRICS = ("auprc-frames", "auprc-pixels", "abpc-frames", "leave-one-out-tubes")
CLIPS, SLOW = 8, 0.15
"""How many, and seconds that each explanation takes at least."""


def model_and_examples() -> tuple[VideoModel, list[Example]]:
    """The same each time."""
    torch.manual_seed(0)
    model = build_model("inflated-resnet", classes=4, widths=(4, 8)).eval()
    videos = [Keyframe(frames=8, size=32).sample(index) for index in range(CLIPS)]
    clips = [video.clip(model.preprocessing).tensor for video in videos]
    return model, [
        Example(clip, None, Truth.of(video), f"clip {place}")
        for place, (clip, video) in enumerate(zip(clips, videos, strict=True))
    ]


def run_child(folder: Path, log: Path) -> None:
    """What is killed."""
    model, examples = model_and_examples()

    def noted(name: str, explain: Callable[..., Any]) -> Callable[[Tensor, int], Tensor]:
        def scores(clip: Tensor, target: int) -> Tensor:
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{name} {float(clip.sum()):.6f}\n")
            time.sleep(SLOW)
            found: Tensor = explain(clip, target)
            return found

        return scores

    methods = {
        "gradient": noted("gradient", TemporalGradient(model).attribute),
        "lrp": noted("lrp", LRP(model).attribute),
        "random": noted(
            "random", lambda clip, target: clip * 0 + torch.linspace(0, 1, 8)[:, None, None, None]
        ),
    }
    Suite(model, methods, examples, METRICS, only_correct=False).run(
        folder, show_progress=False
    ).save(folder / "compared")


def child(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start it."""
    return subprocess.Popen([sys.executable, __file__, "--child", str(folder), str(log)])


def table(folder: Path) -> list[dict[str, object]]:
    """What was found, without what a clock says."""
    import pandas as pd  # noqa: PLC0415

    known = pd.read_csv(folder / "compared" / "table.csv")
    left = known.drop(columns=["seconds", "metric_seconds", "peak_memory"])
    found: list[dict[str, object]] = json.loads(left.to_json(orient="records"))
    return found


def killed(kills: int, seed: int) -> tuple[int, int, int, bool]:
    """Explanations, those begun, those that a kill cut short, and whether the table is the same."""
    drawn = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        whole, cut = Path(place) / "whole", Path(place) / "cut"
        child(whole, Path(place) / "whole.log").wait()
        log, interrupted = Path(place) / "cut.log", 0
        for _ in range(kills):
            before = _lines(log)
            process = child(cut, log)
            while _lines(log) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(drawn.uniform(0, 4 * SLOW))
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                interrupted += 1
            process.wait()
        child(cut, log).wait()
        begun = Counter(log.read_text(encoding="utf-8").splitlines())
        same = table(whole) == table(cut)
        return len(begun), sum(begun.values()), interrupted, same


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0


def overhead(rounds: int) -> list[float]:
    """What a suite takes, over the sum of what its explanations and metrics take."""
    model, examples = model_and_examples()
    found = []
    for number in range(rounds + 1):
        suite = Suite(
            model, ["temporal-gradient", "lrp", "rise", "random"], examples, METRICS,
            budget=50, only_correct=False, seed=number,
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as place:
            begin = time.perf_counter()
            rows = suite.run(place, show_progress=False).table
            whole = time.perf_counter() - begin
        each = rows.drop_duplicates(["clip", "method"])["seconds"].sum()
        found.append(whole / (each + rows["metric_seconds"].sum()))
    # The first tries the model out.
    return found[1:]


def main() -> int:
    """Kill and measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        run_child(*options.child)
        return 0
    explanations, begun, interrupted, same = killed(options.kills, seed=0)
    ratios = overhead(5)
    more = [ratio - 1 for ratio in ratios]
    text = f"""# Suites that are killed

`python benchmarks/killed_suites.py`: {CLIPS} clips, 3 methods, {len(METRICS)} metrics, killed
{interrupted} times at random moments and let go on.

| explanations | begun | cut short by a kill, at most | same table as undisturbed |
|---|---|---|---|
| {explanations} | {begun} | {interrupted} | {"yes" if same else "**no**"} |

Beside its explanations and metrics a suite takes {statistics.median(more):.1%} of their time
(median of {len(more)} runs of {CLIPS} clips, 4 methods on a small 3D network, each row seen onto
the disk; {min(more):.1%} to {max(more):.1%}).
"""
    (RESULTS / "killed_suites.md").write_text(text, encoding="utf-8")
    print(text)
    return 0 if same and begun <= explanations + interrupted else 1


if __name__ == "__main__":
    sys.exit(main())
