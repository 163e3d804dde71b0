"""What the numbers of tsr.py say, in sentences that are made from them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from train_zoo import Recipe
from tsr_methods import METHODS
from tsr_table import LABELS, ONE, TIME, TWO, TWO_STEPS, Change, Level, Table, named

Pair = tuple[str, str]
"""A method, and how it is asked."""

SMALL = 0.01
"""A change that is less can be decided, and still be of no use."""


def findings(table: Table) -> list[str]:
    """One sentence for each model and question, with the figures that it is made from."""
    lines = [
        "In words, made from the tables below (average precision, AP; a method is listed where its "
        "interval excludes 0, and of no use is a change under "
        f"{SMALL}):",
        "",
    ]
    for entry in table.models:
        every = (*_rescaled(table, entry), *_second_step(table, entry))
        lines += [f"- {line}" for line in (*every, *_settings(table, entry))]
    return [*lines, *(f"- {line}" for entry in table.models for line in _parts(table, entry))]


def _pair(step: str, method: str) -> Pair:
    """A method with a step of TSR."""
    return method, step


def _rescaled(table: Table, entry: Recipe) -> list[str]:
    """What one step, and the time relevance by itself, change of each method."""
    lines = []
    levels: tuple[Level, ...] = ("frames", "pixels")
    for level in levels:
        for step, label in ((ONE, "one step"), (TIME, "the time relevance by itself")):
            changes = _changes(table, entry, list(METHODS), partial(_pair, step), level)
            if changes:
                lines.append(f"`{named(entry)}`, {level}: {label} {_verdicts(changes)}.")
    below = [name for name in METHODS if _is_below_chance(table, entry, name)]
    if below:
        lines.append(
            f"`{named(entry)}`, frames: below random numbers are {', '.join(below)} alone."
        )
    return lines


def _second_step(table: Table, entry: Recipe) -> list[str]:
    """Two steps less the method, and less one step, averaged over the same blocks."""
    lines = []
    for other in ("alone, in blocks", "one step, in blocks"):
        changes = {
            name: change
            for name in TWO_STEPS
            if (change := table.change(entry, (name, TWO), (name, other), "pixels", "ap"))
        }
        if changes:
            label = f"against the method {other.replace(', in blocks', '')}, averaged over blocks,"
            lines.append(f"`{named(entry)}`, pixels: {label} the second step {_verdicts(changes)}.")
    return lines


def _settings(table: Table, entry: Recipe) -> list[str]:
    """Saliency with other baselines, windows and scaling."""
    pairs: dict[str, tuple[Pair, Pair]] = {
        f"{name}, {step}": (("Saliency", f"{step}, {name}"), ("Saliency", step))
        for step, name in (
            (ONE, "neighbour"),
            (ONE, "mean"),
            (ONE, "4 frames"),
            (TWO, "scaled"),
        )
    }
    changes = {
        name: change
        for name, (first, second) in pairs.items()
        if (change := table.change(entry, first, second, "pixels", "ap"))
    }
    if not changes:
        return []
    return [f"`{named(entry)}`, pixels: of Saliency's other settings, {_verdicts(changes)}."]


def _parts(table: Table, entry: Recipe) -> list[str]:
    """Superpixels against blocks."""
    changes = {
        f"less {other}": change
        for other in ("blocks of 7 x 8", "blocks of 10")
        if (change := table.change(entry, ("superpixels", TWO), (other, TWO), "pixels", "ap"))
    }
    if not changes:
        return []
    values = {
        name: table.value(entry, name, TWO, "pixels", "ap")
        for name in ("superpixels", "blocks of 7 x 8", "blocks of 10")
    }
    label = ", ".join(f"{name} {found.value:.3f}" for name, found in values.items() if found)
    return [f"`{named(entry)}`, pixels: {label}; of superpixels, {_verdicts(changes)}."]


def _changes(
    table: Table,
    entry: Recipe,
    methods: list[str],
    first: Callable[[str], Pair],
    level: Level,
) -> dict[str, Change]:
    """Each method with TSR less the method alone, by average precision."""
    found = {
        name: table.change(entry, first(name), (name, "alone"), level, "ap") for name in methods
    }
    return {name: change for name, change in found.items() if change is not None}


def _verdicts(changes: dict[str, Change]) -> str:
    """Which changes are decided, which way, and by how much."""
    parts = []
    for verdict, verb in (("better", "raises"), ("worse", "lowers")):
        own = {name: one for name, one in changes.items() if one.verdict == verdict}
        useful = [f"{name} {_by(one)}" for name, one in own.items() if abs(_value(one)) >= SMALL]
        small = [f"{name} {_by(one)}" for name, one in own.items() if abs(_value(one)) < SMALL]
        if useful:
            parts.append(f"{verb} {len(useful)} of {len(changes)} ({', '.join(useful)})")
        if small:
            parts.append(f"{verb} to no use {len(small)} ({', '.join(small)})")
    undecided = [name for name, one in changes.items() if one.verdict == "undecided"]
    if undecided:
        parts.append(f"leaves {len(undecided)} of {len(changes)} undecided")
    return f"{LABELS['ap']}: " + "; ".join(parts)


def _value(change: Change) -> float:
    return change.found.value


def _by(change: Change) -> str:
    return f"{change.found.value:+.3f}"


def _is_below_chance(table: Table, entry: Recipe, name: str) -> bool:
    """Whether a method alone ranks frames worse than random numbers do, by their intervals."""
    own = table.value(entry, name, "alone", "frames", "ap")
    chance = table.value(entry, "chance", "alone", "frames", "ap")
    return own is not None and chance is not None and own.high < chance.low
