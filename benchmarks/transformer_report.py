"""The page of what transformer_relevance.py measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformer_methods import BLOCK
from transformer_ranges import MEASURES as RANGES
from transformer_rows import Place, Row, Rows, cell
from transformer_scores import DOES, LOWER, MEASURES, PER_STEP
from transformer_training import FRAMES, LEARNED, SIZE, table

MAIN = ("frames", "pixels", *(f"{name}, background" for name in DOES))
OTHERS = ("frames_by_size", "pixels_by_size", "kept", "ratio")
GREY = tuple(f"{name}, grey" for name in DOES)
PEERS = ("TemporalGradient", "gradient x input", "attention rollout")

TEXT = [
    "**The measures.** A pixel's score is the signed sum of its attribution over channels; for the "
    "gradient, whose sign says nothing for or against, the norm. A frame's score, and a tubelet's, "
    "is the sum over its pixels. AP is the average precision with which scores find what was "
    "planted: the frames that decide, and the pixels where the cue can be seen; on `motion` every "
    "frame decides. *Rank correlation*: Spearman's, over tubelets, of scores with the drop of the "
    "target's logit when a tubelet is replaced by the background, the median over time of its "
    "pixels. *Deletion* and *insertion*: area under the target's probability as tubelets give way "
    f"to the background, or come back on it, {PER_STEP} at a time, the highest scores first "
    "(deletion: less is better). *Insertion less deletion*: the area between the same two curves "
    "of the logit. *Leaving one out* is what the rank correlation asks for: an upper "
    "bound and no rival. *By size* ranks by magnitudes instead of signed sums. *Sum over logit* is "
    "1 where all relevance arrives at the pixels, and *sizes over logit* how much of it cancels: 1 "
    "is nothing.",
    "",
    "Means with 95 % intervals: models are drawn again, and clips within them (the hierarchical "
    "bootstrap of `temporal_attr.measures`). Each interval stands by itself: of comparisons in "
    "which nothing differs, one in twenty is decided by chance.",
]


def values_table(rows: Rows, places: Sequence[Place], measures: Sequence[str]) -> list[str]:
    """A line a method; measures that no method has are left out."""
    shown = [name for name in measures if any(rows.groups(places, m, name) for m in rows.methods)]
    heads = [MEASURES[name] for name in shown]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (1 + len(heads)) + "|"]
    for method in rows.methods:
        cells = [cell(rows.value(places, method, name)) for name in shown]
        if any(cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def changes_table(rows: Rows, places: Sequence[Place], peer: str) -> list[str]:
    """What every preset changes against a peer; in bold what its interval decides."""
    lines = [
        f"| less {peer} | " + " | ".join(MEASURES[name] for name in MAIN) + " |",
        "|---" * (1 + len(MAIN)) + "|",
    ]
    for method in rows.methods:
        if not method.startswith("LRP"):
            continue
        cells = []
        for name in MAIN:
            found = rows.change(places, method, peer, name)
            text = cell(found, signed=True)
            decided = found is not None and (found.low > 0 or found.high < 0)
            cells.append(f"**{text}**" if decided else text)
        if any(cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines if len(lines) > 2 else []


def winners(rows: Rows, places: Sequence[Place]) -> list[str]:
    """For each measure the best preset, and how it stands beside the peers."""
    lines = []
    for name in MAIN:
        sign = -1 if name in LOWER else 1
        found = {
            method: rows.value(places, method, name)
            for method in rows.methods
            if method.startswith("LRP")
        }
        known = {method: sign * one.value for method, one in found.items() if one is not None}
        if not known:
            continue
        best = max(known, key=lambda method: known[method])
        beside = []
        for peer in PEERS:
            change = rows.change(places, best, peer, name)
            if change is not None:
                low, high = sorted((sign * change.low, sign * change.high))
                says = "better than" if low > 0 else "worse than" if high < 0 else "undecided to"
                beside.append(f"{says} {peer} ({cell(change, signed=True)})")
        lines.append(f"- {MEASURES[name]}: {best}, {cell(found[best])}; {'; '.join(beside)}.")
    return lines


def seconds_table(rows: Rows) -> list[str]:
    """Seconds a clip of each method, with the scoring, by kind of model."""
    kinds = list(dict.fromkeys(kind for kind, _ in rows.places))
    lines = [
        "| method | " + " | ".join(f"{kind}, s a clip" for kind in kinds) + " |",
        "|---" * (1 + len(kinds)) + "|",
    ]
    for method in rows.methods:
        cells = []
        for kind in kinds:
            own = [r.seconds for r in rows.rows if (r.kind, r.method) == (kind, method)]
            cells.append(f"{sum(own) / len(own):.3f}" if own else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def ranges_table(rows: Rows) -> list[str]:
    """How far timesteps reach, by model and by what their matrices are made of."""
    heads = list(RANGES.values())
    lines = [
        "| task | model | matrix by | models | " + " | ".join(heads) + " |",
        "|---" * (4 + len(heads)) + "|",
    ]
    for kind, task in sorted(rows.places, key=lambda place: place[1]):
        for method in rows.methods:
            own = rows.of((kind, task), method)
            if own:
                cells = [cell(rows.value([(kind, task)], method, name)) for name in RANGES]
                said = f"{kind} | {method} | {len(own)}"
                lines.append(f"| {task} | {said} | {' | '.join(cells)} |")
    return lines


def ranges_part(matrices: Sequence[Row], image: str) -> list[str]:
    """The part on the temporal range."""
    if not matrices:
        return []
    return [
        "## Does a model with global attention reach farther?",
        "",
        f"Matrices of timesteps of {BLOCK[0]} frames: those of the 3D networks, which have a "
        "timestep a frame, are summed over as many. By relevance they are those of "
        "`ContrastiveLRPTemporal`; by the gradient, its norms (`TemporalGradient`'s influence), "
        "which every model has. The diagonal share is what a timestep has from its own frames; "
        "uniform reading of the clip gives "
        f"{BLOCK[0] / FRAMES:.2f}. Ranges hold 97.5 % of a row and are in frames, of {FRAMES}; the "
        "middle is that of the two timesteps in the middle. The distance is the mean one between "
        "the frames that are read and the timestep that reads them.",
        "",
        *ranges_table(Rows(matrices)),
        "",
        image,
        "",
    ]


def page(folder: Path, relevance: Sequence[Row], matrices: Sequence[Row], image: str) -> str:
    """The page as Markdown."""
    rows = Rows(relevance)
    lines = [
        "# Relevance of video transformers: what tells the truth?",
        "",
        f"`python benchmarks/transformer_relevance.py`: planted videos of {FRAMES} frames of "
        f"{SIZE} x {SIZE} pixels, transformers of two blocks whose tokens are {BLOCK[0]} frames of "
        f"{BLOCK[1]} x {BLOCK[2]}, from `benchmarks/transformer_training.py`; those that reach "
        f"{LEARNED:.0%} are looked at, and all tries are listed. Fresh clips that the model gets "
        "right, for their class.",
        "",
        *table(folder),
        "",
        *TEXT,
        "",
    ]
    if rows.rows:
        lines += ["## What wins", "", "All models and tasks together.", ""]
        lines += [*winners(rows, rows.places), "", *values_table(rows, rows.places, MAIN), ""]
        for peer in PEERS:
            lines += [*changes_table(rows, rows.places, peer), ""]
        lines += ["## By size, and what arrives", "", *values_table(rows, rows.places, OTHERS), ""]
        lines += [
            "## With grey in place of the background",
            "",
            "Grey tubelets are new to a model, and change its logit wherever they are.",
            "",
            *values_table(rows, rows.places, GREY),
            "",
        ]
        for place in rows.places:
            lines += [f"## {place[0]}, {place[1]}", "", *values_table(rows, [place], MAIN), ""]
    lines += ranges_part(matrices, image)
    if rows.rows:
        lines += ["## Time", "", "With the scoring of a clip.", "", *seconds_table(rows), ""]
    return "\n".join(lines)
