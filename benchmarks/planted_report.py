"""The page of methods_on_planted.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import chain

import numpy as np
from planted_budgets import ASKED, BUDGETS, Asked, Row, path_of, rows_of
from planted_models import FOLDER, FRAMES, MODELS, SEED, SIZE
from train_zoo import finished, wilson
from transformer_rows import cell, clip_mean, mean_of
from transformer_training import folder_of, settings

from temporal_attr.measures import Interval, bootstrap
from temporal_attr.zoo import pretrained_card

LEVELS = ("frames", "pixels")
BASE = ("TemporalGradient", 1)
"""What every method is held against."""
STEPS = ((50, 500), (500, 2000))
"""Budgets whose difference is shown."""


class Family:
    """The rows of one model as it is now."""

    def __init__(self, name: str, weights: str) -> None:
        self.name = name
        own = [row for row in rows_of(path_of(name)) if row.weights == weights]
        self.rows: dict[tuple[str, int], dict[int, Row]] = {}
        for row in own:
            self.rows.setdefault((row.method, row.budget), {})[row.clip] = row

    def of(self, key: tuple[str, int]) -> list[Row]:
        """Those of a method at a budget, clip by clip."""
        return list(self.rows.get(key, {}).values())

    def scores(self, key: tuple[str, int], level: str) -> dict[int, float]:
        """Average precision by the number of the clip; empty where the method gives none."""
        found = {row.clip: getattr(row, level) for row in self.of(key)}
        return {clip: value for clip, value in found.items() if value is not None}

    def value(self, key: tuple[str, int], level: str) -> Interval | None:
        """The mean over clips."""
        numbers = list(self.scores(key, level).values())
        return bootstrap(np.array(numbers), clip_mean) if numbers else None

    def less(self, key: tuple[str, int], other: tuple[str, int], level: str) -> np.ndarray:
        """One method less another, on the clips that both explained."""
        one, two = self.scores(key, level), self.scores(other, level)
        return np.array([one[clip] - two[clip] for clip in sorted(one.keys() & two.keys())])


def told(change: Interval | None) -> str:
    """A difference, bold where its interval leaves out 0."""
    if change is None:
        return ""
    text = cell(change, signed=True)
    return f"**{text}**" if change.low > 0 or change.high < 0 else text


class Table:
    """All families that are trained."""

    def __init__(self) -> None:
        folder = folder_of(FOLDER, SEED)
        ready = [name for name, one in MODELS.items() if finished(one, folder, settings(SEED))]
        self.cards = {name: pretrained_card(MODELS[name].name, folder) for name in ready}
        self.families = [Family(name, card.sha256[:12]) for name, card in self.cards.items()]

    @cached_property
    def everywhere(self) -> list[Asked]:
        """Methods that explained clips of every family."""
        return [one for one in ASKED if all(family.of(one.key) for family in self.families)]

    def change(self, key: tuple[str, int], other: tuple[str, int], level: str) -> Interval | None:
        """One method less another, over all families."""
        groups = [family.less(key, other, level) for family in self.families]
        return mean_of(groups) if all(map(len, groups)) else None

    def models(self) -> list[str]:
        """What was trained."""
        lines = ["| family | architecture | options | steps | accuracy (95 % interval) |"]
        lines.append("|---" * 5 + "|")
        for name, card in self.cards.items():
            low, high = wilson(card.accuracy, card.videos)
            options = ", ".join(f"{key} {value}" for key, value in card.options.items())
            lines.append(
                f"| {name} | {card.architecture} | {options} | {card.steps} "
                f"| {card.accuracy:.1%} ({low:.1%} to {high:.1%}) |"
            )
        return lines

    def over_all(self) -> list[str]:
        """A line for each method, families together."""
        lines = [
            "| budget | method | clips | evaluations | seconds | AP of frames "
            "| less TemporalGradient | AP of pixels | less TemporalGradient |",
            "|---" * 9 + "|",
        ]
        for one in self.everywhere:
            rows = [family.of(one.key) for family in self.families]
            cells = [
                f"{one.budget:,}",
                one.name,
                str(sum(map(len, rows))),
                *means(list(chain(*rows))),
            ]
            for level in LEVELS:
                scores = [family.scores(one.key, level) for family in self.families]
                groups = [np.array(list(own.values())) for own in scores]
                cells.append(cell(mean_of(groups) if all(map(len, groups)) else None))
                same = one.key == BASE
                cells.append("" if same else told(self.change(one.key, BASE, level)))
            lines.append(f"| {' | '.join(cells)} |")
        return lines

    def more(self) -> list[str]:
        """What more evaluations bring."""
        lines = [
            "| method | from | to | AP of frames | AP of pixels |",
            "|---" * 5 + "|",
        ]
        known = {one.key for one in self.everywhere}
        for name in dict.fromkeys(one.name for one in ASKED):
            for low, high in STEPS:
                if {(name, low), (name, high)} <= known:
                    found = [self.change((name, high), (name, low), level) for level in LEVELS]
                    cells = " | ".join(map(told, found))
                    lines.append(f"| {name} | {low:,} | {high:,} | {cells} |")
        return lines

    def by_family(self) -> list[str]:
        """A table for each family."""
        lines: list[str] = []
        for family in self.families:
            lines += [
                f"### {family.name}",
                "",
                "| budget | method | clips | evaluations | seconds | AP of frames | AP of pixels |",
                "|---" * 7 + "|",
            ]
            for one in ASKED:
                rows = family.of(one.key)
                if rows:
                    cells = [f"{one.budget:,}", one.name, str(len(rows)), *means(rows)]
                    cells += [cell(family.value(one.key, level)) for level in LEVELS]
                    lines.append(f"| {' | '.join(cells)} |")
            lines.append("")
        return lines

    def there(self) -> list[str]:
        """How many clips there are at each budget, of all methods or of fewest and most."""
        lines = ["| clips of | " + " | ".join(f"at {budget:,}" for budget in BUDGETS) + " |"]
        lines.append("|---" * (1 + len(BUDGETS)) + "|")
        for family in self.families:
            cells = []
            for budget in BUDGETS:
                asked = [one for one in ASKED if not one.only or family.name in one.only]
                counts = {len(family.of(one.key)) for one in asked if one.budget == budget}
                cells.append(
                    " to ".join(str(count) for count in sorted({min(counts), max(counts)}))
                )
            lines.append(f"| {family.name} | {' | '.join(cells)} |")
        lines += [f"| {name}, not trained |" for name in MODELS if name not in self.cards]
        return lines


def means(rows: Sequence[Row]) -> list[str]:
    """Evaluations of a clip, and seconds: the median, as the first clip of a run takes longer."""
    evaluations = np.mean([row.evaluations for row in rows])
    return [f"{evaluations:.4g}", f"{np.median([row.seconds for row in rows]):.2g}"]


INTRODUCTION = """\
`python benchmarks/methods_on_planted.py`: planted `keyframe` videos of four classes, {frames}
frames of {size} x {size} pixels, whose class is a shape that stands still for 2 or 3 frames; a
disc moves in all of them. One model a family, of seed {seed}, and fresh clips that it gets right,
for their class."""

MEASURES = """\
**The measures.** AP is the average precision with which scores find the frames that show the
shape, and its pixels: of frames by the method's own `frame_scores`, of pixels by the sum of the
attribution over channels, or by its norm for TemporalGradient and what rescales it, whose sign
says nothing for or against a class. Equal scores count as in a random order. Methods that score
frames only have no AP of pixels. *Evaluations* are those of `run`: forward passes of the clip, and
2 for each backward pass. A framewise model encodes a frame once however many clips it is in, so
there they are fewer than the clips that a head saw. What finds the layer of class activation maps,
once a model, is not counted. *Seconds* are the median over clips, of the process, on one core with
other work beside it: the first digit counts. *Random numbers* are the floor, with 20 draws a clip;
*the clip itself* is how far pixels are from a mid-grey, which needs no model.

Options are the defaults, but: FrameShapley takes 6 permutations at 50, and all 256 coalitions at
500, beyond which there is nothing to sample. KernelSHAP and VideoLIME mask tubes of 2 frames of
16 x 16 pixels at 50, and of 1 frame of 8 x 8 beyond. Occlusion takes windows of 2 frames of 16 x 16
at 50. Paths have 16 and 160 points,
learned masks 160 steps. FrameMaskingTSR rescales TemporalGradient.
SelectiveRelevance splits LRP and keeps what comes from motion, which is another question: the shape
that decides stands still.

Means with 95 % intervals: by family, clips are drawn again; of all families, families as well (the
bootstraps of `temporal_attr.measures`). Differences are clip by clip, on the clips that both
explained, and bold where the interval leaves out 0; where nothing differs, one in twenty is bold by
chance. There is one model a family, so nothing is said of other seeds. Rows with fewer clips
have the first ones: means of rows that differ in number are not of the same clips, but differences
are."""


def page() -> str:
    """Of what has been measured so far."""
    table = Table()
    parts = [
        "# Methods on planted videos",
        INTRODUCTION.format(frames=FRAMES, size=SIZE, seed=SEED),
        "\n".join(table.models()),
        MEASURES,
        "**What there is**, of the 100 clips that are asked for:",
        "\n".join(table.there()),
        "## All families",
        "Methods that all families can be asked.",
        "\n".join(table.over_all()),
        "What more evaluations bring:",
        "\n".join(table.more()),
        "## By family",
        "\n".join(table.by_family()),
    ]
    return "\n\n".join(parts)
