"""Every family of networks and every method: does `wrap` know it, and is what comes right?

    python benchmarks/families.py [--only TEXT] [--method NAME] [--again] [--limit SECONDS]
    python benchmarks/families.py --report benchmarks/results/families.md

Networks are small, in double precision, with random biases and calibrated batch norm. A family is
right if the wrapper's logits are the network's (what the network makes probabilities of), the
weighted sum of timesteps is those, and each method gives a batch what it gives its clips one by
one, and the same twice. What a method refuses by a named error is said so; any other error is raw.

What was measured is kept in benchmarks/checkpoints/families, cell by cell, so that a run that was
stopped goes on. It does not see that the library has changed: `--again` measures anew.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from family_cells import apart, of_method
from family_methods import COLUMNS
from family_networks import Subject, subjects
from family_page import page

import temporal_attr as ta

FOLDER = Path(__file__).parent / "checkpoints" / "families"


def of_network(subject: Subject) -> dict[str, str]:
    """What comes of a family without any method."""
    wrapper, bare, clip = subject
    with torch.no_grad():
        logits, expected = wrapper(clip), bare(clip.clone())
    try:
        with torch.no_grad():
            summed = wrapper.frame_logits(clip).clip_logits()
        timesteps = f"{apart(summed, logits):.0e}" if wrapper.exactness != "none" else "no sum"
    except ta.FrameLogitsError:
        timesteps = "named: open"
    return {
        "wrapper": type(wrapper).__name__,
        "exactness": wrapper.exactness,
        "forward": agreement(logits, expected),
        "timesteps": timesteps,
    }


def agreement(logits: Tensor, output: Tensor) -> str:
    """How far a wrapper's logits are from a network's output, or its probabilities."""
    ways = {"": logits, " after softmax": logits.softmax(-1), " after sigmoid": logits.sigmoid()}
    found = {name: apart(way, output) for name, way in ways.items()}
    best = min(found, key=lambda name: found[name])
    return f"{found[best]:.0e}{best}"


def built(subject: Callable[[], Subject]) -> Subject:
    """A family's network, the same each time."""
    torch.manual_seed(0)
    return subject()


def path_of(name: str) -> Path:
    """Where a family's row is kept."""
    return FOLDER / (re.sub(r"\W+", "_", name) + ".json")


def kept(name: str) -> dict[str, Any]:
    """What was measured of a family so far."""
    path = path_of(name)
    if not path.is_file():
        return {"cells": {}}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def keep(name: str, row: dict[str, Any]) -> None:
    """Write a family's row, whole or not at all."""
    partial = path_of(name).with_suffix(".partial")
    partial.write_text(json.dumps(row, indent=1), encoding="utf-8")
    partial.replace(path_of(name))


def measure(name: str, subject: Callable[[], Subject], options: argparse.Namespace) -> None:
    """Fill what is missing of a family's row."""
    row = kept(name)
    if "network" not in row or options.again:
        row["network"] = of_network(built(subject))
    for column in COLUMNS:
        if options.method not in ("", column.name):
            continue
        if column.name in row["cells"] and not options.again:
            continue
        started = time.process_time()
        # Built anew, as one that ran out of time may have left it half way.
        wrapper, _, clip = built(subject)
        cell = of_method(column, wrapper, clip, options.limit)
        cell["seconds"] = round(time.process_time() - started, 1)
        row["cells"][column.name] = cell
        keep(name, row)
    cells = {key: cell["cell"] for key, cell in row["cells"].items()}
    odd = {key: cell for key, cell in cells.items() if cell not in ("right", "-")}
    spent = sum(cell["seconds"] for cell in row["cells"].values())
    print(f"{name}: {row['network']} {odd} {spent:.0f} s", flush=True)


def main() -> None:
    """Try all families, or write the page from what is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="families with this in their name")
    parser.add_argument("--method", default="", help="this method only, as the table names it")
    parser.add_argument("--again", action="store_true", help="measure anew what is kept")
    parser.add_argument(
        "--limit", type=float, default=300, help="seconds of the process that a cell may take"
    )
    parser.add_argument("--report", type=Path, help="measure nothing, and write the page here")
    options = parser.parse_args()
    if options.report:
        rows = {name: kept(name) for name, _ in subjects()}
        options.report.write_text(page(rows), encoding="utf-8")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, subject in subjects():
        if options.only in name:
            measure(name, subject, options)


if __name__ == "__main__":
    main()
