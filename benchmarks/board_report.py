"""The page of the board, from what has been measured."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from board_methods import BUDGETS

from temporal_attr.evaluation import CHANCE, Comparison

DOCS = Path(__file__).parents[1] / "docs"
SHOWN = ("auprc-frames", "auprc-pixels", "abpc-frames", "abpc-tubes", "leave-one-out-tubes")
COLUMNS = [
    "set", "part", "budget", "model", "clip", "method", "metric", "value", "evaluations", "seconds",
]  # fmt: skip
INTRODUCTION = Path(__file__).parent / "board_introduction.md"
"""What a reader should take from the numbers, written by hand after looking at them."""


def comparisons(kept: Path) -> dict[tuple[str, str, int], Comparison]:
    """What there is, by set, part and budget."""
    found = {}
    for folder in sorted(kept.glob("*/*/*")):
        if (folder / "comparison.json").is_file():
            kind, part, budget = folder.parts[-3:]
            found[kind, part, int(budget)] = Comparison.load(folder)
    return found


def together(known: dict[tuple[str, str, int], Comparison]) -> pd.DataFrame:
    """All rows, with the set, the part and the budget of each."""
    tables = []
    for (kind, part, budget), comparison in known.items():
        table = comparison.table.copy()
        table.insert(0, "budget", budget)
        table.insert(0, "part", part)
        table.insert(0, "set", kind)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def overall(known: dict[tuple[str, str, int], Comparison], kind: str, budget: int) -> Comparison:
    """All parts of a set as one comparison, in which a model is a model of a part."""
    some = {key: one for key, one in known.items() if (key[0], key[2]) == (kind, budget)}
    tables = []
    for (_, part, _), one in some.items():
        table = one.table.copy()
        table["model"] = part + ", " + table["model"]
        tables.append(table)
    first = next(iter(some.values()))
    return Comparison(
        pd.concat(tables, ignore_index=True), first.metrics, (), first.curves.iloc[:0]
    )


def table_lines(comparison: Comparison) -> Iterator[str]:
    """A line for each method: its means with intervals, and what it took."""
    shown = [
        name
        for name in SHOWN
        if comparison.table.loc[comparison.table["metric"] == name, "value"].notna().any()
    ]
    rankings = {name: {one.method: one for one in comparison.ranking(name)} for name in shown}
    first = shown[1] if len(shown) > 1 else shown[0]
    order = sorted(
        comparison.methods,
        key=lambda name: -rankings[first][name].mean if name in rankings[first] else 1.0,
    )
    taken = comparison.table.groupby("method")[["evaluations", "seconds"]].median()
    yield "| method | evaluations | seconds | " + " | ".join(shown) + " |"
    yield "|---" * (3 + len(shown)) + "|"
    for method in order:
        cells = []
        for name in shown:
            one = rankings[name].get(method)
            if one is None:
                cells.append("")
                continue
            text = f"{one.mean:.2f} ({one.low:.2f} to {one.high:.2f})"
            text += f" on {one.clips}" if math.isnan(one.mean_rank) else ""
            cells.append(f"**{text}**" if one.beats_chance else text)
        label = f"*{method}*" if method in CHANCE else method
        passes, seconds = taken.loc[method]
        known = "" if math.isnan(passes) else f"{passes:.0f}"
        yield f"| {label} | {known} | {seconds:.2g} | " + " | ".join(cells) + " |"


def missing_lines(known: dict[tuple[str, str, int], Comparison]) -> Iterator[str]:
    """What there is of each part."""
    yield "| set | part | models | " + " | ".join(f"clips at {budget}" for budget in BUDGETS) + " |"
    yield "|---" * (3 + len(BUDGETS)) + "|"
    for kind, part in dict.fromkeys((key[0], key[1]) for key in known):
        cells = []
        models: set[str] = set()
        for budget in BUDGETS:
            one = known.get((kind, part, budget))
            cells.append("missing" if one is None else str(one.table["clip"].nunique()))
            models |= set() if one is None else set(one.table["model"])
        yield f"| {kind} | {part} | {', '.join(sorted(models))} | " + " | ".join(cells) + " |"


def failure_lines(table: pd.DataFrame) -> Iterator[str]:
    """What failed, and how often."""
    failed = table[table["failed"].astype(bool)].copy()
    failed["note"] = failed["note"].str.slice(0, 110)
    counts = failed.groupby(["method", "note"])["clip"].nunique()
    for (method, note), count in counts.items():
        yield f"- {method}, {count} clips: {note.replace('|', '/')}"


def write_board(place: Path) -> None:
    """Write docs/board.md and docs/board.csv.gz."""
    known = comparisons(place)
    table = together(known)
    kept = table[table["value"].notna()]
    kept[COLUMNS].to_csv(DOCS / "board.csv.gz", index=False, float_format="%.4g")
    lines = ["# The board", "", INTRODUCTION.read_text(encoding="utf-8").strip(), ""]
    for kind in dict.fromkeys(key[0] for key in known):
        for budget in BUDGETS:
            if any((key[0], key[2]) == (kind, budget) for key in known):
                lines += [f"## {kind}, at about {budget} evaluations", ""]
                lines += [*table_lines(overall(known, kind, budget)), ""]
    lines += ["## What there is", "", *missing_lines(known), ""]
    lines += ["## What failed", "", *failure_lines(table), ""]
    lines += [
        f"`python benchmarks/board.py`, torch {version('torch')}, captum {version('captum')}, "
        f"Python {platform.python_version()}. All values: {{download}}`board.csv.gz`."
    ]
    (DOCS / "board.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
