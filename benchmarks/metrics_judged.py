"""Metrics judged: do they tell an explanation that is right from one that is half right, or random?

    OMP_NUM_THREADS=1 python benchmarks/metrics_judged.py [--clips 20]

Models of five families are trained on planted key frames (as for methods_on_planted.py). Of their
clips the pixels that decide are known, and so is what a right explanation is, and how to spoil it.
Every metric of truth, faithfulness and complexity is asked of each; what is reported is how often
it puts two of them in their right order, by a test on 20 clips and on 100. Rows are kept, so that a
run that is stopped goes on. Writes results/metrics_judged.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from planted_models import FOLDER, MODELS, SEED, trained
from scipy.stats import wilcoxon
from torch import Tensor
from tsr_methods import planted

from temporal_attr.evaluation import Comparison, Example, Suite, Truth, metric_names

RESULTS = Path(__file__).parent / "results"
KEPT = FOLDER.parent / "metrics_judged"
NOISE = 1e-3
"""Of the scores, so that equal ones are told apart at random and not by their place."""
SIZES, DRAWS, SIGNIFICANCE = (20, 100), 500, 0.05
PAIRS = (
    ("right", "half right"),
    ("right", "centre"),
    ("right", "random"),
    ("half right", "random"),
    ("random", "inverted"),
)
"""The better first."""
FAMILIES = ("truth", "faithfulness", "complexity")


class Spoilt:
    """Explanations made of what is known of each clip.

    Args:
        examples: Whose truth is known.
    """

    def __init__(self, examples: Sequence[Example]) -> None:
        self._known = {self._key(one.clip): one for one in examples}

    def methods(self) -> dict[str, object]:
        """By name, functions of clip and target."""
        return {
            "right": self._made(lambda region, random: region),
            "half right": self._made(_half),
            "inverted": self._made(lambda region, random: 1 - region),
            "centre": "centre",
            "motion-energy": "motion-energy",
            "random": "random",
        }

    def _made(
        self, make: Callable[[Tensor, torch.Generator], Tensor]
    ) -> Callable[[Tensor, int], Tensor]:
        def scores(clip: Tensor, target: int) -> Tensor:
            truth = self._known[self._key(clip)].truth
            assert truth is not None
            assert truth.region is not None
            random = torch.Generator().manual_seed(int(clip.abs().sum()) % 2**31)
            found = make(truth.region.float(), random)
            return found + NOISE * torch.rand(found.shape, generator=random)

        return scores

    @staticmethod
    def _key(clip: Tensor) -> bytes:
        return clip.numpy().tobytes()


def _half(region: Tensor, random: torch.Generator) -> Tensor:
    """Half of the frames that decide, and as many pixels elsewhere, where nothing decides."""
    frames = region.flatten(1).any(1).nonzero()[:, 0]
    kept = frames[torch.randperm(len(frames), generator=random)[: max(1, len(frames) // 2)]]
    found = torch.zeros_like(region)
    found[kept] = region[kept]
    gone = [frame for frame in frames.tolist() if frame not in kept.tolist()]
    others = [frame for frame in range(len(region)) if frame not in frames.tolist()]
    for frame in gone:
        other = others[int(torch.randint(len(others), (1,), generator=random))]
        # The same shape, elsewhere in space and time.
        shift = [int(torch.randint(size, (1,), generator=random)) for size in region.shape[1:]]
        found[other] = torch.roll(region[frame], shift, (0, 1))
    return found


def measured(clips: int) -> Iterator[Comparison]:
    """What each family's clips give."""
    metrics = [one for one in metric_names().values() if one.traits.family in FAMILIES]
    for family, entry in MODELS.items():
        model, _ = trained(entry)
        examples = [
            Example(clip, video.label, Truth.of(video), video.name)
            for video, clip in planted(entry, model, SEED, clips)
        ]
        suite = Suite({family: model}, Spoilt(examples).methods(), examples, metrics)
        yield suite.run(KEPT / family.replace(" ", "-"))


def right_order(better: np.ndarray, worse: np.ndarray, size: int, seed: int = 0) -> float:
    """How often a test on so many clips, drawn with replacement, finds the better one better."""
    random = np.random.default_rng(seed)
    found = 0
    for _ in range(DRAWS):
        drawn = random.integers(0, len(better), size)
        apart = better[drawn] - worse[drawn]
        if apart.any() and apart.mean() > 0:
            found += wilcoxon(apart, alternative="greater").pvalue < SIGNIFICANCE
    return found / DRAWS


def values(comparisons: Sequence[Comparison], metric: str, method: str) -> np.ndarray:
    """Of all clips of all families."""
    return np.concatenate([np.concatenate(one.values(metric, method)) for one in comparisons])


def page(comparisons: Sequence[Comparison]) -> Iterator[str]:
    """The report."""
    clips = sum(one.table["clip"].nunique() for one in comparisons)
    yield f"""# Metrics judged

`python benchmarks/metrics_judged.py`: {clips} planted `keyframe` clips that models of five
families get right ({", ".join(MODELS)}; 92 to 99 % of fresh clips).
*Right* scores the pixels that decide 1 and all others 0. *Half right* keeps half of the frames that
decide, and puts the shapes of the others elsewhere, in frames that do not. *Inverted* is 1 less
right. All have noise of {NOISE:g} of that. *Centre* and *random* are the levels of chance of the
library. What is planted is what tells the class, and these models were trained on nothing else;
that they look at all of it, and at nothing beside it, nobody promises.

A cell says how often a one-sided Wilcoxon test on 20 (and on 100) clips, drawn again {DRAWS} times,
finds the better one better at {SIGNIFICANCE:g}. A metric that says nothing gives about 0.05 or
less.
Metrics of which neither direction is better, and those without a value on half of the clips, are
left out.
"""
    header = " | ".join(f"{better} over {worse}" for better, worse in PAIRS)
    yield f"| metric | family | right | half right | centre | random | inverted | {header} |"
    yield "|---" * (7 + len(PAIRS)) + "|"
    for known in comparisons[0].metrics:
        if known.higher_is_better is None:
            continue
        sign = 1.0 if known.higher_is_better else -1.0
        names = ("right", "half right", "centre", "random", "inverted")
        found = {name: values(comparisons, known.name, name) for name in names}
        if any(np.isnan(one).mean() > 0.5 for one in found.values()):
            continue
        means = " | ".join(f"{np.nanmean(found[name]):.3g}" for name in names)
        cells = []
        for better, worse in PAIRS:
            both = np.isfinite(found[better]) & np.isfinite(found[worse])
            pair = sign * found[better][both], sign * found[worse][both]
            powers = [right_order(*pair, size) for size in SIZES]
            text = ", ".join(f"{power:.2f}" for power in powers)
            cells.append(f"**{text}**" if powers[0] >= 0.8 else text)
        yield f"| `{known.name}` | {known.family} | {means} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=int, default=20, help="of each family")
    options = parser.parse_args()
    torch.set_num_threads(1)
    text = "\n".join(page(list(measured(options.clips)))) + "\n"
    (RESULTS / "metrics_judged.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
