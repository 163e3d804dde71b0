"""The page and the pictures of what tsr.py measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
import torch
from captum.attr import Saliency
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from temporal_range import SIZE, folder_of
from torch import Tensor
from train_zoo import Recipe
from tsr_methods import (
    BLOCK,
    METHODS,
    PARTS,
    QUANTILE,
    RECIPES,
    SEEN,
    Outcome,
    planted,
)
from tsr_scores import Areas

from temporal_attr import FrameMaskingTSR
from temporal_attr.measures import Interval, hierarchical_bootstrap
from temporal_attr.zoo import load_pretrained, pretrained_card

Level: TypeAlias = Literal["frames", "pixels"]
MEASURES = [field.name for field in fields(Areas)]
LABELS = {"aup": "AUP", "aur": "AUR", "aupr": "AUPR", "ranked_aur": "AUR, ranked", "ap": "AP"}
"""Those that are shown."""
JUDGED, EVERY = ("aupr", "ap"), ("aup", "aur", "aupr", "ap")
TWO_STEPS = [name for name, method in METHODS.items() if method.two]
ONE, TWO, TIME = "one step", "two steps", "time relevance"


@dataclass(frozen=True)
class Change:
    """What something changes, and which way it goes by its interval."""

    found: Interval

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.found.low > 0:
            return "better"
        return "worse" if self.found.high < 0 else "undecided"

    def __str__(self) -> str:
        found = self.found
        ends = f"{found.low + 0.0:+.3f} to {found.high + 0.0:+.3f}"
        return f"{found.value + 0.0:+.3f} ({ends}), {self.verdict}"


class Table:
    """Outcomes of those methods that were asked for all seeds of a model."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        seeds = Counter((one.name, one.method) for one in outcomes)
        self.outcomes = [
            one for one in outcomes if seeds[one.name, one.method] == seeds[one.name, "chance"]
        ]
        self.models = [
            entry for entry in RECIPES if any(any(self.of(entry, name)) for name in METHODS)
        ]

    def missing(self) -> list[str]:
        """What has not been measured, model by model."""
        lines = []
        for entry in RECIPES:
            absent = [name for name in METHODS if not any(self.of(entry, name))]
            if any(self.of(entry, "chance")) and absent:
                lines.append(f"{entry.name} ({', '.join(absent)})")
        return lines

    def of(self, entry: Recipe, called: str) -> Iterator[Outcome]:
        """Those of a model and a method, seed by seed."""
        for one in self.outcomes:
            if (one.name, one.method) == (entry.name, called):
                yield one

    def groups(
        self, entry: Recipe, called: str, variant: str, level: Level, measure: str
    ) -> list[np.ndarray]:
        """A number for each clip, an array a seed; none where it was not measured."""
        place = MEASURES.index(measure)
        found = [one.numbers.get(variant, {}).get(level, []) for one in self.of(entry, called)]
        return [np.array(areas)[:, place] for areas in found if areas]

    def value(
        self, entry: Recipe, called: str, variant: str, level: Level, measure: str
    ) -> Interval | None:
        """The mean with its interval."""
        return mean_of(self.groups(entry, called, variant, level, measure))

    def change(
        self,
        entry: Recipe,
        first: tuple[str, str],
        second: tuple[str, str],
        level: Level,
        measure: str,
    ) -> Change | None:
        """The mean over clips of one method and variant less another, clip by clip."""
        one = self.groups(entry, *first, level, measure)
        other = self.groups(entry, *second, level, measure)
        if not one or len(one) != len(other):
            return None
        found = mean_of([a - b for a, b in zip(one, other, strict=True)])
        return None if found is None else Change(found)

    def clips(self, entry: Recipe) -> int:
        """How many clips of a model, all seeds together."""
        return sum(map(len, self.groups(entry, "chance", "alone", "pixels", "ap")))


def mean_of(groups: Sequence[np.ndarray]) -> Interval | None:
    """Mean over seeds of the mean over clips; seeds are drawn again, and clips within them."""
    return hierarchical_bootstrap(groups, lambda drawn: drawn.mean(1)) if groups else None


def named(entry: Recipe) -> str:
    """A model in the tables."""
    return entry.name


def cell(found: Interval | Change | None) -> str:
    """A number in a table."""
    if found is None:
        return ""
    if isinstance(found, Change):
        return str(found)
    return f"{found.value + 0.0:.3f} ({found.low + 0.0:.3f} to {found.high + 0.0:.3f})"


def comparisons() -> list[tuple[str, tuple[str, str], tuple[str, str]]]:
    """What is judged: a name, and the two that are compared."""
    found = []
    for name in METHODS:
        found.append((f"{name}, {ONE}", (name, ONE), (name, "alone")))
        if name in TWO_STEPS:
            found.append((f"{name}, {TWO}", (name, TWO), (name, "alone")))
        found.append((f"{name}, {TIME} by itself", (name, TIME), (name, "alone")))
    return found


def verdict_tables(table: Table) -> list[str]:
    """A table for each model: what TSR changes."""
    lines = []
    for entry in table.models:
        levels: list[Level] = ["frames", "pixels"] if has_frames(table, entry) else ["pixels"]
        columns = [(level, measure) for level in levels for measure in EVERY]
        head = " | ".join(f"{level}, {LABELS[measure]}" for level, measure in columns)
        lines += [f"### {named(entry)}", "", f"| with TSR less without | {head} |"]
        lines.append("|---" * (1 + len(columns)) + "|")
        for name, first, second in comparisons():
            cells = [cell(table.change(entry, first, second, *column)) for column in columns]
            if any(cells):
                lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return lines


def has_frames(table: Table, entry: Recipe) -> bool:
    """Whether only some frames decide."""
    return bool(table.groups(entry, "chance", "alone", "frames", "ap"))


def counts(table: Table) -> list[str]:
    """How often TSR helps, by level and number of steps."""
    lines = [
        "| | measure | better | undecided | worse | worse for |",
        "|---|---|---|---|---|---|",
    ]
    for level in ("frames", "pixels"):
        for step, methods in ((ONE, list(METHODS)), (TWO, TWO_STEPS), (TIME, list(METHODS))):
            for measure in EVERY:
                found: dict[str, list[str]] = {"better": [], "undecided": [], "worse": []}
                for entry in table.models:
                    for name in methods:
                        pair = (name, step), (name, "alone")
                        change = table.change(entry, *pair, level, measure)
                        if change is not None:
                            said = f"{name} on {named(entry)} ({change.found.value:+.3f})"
                            found[change.verdict].append(said)
                if not any(found.values()):
                    continue
                numbers = " | ".join(str(len(own)) for own in found.values())
                # AUR is no grade, and falls nearly everywhere.
                worse = "" if measure == "aur" else "; ".join(found["worse"])
                lines.append(f"| {level}, {step} | {LABELS[measure]} | {numbers} | {worse} |")
    return lines


def value_tables(table: Table) -> list[str]:
    """All numbers, a table for each model and level."""
    shown = list(LABELS)
    lines = []
    for entry in table.models:
        levels: list[Level] = ["frames", "pixels"] if has_frames(table, entry) else ["pixels"]
        for level in levels:
            lines += [
                f"### {named(entry)}, {level}",
                "",
                "| method | TSR | " + " | ".join(LABELS[name] for name in shown) + " |",
                "|---" * (2 + len(shown)) + "|",
            ]
            for called in ("chance", *METHODS):
                for variant in order_of(table, entry, called):
                    cells = [
                        cell(table.value(entry, called, variant, level, measure))
                        for measure in shown
                    ]
                    if any(cells):
                        name = "random numbers" if called == "chance" else called
                        said = "none" if variant == "alone" else variant
                        lines.append(f"| {name} | {said} | {' | '.join(cells)} |")
            lines.append("")
    return lines


def order_of(table: Table, entry: Recipe, called: str) -> list[str]:
    """The variants of a method, as they were measured."""
    found = next(table.of(entry, called), None)
    return list(found.numbers) if found else []


def settings_table(table: Table) -> list[str]:
    """Saliency's other first steps, and the scaling of the authors' code."""
    rows = {
        "hides with the frame before, one step": ("one step, neighbour", ONE),
        "hides with the clip's mean colour, one step": ("one step, mean", ONE),
        "hides 4 frames at once, one step": ("one step, 4 frames", ONE),
        "both steps scaled to [0, 1]": ("two steps, scaled", TWO),
    }
    lines = [
        "| model | Saliency that | frames, AUPR | frames, AP | pixels, AUPR | pixels, AP |",
        "|---" * 6 + "|",
    ]
    for entry in table.models:
        for said, (first, second) in rows.items():
            cells = [
                cell(table.change(entry, ("Saliency", first), ("Saliency", second), level, measure))
                for level in ("frames", "pixels")
                for measure in JUDGED
            ]
            if any(cells):
                lines.append(f"| {named(entry)} | {said} | {' | '.join(cells)} |")
    return lines


def parts_table(table: Table) -> list[str]:
    """Blocks and superpixels: masks, and areas of pixels."""
    lines = [
        "| model | parts | masked clips | AUP | AUR | AUPR | AUR, ranked | AP |",
        "|---" * 8 + "|",
    ]
    blocks = f"blocks of {BLOCK[0]}"
    for entry in table.models:
        for called in (blocks, *PARTS):
            method, name = ("Saliency", blocks) if called == blocks else (called, called)
            own = list(table.of(entry, method))
            if not own or not any(table.of(entry, next(iter(PARTS)))):
                continue
            cells = [cell(table.value(entry, method, TWO, "pixels", m)) for m in LABELS]
            masks = np.mean([one.evaluations - 2 for one in own])
            lines.append(f"| {named(entry)} | {name} | {masks:.0f} | {' | '.join(cells)} |")
    return lines


def parts_changes(table: Table) -> list[str]:
    """Superpixels less blocks, clip by clip."""
    pairs = {
        "superpixels (20 a frame) less blocks of 7 x 8 (20)": ("superpixels", "blocks of 7 x 8"),
        "superpixels (20 a frame) less blocks of 10 (16)": ("superpixels", "blocks of 10"),
        "superpixels (20 a frame) less blocks of 8 (16)": ("superpixels", "Saliency"),
        "blocks of 10 (16) less blocks of 8 (16)": ("blocks of 10", "Saliency"),
    }
    lines = ["| model | difference | AUP | AUPR | AUR, ranked | AP |", "|---" * 6 + "|"]
    for entry in table.models:
        if not any(table.of(entry, "superpixels")):
            continue
        for said, (one, other) in pairs.items():
            cells = [
                cell(table.change(entry, (one, TWO), (other, TWO), "pixels", measure))
                for measure in ("aup", "aupr", "ranked_aur", "ap")
            ]
            if any(cells):
                lines.append(f"| {named(entry)} | {said} | {' | '.join(cells)} |")
    return lines


def models_table(table: Table) -> list[str]:
    """Who was asked, with chance."""
    lines = [
        "| model | seeds | accuracy | clips | frames that decide | pixels that decide |",
        "|---" * 6 + "|",
    ]
    for entry in table.models:
        own = list(table.of(entry, "chance"))
        accuracy = np.mean(
            [pretrained_card(entry.name, folder_of(one.seed)).accuracy for one in own]
        )
        shares = []
        for one in own:
            model = load_pretrained(entry.name, folder_of(one.seed))
            count = len(one.numbers["alone"]["pixels"])
            for video, _ in planted(entry, model, one.seed, count):
                shares.append((video.deciding_frames.mean(), video.region.mean()))
        frames, pixels = np.mean(shares, 0)
        lines.append(
            f"| {named(entry)} | {len(own)} | {accuracy:.1%} | {len(shares)} | {frames:.1%} "
            f"| {pixels:.1%} |"
        )
    return lines


def report(table: Table, left_out: Sequence[str]) -> str:
    """The page."""
    missing = table.missing()
    lines = [
        "# Does temporal saliency rescaling find what was planted?",
        "",
        f"`OMP_NUM_THREADS=1 python benchmarks/tsr.py`: networks of {SIZE} x {SIZE} pixels, "
        "trained from several seeds on planted videos; fresh clips that the network gets right, "
        "for their class. Captum's methods alone, and with TSR. In one step the attribution is "
        "weighted by the time relevance of its frame. In two steps it is what hiding a block of "
        f"{BLOCK[0]} x {BLOCK[1]} pixels of a frame moves, times that weight, in the "
        f"{1 - QUANTILE:.0%} of frames that weigh most (as in the authors' code). What is hidden "
        "is 0 in input values, a mid-grey. IntegratedGradients takes 10 steps from 0; GradientShap "
        "5 samples and noise of 0.1; Occlusion hides quarters of two frames; FeatureAblation "
        "and ShapleyValueSampling (3 orders) hide whole frames, so they say nothing of where in a "
        "frame. Means over seeds with 95 % intervals (seeds drawn again, and clips within them; "
        "with so few seeds such intervals are rather too narrow). Each interval stands by "
        "itself: of comparisons in which nothing differs, one in twenty is decided by chance.",
        "",
        *models_table(table),
        "",
        f"Left out, as they learned less than is asked for: {'; '.join(left_out) or 'none'}.",
        *(["", f"Not measured yet: {'; '.join(missing)}."] if missing else []),
        "",
        *MEASURES_SAID,
        "",
        "## Where TSR helps, and where not",
        "",
        *FOUND,
        "",
        *counts(table),
        "",
        *blocks_said(table),
        "",
        *verdict_tables(table),
        "## Blocks or superpixels",
        "",
        "Saliency in two steps. Blocks of 10 do not divide 32 pixels: of their 16 parts 7 are two "
        "pixels high or wide. SLIC does not give as many superpixels as are asked for; at this "
        "size there are about 13 or 20 of them on average, and none between. Of 24 asked for there "
        "are 20, so that it is blocks of 7 x 8 (20) that take as many evaluations. In the picture "
        "below superpixels follow the ring and the arms of the cross, where blocks take in as much "
        "of the ground; but one that reaches from the cue into the ground takes all of it along, "
        "and where the attribution has missed the frame (last row) no parts help.",
        "",
        *parts_table(table),
        "",
        *parts_changes(table),
        "",
        "![Planted clips, with blocks and with superpixels](tsr_parts.png)",
        "",
        "## Other settings of Saliency",
        "",
        "Each less the usual setting (0 hides, one frame at a time, nothing scaled).",
        "",
        *settings_table(table),
        "",
        "## All numbers",
        "",
        "![Average precision of pixels](tsr.png)",
        "",
        *value_tables(table),
    ]
    return "\n".join(lines)


FOUND = [
    "What the tables say (written by hand, of what had been measured with five seeds):",
    "",
    "- Pixels: on `keyframe` one step raises the average precision of the 3D network's pixels for "
    "every method that tells pixels apart, by 0.03 to 0.06, and that of Saliency and Occlusion on "
    "the LSTM by 0.03. Late fusion gains nothing worth having, as its gradients lie in the right "
    "frames already; only Occlusion does, which hides two frames at once. Methods that hide whole "
    "frames gain next to nothing.",
    "- Frames: one step makes scores sharper, which AUP rewards. By AUPR and AP, which ask for the "
    "order, it helps Occlusion everywhere, FeatureAblation a little, and Saliency on the LSTM; "
    "elsewhere it makes no difference that can be told. On the LSTM the time relevance of Saliency "
    "alone finds the frames far better (AP 0.72) than Saliency (0.34) or the product of the two "
    "(0.44), in which the attribution's wrong frames stay.",
    "- The second step: what Saliency gains by it on `keyframe` cannot be told from averaging "
    "Saliency over the same blocks, which costs nothing. With InputXGradient it is worse by AUPR "
    "than InputXGradient alone, by 0.13 to 0.24, on every model asked.",
    "- `appearance`, where every frame decides: one step lowers the average precision of pixels "
    "of every method that tells pixels apart, by 0.01 to 0.10. TSR weights frames unequally, and "
    "here they are equal.",
    "- An LSTM that forgets (`early`): the gradient lies on late frames, and Saliency ranks frames "
    "and pixels below chance. With TSR they come up to about chance, no more, and AUPR stays near "
    "0: what has vanished from the gradient is not brought back by rescaling it. The time "
    "relevance of FeatureAblation does better there (AP of frames 0.34, chance 0.20).",
    "- What hides: the clip's mean colour is as good as 0. The frame before is worse on most "
    "models, as is to be expected where the cue stands for several frames: it hides itself. "
    "Hiding 4 frames at once is worse or no better, but for the LSTM that forgets. Scaling both "
    "steps to [0, 1], as in the authors' code, helps on the LSTM and costs the 3D "
    "network's frames.",
    "- Superpixels find the region better than blocks at equal evaluations (AP of pixels 0.48 and "
    "0.36 on the 3D network). Blocks of 10 are worse than blocks of 8, which take as many.",
    "- A difference under 0.01 can be decided here and still be of no use.",
]

MEASURES_SAID = [
    "**The measures.** A pixel's score is the norm over channels of its attribution, a frame's the "
    "sum of the attribution's absolute values; the truth is where, and when, the cue can be seen. "
    "AUP, AUR and AUPR are those of Ismail et al. (2020): features count as salient in the order "
    "of their scores until they hold a share d of the sum, precision and recall are weighted by "
    "the scores, and the areas are over d (AUP, AUR) or of precision over recall (AUPR). "
    "Their code takes nine values of d from 0.1 to 0.9 on scores moved to start at 0; here the "
    "area is exact, from 0 to 1, scores stay as they are, and features of one score, such as the "
    "pixels of a block, enter together. AP is the average precision: AUPR with all features "
    "counting the same.",
    "",
    "Scores that are all equal give the share of true features for AUP, AUPR and AP, and 0.5 for "
    "both AUR; random numbers are in the tables too. AUR by itself is no grade: where only true "
    "features have scores, recall is d, and AUR is 0.5 again. So TSR, which takes scores away from "
    "wrong frames, mostly lowers AUR where it raises AUP. The ranked AUR has no such fault. On "
    "`appearance` every frame decides, precision of frames is 1 whatever the scores, and only "
    "pixels are judged.",
]


def blocks_said(table: Table) -> list[str]:
    """Two steps against Saliency that is averaged over the same blocks."""
    lines = [
        "Two steps also give one number to a whole block, and averaging over blocks may help by "
        "itself. Pixels, two steps less the method averaged over the same blocks, and less one "
        "step averaged over them:",
        "",
        "| model | method | less alone, AUPR | less alone, AP | less one step, AUPR "
        "| less one step, AP |",
        "|---" * 6 + "|",
    ]
    for entry in table.models:
        for name in TWO_STEPS:
            cells = [
                cell(table.change(entry, (name, TWO), (name, other), "pixels", measure))
                for other in ("alone, in blocks", "one step, in blocks")
                for measure in JUDGED
            ]
            if any(cells):
                lines.append(f"| {named(entry)} | {name} | {' | '.join(cells)} |")
    return lines


STYLES = {
    "alone": ("o", "#2e4057"),
    ONE: (">", "#d1495b"),
    TWO: ("s", "#00798c"),
    "alone, in blocks": ("x", "#8d96a3"),
}


def differences(table: Table) -> Figure:
    """Average precision of pixels of every method, alone and rescaled, a panel a model."""
    count = max(1, len(table.models))
    figure = Figure(figsize=(13, 3.6 * -(-count // 3)), layout="constrained")
    grid = figure.subplots(-(-count // 3), 3, squeeze=False, sharey=True).flatten()
    for axes, entry in zip(grid, table.models, strict=False):
        for place, called in enumerate(METHODS):
            for number, (variant, (mark, colour)) in enumerate(STYLES.items()):
                found = table.value(entry, called, variant, "pixels", "ap")
                if found is not None:
                    at = place + 0.18 * (number - 1.5)
                    axes.plot([found.low, found.high], [at, at], color=colour, linewidth=1)
                    axes.plot(found.value, at, mark, color=colour, markersize=4)
        chance = table.value(entry, "chance", "alone", "pixels", "ap")
        if chance is not None:
            axes.axvline(chance.value, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_title(named(entry), fontsize=9)
        axes.set_yticks(range(len(METHODS)), list(METHODS), fontsize=8)
        axes.set_xlim(left=0)
        axes.set_xlabel("average precision of pixels", fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0].invert_yaxis()
    for variant, (mark, colour) in STYLES.items():
        grid[0].plot([], [], mark, color=colour, label=variant)
    grid[0].plot([], [], ":", color="0.6", label="random numbers")
    grid[0].legend(frameon=False, fontsize=7)
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure


SHOWN = ("blocks of 10", "blocks of 7 x 8", "superpixels")


def parts_picture(models: Sequence[tuple[Recipe, int]], each: int = 2) -> Figure:
    """Saliency in two steps on the first clips of some models, in a frame that decides."""
    figure = Figure(
        figsize=(2.1 * (2 + len(SHOWN)), 2.25 * each * len(models)), layout="constrained"
    )
    rows = figure.subplots(each * len(models), 2 + len(SHOWN), squeeze=False)
    place = 0
    for entry, seed in models:
        model = load_pretrained(entry.name, folder_of(seed))
        for video, clip in planted(entry, model, seed, each):
            deciding = video.deciding_frames.nonzero()[0]
            frame = int(deciding[len(deciding) // 2])
            maps: dict[str, Tensor] = {}
            for called in SHOWN:
                tsr = FrameMaskingTSR(
                    Saliency(model), "two", quantile=QUANTILE, chunk_size=SEEN, **PARTS[called]
                )
                found = tsr.explain(clip, target=video.label)
                maps.setdefault("Saliency alone", found.base)
                maps[called] = found.attribution
            row = rows[place]
            row[0].imshow(video.frames[frame])
            row[0].set_ylabel(f"{entry.name}\nframe {frame}", fontsize=7)
            for axes, (said, attribution) in zip(row[1:], maps.items(), strict=True):
                norm = attribution[0].norm(dim=1)
                axes.imshow(norm[frame], vmin=0, vmax=norm.max(), cmap="magma")
                inside = float(norm[torch.from_numpy(video.region)].sum() / norm.sum())
                axes.set_xlabel(f"{inside:.0%} of the clip's sum", fontsize=7)
                if place == 0:
                    axes.set_title(said, fontsize=8)
            for axes in row:
                outlined(axes, video.region[frame])
            place += 1
    return figure


def outlined(axes: Axes, region: np.ndarray) -> None:
    """The planted region, without ticks."""
    axes.contour(region, [0.5], colors="#6fe3ff", linewidths=1.2)
    axes.set_xticks([])
    axes.set_yticks([])
