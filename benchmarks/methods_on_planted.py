"""Which method finds what was planted, and is it worth its cost?

    OMP_NUM_THREADS=1 python benchmarks/methods_on_planted.py --clips 20 --budgets 1 50 500
    OMP_NUM_THREADS=1 python benchmarks/methods_on_planted.py
    python benchmarks/methods_on_planted.py --report

Models of five families are trained on planted videos whose class is a shape that stands still for
2 or 3 of 8 frames, and the methods of the library that give scores to frames or pixels explain
fresh clips that the model gets right. Their scores are held against the frames and pixels where the
shape was, at about 1, 50, 500 and 2,000 evaluations. Each clip and method is a line in a file, so a
run that is stopped goes on; --report writes results/methods_on_planted.md from what is there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import torch
from planted_budgets import BUDGETS, measure
from planted_models import MODELS, trained
from planted_report import page
from tqdm import tqdm

RESULTS = Path(__file__).parent / "results"
CLIPS, BLOCK = 100, 5
"""Of each model, and how many of one model a process explains before it takes other work."""


def prepare_process() -> None:
    """One thread, and the same numbers each time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def measured(family: str, clips: Sequence[int], budget: int) -> int:
    """How many rows a part of the work came to."""
    return sum(1 for _ in measure(family, clips, [budget]))


def measure_all(clips: int, families: Sequence[str], budgets: Sequence[int], workers: int) -> None:
    """Measure what is not there yet: what costs least first, the families in turns."""
    blocks = [range(first, min(first + BLOCK, clips)) for first in range(0, clips, BLOCK)]
    parts = [
        (family, block, budget)
        for budget in sorted(budgets)
        for block in blocks
        for family in families
    ]
    spawned = get_context("spawn")
    with ProcessPoolExecutor(workers, spawned, prepare_process) as pool:
        running = [pool.submit(measured, *part) for part in parts]
        for done in tqdm(as_completed(running), "parts", len(running), mininterval=10):
            done.result()


def main() -> None:
    """Train and measure what is not there yet, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=CLIPS, help="of each model")
    parser.add_argument("--families", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--budgets", nargs="*", type=int, choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--report", action="store_true", help="of what has been measured so far")
    options = parser.parse_args()
    if not options.report:
        prepare_process()
        for family in options.families:
            print(f"{family}: {trained(MODELS[family])[1].accuracy:.1%}", flush=True)
        measure_all(options.clips, options.families, options.budgets, options.workers)
    text = page()
    (RESULTS / "methods_on_planted.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
