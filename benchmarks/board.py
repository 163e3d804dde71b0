"""The board: every method on the named task sets, at two budgets, as far as there was time.

    python benchmarks/train_task_sets.py --set planted-v1 --folder FOLDER
    OMP_NUM_THREADS=1 python benchmarks/board.py --planted FOLDER [--footage VIDEOS] [--cuts VIDEOS]
    python benchmarks/board.py --report

Each explanation's numbers are kept as soon as they are there, so that a run that is stopped goes
on; --minutes ends one by itself. The clips of a part are taken a few at a time, part by part, so
that what there is is even. --report writes docs/board.md and docs/board.csv.gz; what was not
measured is said to be missing.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from board_methods import BUDGETS, methods
from board_report import write_board

from temporal_attr.evaluation import Suite
from temporal_attr.evaluation.task_sets import PlantedSet, TaskSet, TaskSetPart, task_set

KEPT = Path(__file__).parent / "checkpoints" / "board"
METRICS = (
    "auprc-frames",
    "auprc-pixels",
    "pointing-game-pixels",
    "mass-accuracy-pixels",
    "abpc-frames",
    "abpc-tubes",
    "leave-one-out-tubes",
    "gini-pixels",
)
BLOCK = 2
"""Clips that a part takes before the next has its turn."""


def sets(options: argparse.Namespace) -> Iterator[TaskSet]:
    """The sets whose models or videos are there."""
    if options.planted is not None:
        yield PlantedSet(options.planted, trained_only=True)
    if options.footage is not None:
        yield task_set("planted-on-footage-v1", videos=options.footage)
    if options.cuts is not None:
        yield task_set("cuts-v1", videos=options.cuts)


def measure(kind: TaskSet, part: TaskSetPart, budget: int, clips: int) -> None:
    """The first clips of a part; what is there is not computed again."""
    folder = KEPT / kind.name / part.name / str(budget)
    suite = Suite(part.models, methods(budget), part.clips[:clips], METRICS, budget)
    comparison = suite.run(folder)
    comparison.save(folder)


def main() -> None:
    """Measure until the time is over, and write the board."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--planted", type=Path, help="folder of the models of planted-v1")
    parser.add_argument("--footage", type=Path, help="folder of videos to plant on")
    parser.add_argument("--cuts", type=Path, help="folder of videos to cut")
    parser.add_argument("--clips", type=int, default=20, help="of each part")
    parser.add_argument("--budgets", type=int, nargs="*", choices=BUDGETS, default=list(BUDGETS))
    parser.add_argument("--minutes", type=float, default=28)
    parser.add_argument("--report", action="store_true", help="of what has been measured so far")
    options = parser.parse_args()
    # Captum says what it does with each clip.
    warnings.filterwarnings("ignore", module="captum")
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * options.minutes
    if not options.report:
        for budget in options.budgets:
            for clips in range(BLOCK, options.clips + 1, BLOCK):
                for kind in sets(options):
                    for part in kind.parts(clips):
                        if time.monotonic() > end:
                            break
                        print(f"{kind.name}, {part.name}: {clips} clips, budget {budget}")
                        measure(kind, part, budget, clips)
    write_board(KEPT)


if __name__ == "__main__":
    main()
