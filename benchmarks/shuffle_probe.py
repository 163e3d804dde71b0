"""Does a shuffled clip tell models that use motion from models that use appearance?

    OMP_NUM_THREADS=1 python benchmarks/shuffle_probe.py

3D networks are trained from ten seeds on planted videos: `mixed`, where shape and direction tell
the class as often as their reliabilities say, and on the two tasks `appearance` and `motion`. What
a `mixed` model uses is known from its predictions for clips whose shape and direction are evidence
of different classes. It is then measured how well every number of `ShuffleProbe` tells the models
apart, and the curve over block lengths is drawn for models that were trained on `order` with events
at distances of 2, 4 and 8 frames. Models that are trained already are kept, and what was measured
of them; writes results/shuffle_probe.md and .png.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from temporal_range import (
    DISTANCES,
    ENSEMBLES,
    LEARNED,
    SIZE,
    folder_of,
    interval,
    recipe,
    train_all,
)
from torch import Tensor
from tqdm import tqdm
from train_zoo import TEST_SEED, Recipe, values

from temporal_attr import ShuffleProbe
from temporal_attr.clips import BlockShuffle, LocalShuffle, Shuffling
from temporal_attr.measures import SHUFFLE_MEASURES
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import Mixed, PlantedVideo, Task
from temporal_attr.zoo import load_pretrained, pretrained_card

HERE = Path(__file__).parent
CLIPS, CURVE_CLIPS, SHUFFLES = 32, 12, 20
RELIABILITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
LENGTHS = (1, 2, 3, 4, 5, 6, 8)
RADII = (1, 2, 3, 4, 6, 8, 12)
ORDER_SEEDS = 5
"""Seeds of the models on `order`, which come from temporal_range.py."""


def mixed(motion: float) -> Recipe:
    """A model for which direction tells the class so often, and shape the more the less it does."""
    appearance = min(1.0, 1.25 - motion)
    return recipe(
        "inflated-resnet",
        f"motion-{motion:g}",
        {},
        "mixed",
        motion_reliability=motion,
        appearance_reliability=appearance,
    )


MIXED = [mixed(reliability) for reliability in RELIABILITIES]
LOOKS = recipe("inflated-resnet", "all", {}, "appearance", classes=8)
FOLLOWS = ENSEMBLES[0]
"""The pair: one 3D network on `appearance`, one on `motion`, with eight classes each."""

# Cues that are independent of each other, so that they disagree in most clips.
CONFLICT = Mixed(size=SIZE, appearance_reliability=0.25, motion_reliability=0.25)

EXPECTED = {
    "mrr": -1,
    "median_log_ratio": 1,
    "rising_share": -1,
    "logit_drop": 1,
    "probability_drop": 1,
    "rank_correlation": -1,
    "flow_correlation_drop": 1,
    "static_ratio": -1,
}
"""Which way each number should go in a model that uses motion; RD is MRR upside down."""

LABELS = {
    **{name: SHUFFLE_MEASURES[name].label for name in EXPECTED if name in SHUFFLE_MEASURES},
    "static_ratio": "static ratio",
}


@dataclass(frozen=True)
class Outcome:
    """What was measured of one model: numbers of each clip, and how often it follows each cue.

    Attributes:
        follows: By cue, the share of clips with conflicting cues in which the prediction is the
            class that the cue is evidence of; empty where the task has one cue.
    """

    name: str
    seed: int
    accuracy: float
    follows: dict[str, float]
    numbers: dict[str, tuple[float, ...]]


def drawn(task: Task, count: int, seed: int) -> tuple[list[PlantedVideo], Tensor]:
    """Videos, and their bytes `(video, time, channel, height, width)`."""
    shown = [task.sample(index, seed) for index in range(count)]
    return shown, torch.from_numpy(np.stack([v.frames for v in shown])).permute(0, 1, 4, 2, 3)


def outcome(entry: Recipe, seed: int) -> Outcome:
    """Measure one model, or read what was measured before."""
    kept = folder_of(seed) / f"{entry.name}-shuffle-probe-{CLIPS}x{SHUFFLES}.json"
    if kept.is_file():
        return Outcome(**json.loads(kept.read_text()))
    torch.set_num_threads(1)
    model = load_pretrained(entry.name, folder_of(seed))
    task = CONFLICT if entry.task == "mixed" else entry.make_task()
    _, frames = drawn(task, CLIPS, TEST_SEED + 77 + seed)
    clips = values(model, frames)
    with torch.no_grad():
        predicted = model(clips).argmax(1)
    found: dict[str, list[float]] = {name: [] for name in EXPECTED}
    for clip, target in zip(clips.split(1), predicted, strict=True):
        result = ShuffleProbe(model, SHUFFLES).explain(clip, target=int(target))
        for name in EXPECTED:
            found[name].append(getattr(result, name).item())
    measured = Outcome(
        name=entry.name,
        seed=seed,
        accuracy=pretrained_card(entry.name, folder_of(seed)).accuracy,
        follows=followed(model, seed) if entry.task == "mixed" else {},
        numbers={name: tuple(numbers) for name, numbers in found.items()},
    )
    kept.write_text(json.dumps(asdict(measured)) + "\n")
    return measured


@torch.no_grad()
def followed(model: VideoModel, seed: int, count: int = 200) -> dict[str, float]:
    """How often a model's prediction is the class of each cue, where the cues disagree."""
    shown, frames = drawn(CONFLICT, count, TEST_SEED + 78 + seed)
    predicted = torch.cat([model(values(model, part)) for part in frames.split(32)]).argmax(1)
    apart = [
        (video.cues, int(says))
        for video, says in zip(shown, predicted, strict=True)
        if video.cues["appearance"] != video.cues["motion"]
    ]
    return {
        cue: float(np.mean([cues[cue] == says for cues, says in apart]))
        for cue in ("appearance", "motion")
    }


Curves = dict[str, dict[str, list[list[float]]]]
"""By kind and by measure: for each clip, a number for each length."""


def curves(entry: Recipe, seed: int) -> Curves:
    """The curves over block lengths and radii of one model on `order`."""
    kept = folder_of(seed) / f"{entry.name}-shuffle-curve-{CURVE_CLIPS}x{SHUFFLES}.json"
    if not kept.is_file():
        torch.set_num_threads(1)
        model = load_pretrained(entry.name, folder_of(seed))
        _, frames = drawn(entry.make_task(), CURVE_CLIPS, TEST_SEED + 77 + seed)
        clips = values(model, frames)
        found: Curves = {}
        kinds: dict[str, list[Shuffling]] = {
            "block length": [BlockShuffle(n) for n in LENGTHS],
            "radius": [LocalShuffle(n) for n in RADII],
        }
        for kind, shufflings in kinds.items():
            found[kind] = {name: [] for name in ("mrr", "median_log_ratio", "probability_drop")}
            for clip in clips.split(1):
                with torch.no_grad():
                    target = int(model(clip).argmax())
                curve = ShuffleProbe(model, SHUFFLES).curve(clip, target, shufflings=shufflings)
                for name, numbers in found[kind].items():
                    numbers.append(curve.values[name][0].tolist())
        kept.write_text(json.dumps(found) + "\n")
    loaded: Curves = json.loads(kept.read_text())
    return loaded


def auc(motion: Sequence[float], appearance: Sequence[float], sign: int) -> float:
    """The chance that a motion model's number lies on the expected side of an appearance model's.

    Ties count half; NaN is left out.
    """
    high, low = (np.asarray(side)[np.isfinite(side)] * sign for side in (motion, appearance))
    if not len(high) or not len(low):
        return float("nan")
    return float(stats.mannwhitneyu(high, low).statistic / (len(high) * len(low)))


Groups = Callable[[Outcome], bool | None]
"""True for a motion model, False for an appearance model, None for neither."""


def separations(
    outcomes: Sequence[Outcome], group: Groups, measure: str, by_clip: bool
) -> tuple[float, float, float]:
    """The AUC of a measure with its 95 % interval: seeds drawn again, with all of their models."""
    seeds = sorted({one.seed for one in outcomes})
    of_seed = {
        seed: [
            [
                number
                for one in outcomes
                if one.seed == seed and group(one) is side
                for number in numbers_of(one, measure, by_clip)
            ]
            for side in (True, False)
        ]
        for seed in seeds
    }

    def of(drawn_seeds: Sequence[int]) -> float:
        sides = [[x for seed in drawn_seeds for x in of_seed[seed][side]] for side in (0, 1)]
        return auc(sides[0], sides[1], EXPECTED[measure])

    random = np.random.default_rng(0)
    again = [of(random.choice(seeds, len(seeds)).tolist()) for _ in range(1000)]
    low, high = np.nanpercentile(again, [2.5, 97.5])
    return of(seeds), float(low), float(high)


def numbers_of(one: Outcome, measure: str, by_clip: bool) -> list[float]:
    """The numbers of each clip, or their mean."""
    numbers = list(one.numbers[measure])
    return numbers if by_clip else [float(np.nanmean(numbers))]


def by_pair(one: Outcome) -> bool | None:
    """Which of the two tasks a model was trained on."""
    return {FOLLOWS.name: True, LOOKS.name: False}.get(one.name)


def by_predictions(one: Outcome) -> bool | None:
    """Which cue a mixed model follows where they disagree."""
    return one.follows["motion"] > one.follows["appearance"] if one.follows else None


def rank_with_use(outcomes: Sequence[Outcome], measure: str) -> str:
    """Spearman's correlation over mixed models of a measure with how often they follow the motion.

    One for each seed, over its five models; the mean over seeds with its interval.
    """
    found = []
    for seed in sorted({one.seed for one in outcomes}):
        own = [one for one in outcomes if one.seed == seed and one.follows]
        use = [one.follows["motion"] for one in own]
        numbers = [numbers_of(one, measure, by_clip=False)[0] for one in own]
        found.append(EXPECTED[measure] * float(stats.spearmanr(use, numbers).statistic))
    return str(interval(found))


def separation_table(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each measure: how well it separates pairs and mixed models."""
    lines = [
        "| measure | pair, one clip | pair, mean of a model | mixed, one clip "
        "| mixed, mean of a model | mixed, rank with the use of motion |",
        "|---|---|---|---|---|---|",
    ]
    for measure in EXPECTED:
        cells = [
            "{:.2f} ({:.2f} to {:.2f})".format(*separations(outcomes, group, measure, by_clip))
            for group, by_clip in product((by_pair, by_predictions), (True, False))
        ]
        cells.append(rank_with_use(outcomes, measure))
        lines.append(f"| {LABELS[measure]} | " + " | ".join(cells) + " |")
    return lines


def model_table(outcomes: Sequence[Outcome]) -> list[str]:
    """A line for each kind of model: accuracy, what it follows, and the measures."""
    shown = ("mrr", "median_log_ratio", "rising_share", "probability_drop", "rank_correlation")
    lines = [
        "| model | seeds | accuracy | follows shape | follows direction | "
        + " | ".join(LABELS[name] for name in shown)
        + " |",
        "|---" * (5 + len(shown)) + "|",
    ]
    for entry in (LOOKS, FOLLOWS, *MIXED):
        own = [one for one in outcomes if one.name == entry.name]
        cue = [
            f"{np.mean([one.follows[name] for one in own]):.0%}" if own[0].follows else ""
            for name in ("appearance", "motion")
        ]
        accuracy = f"{np.mean([one.accuracy for one in own]):.1%}"
        numbers = [
            str(interval([numbers_of(one, name, by_clip=False)[0] for one in own]))
            for name in shown
        ]
        cells = " | ".join([entry.name, str(len(own)), accuracy, *cue, *numbers])
        lines.append(f"| {cells} |")
    return lines


def learned(entry: Recipe, seed: int) -> bool:
    """Whether a model of temporal_range.py learned its task."""
    return pretrained_card(entry.name, folder_of(seed)).accuracy >= LEARNED


def crossing(lengths: Sequence[int], curve: Sequence[float], full: float) -> float:
    """Where a curve first crosses half of what shuffling all frames does.

    On the straight line between two lengths; NaN if it does not, or if it starts beyond and ends
    beyond.
    """
    for (low, before), (high, after) in pairwise(zip(lengths, curve, strict=True)):
        if (before - full / 2) * (after - full / 2) <= 0 and before != after:
            return low + (full / 2 - before) / (after - before) * (high - low)
    return float("nan")


def curve_table(found: Mapping[str, list[Curves]], kind: str, lengths: Sequence[int]) -> list[str]:
    """Means over seeds of the probability's drop, and where each curve is half-way."""
    lines = [
        f"| distance | seeds | {' | '.join(f'{kind} {n}' for n in lengths)} | half-way at |",
        "|---" * (3 + len(lengths)) + "|",
    ]
    for name, of_seeds in found.items():
        means = [np.mean(one[kind]["probability_drop"], 0).tolist() for one in of_seeds]
        cells = [str(interval([mean[i] for mean in means])) for i in range(len(lengths))]
        # Blocks of one frame are a full shuffle, whatever the kind of the curve.
        full = [np.mean(one["block length"]["probability_drop"], 0)[0] for one in of_seeds]
        at = [crossing(lengths, *pair) for pair in zip(means, full, strict=True)]
        known = [place for place in at if np.isfinite(place)]
        where = f"{np.median(known):.1f} (median of {len(known)})" if known else "nowhere"
        lines.append(f"| {name} | {len(of_seeds)} | {' | '.join(cells)} | {where} |")
    return lines


def report(outcomes: Sequence[Outcome], found: Mapping[str, list[Curves]]) -> str:
    """The page."""
    seeds = len({one.seed for one in outcomes})
    lines = [
        "# Does a shuffled clip tell models that use motion from models that use appearance?",
        "",
        "`OMP_NUM_THREADS=1 python benchmarks/shuffle_probe.py`: 3D networks of "
        f"{SIZE} x {SIZE} pixels and 16 frames, {seeds} seeds each; {CLIPS} fresh clips a model, "
        f"{SHUFFLES} orders a clip, for the predicted class. Mixed models see clips whose shape "
        "and direction are drawn independently of each other. Means over seeds with 95 % intervals "
        "(Student's t).",
        "",
        *model_table(outcomes),
        "",
        "The area under the curve (AUC) of telling a model that uses motion from one that uses "
        "appearance: 0.5 is chance, below it the measure points the other way. For the pair they "
        "are the models trained on `motion` and on `appearance`; of the mixed models those that "
        "follow the direction, or the shape, where both disagree. From one clip, or the mean over "
        f"{CLIPS} clips of a model. Intervals: seeds drawn again, 1000 times (one without width "
        "says that no seeds overlap, not that none could). Last, for each seed, "
        "Spearman's correlation over the five mixed models with how often they follow the "
        "direction (its sign turned so that 1 is as expected).",
        "",
        *separation_table(outcomes),
        "",
        "## At which range does order matter?",
        "",
        "Models trained on `order`, where two events at one place decide by which comes first, so "
        f"many frames apart. Mean drop of the target's probability over {CURVE_CLIPS} fresh clips "
        "a model when blocks of so many frames are shuffled, and when frames move by so many "
        "places at most; last, where the curve crosses half of what a full shuffle does, in as "
        "many seeds as it does. Two blocks of 8 frames have one other order, which exchanges the "
        "halves of the clip, and with them two events that are 8 frames apart: there every "
        "prediction is turned around.",
        "",
        *curve_table(found, "block length", LENGTHS),
        "",
        *curve_table(found, "radius", RADII),
        "",
        "![Measures by model, and curves by distance](shuffle_probe.png)",
        "",
    ]
    return "\n".join(lines)


def picture(outcomes: Sequence[Outcome], found: Mapping[str, list[Curves]]) -> Figure:
    """A dot a model for three measures, and the curves of the order models."""
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    upper, lower = figure.subfigures(2, 1, squeeze=False)[:, 0]
    shown = ("mrr", "median_log_ratio", "probability_drop", "rank_correlation")
    entries = (LOOKS, FOLLOWS, *MIXED)
    for axes, measure in zip(upper.subplots(1, len(shown), sharey=True), shown, strict=True):
        for place, entry in enumerate(entries):
            own = [numbers_of(o, measure, False)[0] for o in outcomes if o.name == entry.name]
            axes.plot(own, [place] * len(own), "o", color="#d1495b", alpha=0.6, markersize=4)
        axes.set_xlabel(LABELS[measure], fontsize=8)
        axes.set_yticks(range(len(entries)), [entry.name for entry in entries], fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    for axes, (kind, lengths) in zip(
        lower.subplots(1, 2), (("block length", LENGTHS), ("radius", RADII)), strict=True
    ):
        for number, (name, of_seeds) in enumerate(found.items()):
            for line, one in enumerate(of_seeds):
                label = f"distance {name}" if line == 0 else None
                mean = np.mean(one[kind]["probability_drop"], 0)
                axes.plot(lengths, mean, "o-", color=f"C{number}", alpha=0.6, label=label)
        axes.set_xlabel(f"{kind} (frames)")
        axes.set_ylabel("drop of the probability")
        axes.set_xticks(lengths)
        axes.legend(frameon=False, fontsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Train and measure what is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=10, help="at least 2, for an interval")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2")
    entries = [*MIXED, LOOKS, FOLLOWS]
    train_all(entries, options.seeds, options.processes)
    order_seeds = range(min(ORDER_SEEDS, options.seeds))
    train_all(DISTANCES, len(order_seeds), options.processes)
    runs = list(product(entries, range(options.seeds)))
    order_runs = [run for run in product(DISTANCES, order_seeds) if learned(*run)]
    with ProcessPoolExecutor(options.processes) as pool:
        done = pool.map(outcome, *zip(*runs, strict=True))
        outcomes = list(tqdm(done, "measured", total=len(runs)))
        drawn_curves = pool.map(curves, *zip(*order_runs, strict=True))
        of_runs = list(tqdm(drawn_curves, "curves", total=len(order_runs)))
    found: dict[str, list[Curves]] = {}
    for (entry, _), one in zip(order_runs, of_runs, strict=True):
        found.setdefault(str(entry.task_options["distance"]), []).append(one)
    page = report(outcomes, found)
    (HERE / "results" / "shuffle_probe.md").write_text(page, encoding="utf-8")
    picture(outcomes, found).savefig(HERE / "results" / "shuffle_probe.png", dpi=110)
    print(page)


if __name__ == "__main__":
    main()
