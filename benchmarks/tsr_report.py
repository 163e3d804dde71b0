"""The page of what tsr.py measured: tables, and sentences made from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from temporal_range import SIZE, folder_of
from train_zoo import Recipe
from tsr_findings import findings
from tsr_methods import BLOCK, METHODS, PARTS, QUANTILE, planted
from tsr_table import (
    EVERY,
    JUDGED,
    LABELS,
    ONE,
    TIME,
    TWO,
    TWO_STEPS,
    Level,
    Table,
    cell,
    has_frames,
    named,
    order_of,
)

from temporal_attr.zoo import load_pretrained, pretrained_card


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
                            label = f"{name} on {named(entry)} ({change.found.value:+.3f})"
                            found[change.verdict].append(label)
                if not any(found.values()):
                    continue
                numbers = " | ".join(str(len(own)) for own in found.values())
                # AUR is no grade.
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
                        label = "none" if variant == "alone" else variant
                        lines.append(f"| {name} | {label} | {' | '.join(cells)} |")
            lines.append("")
    return lines


def settings_table(table: Table) -> list[str]:
    """Saliency's other first steps, and the scaling of the authors' code."""
    rows = {
        "has the frame before as its baseline, one step": ("one step, neighbour", ONE),
        "has the clip's mean colour as its baseline, one step": ("one step, mean", ONE),
        "masks 4 frames at once, one step": ("one step, 4 frames", ONE),
        "both steps scaled to [0, 1]": ("two steps, scaled", TWO),
    }
    lines = [
        "| model | Saliency that | frames, AUPR | frames, AP | pixels, AUPR | pixels, AP |",
        "|---" * 6 + "|",
    ]
    for entry in table.models:
        for label, (first, second) in rows.items():
            cells = [
                cell(table.change(entry, ("Saliency", first), ("Saliency", second), level, measure))
                for level in ("frames", "pixels")
                for measure in JUDGED
            ]
            if any(cells):
                lines.append(f"| {named(entry)} | {label} | {' | '.join(cells)} |")
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
    pairs = (
        ("superpixels", "blocks of 7 x 8"),
        ("superpixels", "blocks of 10"),
        ("superpixels", "Saliency"),
        ("blocks of 10", "Saliency"),
    )
    lines = ["| model | difference | AUP | AUPR | AUR, ranked | AP |", "|---" * 6 + "|"]
    for entry in table.models:
        if not any(table.of(entry, "superpixels")):
            continue
        for one, other in pairs:
            label = " less ".join(_with_count(table, entry, name) for name in (one, other))
            cells = [
                cell(table.change(entry, (one, TWO), (other, TWO), "pixels", measure))
                for measure in ("aup", "aupr", "ranked_aur", "ap")
            ]
            if any(cells):
                lines.append(f"| {named(entry)} | {label} | {' | '.join(cells)} |")
    return lines


def _with_count(table: Table, entry: Recipe, called: str) -> str:
    """Parts of a frame, and how many of them a frame has on average."""
    name = f"blocks of {BLOCK[0]}" if called == "Saliency" else called
    own = list(table.of(entry, called))
    if not own:
        return name
    frames = entry.make_task().sample(0, 0).frames.shape[0]
    # Of distinct scores, those at or above a quantile between two of them.
    kept = frames - int(np.ceil(QUANTILE * (frames - 1)))
    masks = np.mean([one.evaluations - 2 for one in own])
    return f"{name} ({(masks - frames) / kept:.1f} a frame)"


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
        "weighted by the time relevance of its frame. In two steps it is the change without a "
        "block of "
        f"{BLOCK[0]} x {BLOCK[1]} pixels of a frame, times that weight, in the "
        f"{1 - QUANTILE:.0%} of frames that weigh most (as in the authors' code). The "
        "baseline is 0 in input values, a mid-grey. IntegratedGradients takes 10 steps from 0; "
        "GradientShap 5 samples and noise of 0.1; Occlusion masks quarters of two frames; "
        "FeatureAblation and ShapleyValueSampling (3 orders) mask whole frames, so they say "
        "nothing of where in a frame. Means over seeds with 95 % intervals (seeds drawn again, and "
        "clips within them; with so few seeds such intervals are rather too narrow). Each interval "
        "stands by itself: of comparisons in which nothing differs, one in twenty is decided by "
        "chance.",
        "",
        *models_table(table),
        "",
        f"Left out, as they learned less than is asked for: {'; '.join(left_out) or 'none'}.",
        *(["", f"Not measured yet: {'; '.join(missing)}."] if missing else []),
        "",
        *MEASURES_TEXT,
        "",
        "## Where TSR helps, and where not",
        "",
        *findings(table),
        "",
        *counts(table),
        "",
        *blocks_table(table),
        "",
        *verdict_tables(table),
        "## Blocks or superpixels",
        "",
        "Saliency in two steps, with the mean number of parts that a frame has. SLIC does not give "
        "as many superpixels as are asked for; blocks at the edge are smaller where they do not "
        f"divide the {SIZE} pixels. The picture shows the parts on the first clips of each model.",
        "",
        *parts_table(table),
        "",
        *parts_changes(table),
        "",
        "![Planted clips, with blocks and with superpixels](tsr_parts.png)",
        "",
        "## Other settings of Saliency",
        "",
        "Each less the usual setting (0 as the baseline, one frame at a time, nothing scaled).",
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


MEASURES_TEXT = [
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
    "features have scores, recall is d, and AUR is 0.5 again. So what takes scores away from wrong "
    "frames can lower AUR where it raises AUP. The ranked AUR has no such fault. On "
    "`appearance` every frame decides, precision of frames is 1 whatever the scores, and only "
    "pixels are judged.",
]


def blocks_table(table: Table) -> list[str]:
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
