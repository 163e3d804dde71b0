"""Does an LSTM's gradient forget an early cue, and does input-cell attention mend it?

    OMP_NUM_THREADS=1 python benchmarks/vanishing_saliency.py

Ismail et al. (2019) found that the saliency of an LSTM vanishes over time even where its prediction
is right, and that input-cell attention cures it. Here both are trained, from several seeds, on
planted videos whose cue stands in the first quarter; G_t is then averaged over fresh videos that
the model gets right. Writes results/vanishing_saliency.md and .png.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy import stats
from tqdm import tqdm
from train_zoo import TEST_SEED, Recipe, accuracy, train, values, videos

from temporal_attr import TemporalGradient
from temporal_attr.synthetic import Keyframe

RESULTS = Path(__file__).parent / "results"
FRAMES = 24
CELLS = ("lstm", "input-cell-attention")
OPTIONS = {"widths": (8, 16, 32), "grid": 1, "hidden": 64}
TASK = {
    "frames": FRAMES,
    "span": (0.0, 0.25),
    "moment": (3, 4),
    "classes": 2,
    "cue_size": (0.4, 0.6),
}
STEPS, TRAINING, FRESH = 400, 2000, 200


@dataclass(frozen=True)
class Outcome:
    """One trained model: its accuracy, and its mean G_t over time and at the cue."""

    cell: str
    seed: int
    accuracy: float
    profile: np.ndarray
    at_cue: float

    @property
    def ratio(self) -> float:
        """G at the cue's own frames over G in the last quarter, where nothing decides."""
        return self.at_cue / float(self.profile[-FRAMES // 4 :].mean())

    @property
    def early_to_late(self) -> float:
        """G in the first quarter over G in the last."""
        quarter = FRAMES // 4
        return float(self.profile[:quarter].mean() / self.profile[-quarter:].mean())


def outcome(cell: str, seed: int) -> Outcome:
    """Train one model, and average its frame scores."""
    torch.set_num_threads(1)
    # Every timestep is taught: with the last one alone an LSTM stays at chance here.
    recipe = Recipe("keyframe", cell, OPTIONS, TASK, size=32, rate=2e-3, each_step=1.0)
    task = recipe.make_task()
    assert isinstance(task, Keyframe)
    model = train(recipe, videos(task, TRAINING, seed), seed, STEPS)
    frames, labels = videos(task, FRESH, TEST_SEED + seed)
    right = accuracy(model, frames, labels)
    method = TemporalGradient(model)
    scores, cues = [], []
    for index in range(FRESH):
        clip = values(model, frames[index : index + 1])
        with torch.no_grad():
            known = int(model(clip).argmax()) == int(labels[index])
        if known:
            gradient = method.attribute(clip, target=int(labels[index]))
            assert isinstance(gradient, torch.Tensor)
            scores.append(gradient[0].flatten(1).norm(dim=1).numpy())
            cues.append(task.sample(index, TEST_SEED + seed).deciding_frames)
    # Every video counts the same, whatever the size of its gradient.
    shares = np.stack([score / score.mean() for score in scores])
    at_cue = float(np.mean([share[cue].mean() for share, cue in zip(shares, cues, strict=True)]))
    return Outcome(cell, seed, right, shares.mean(0), at_cue)


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Geometric mean over seeds with its 95 % interval (Student's t on the logarithm)."""
    logs = np.log(ratios)
    half = stats.t.ppf(0.975, len(logs) - 1) * stats.sem(logs)
    middle = logs.mean()
    return float(np.exp(middle)), float(np.exp(middle - half)), float(np.exp(middle + half))


def report(outcomes: list[Outcome]) -> str:
    """The table."""
    lines = [
        "# Vanishing saliency",
        "",
        "`python benchmarks/vanishing_saliency.py`: planted `keyframe` videos of "
        f"{FRAMES} frames and two classes whose cue stands for 3 or 4 frames of the first quarter; "
        "every timestep is taught, and the last one read out. G_t of the target's logit after the "
        f"last frame, on those of {FRESH} fresh videos that the model gets right. "
        "Ratios over 1 mean that the early frames, where the cue is, count more than the "
        "last quarter, where nothing decides. Geometric mean and 95 % interval over seeds.",
        "",
        "| model | seeds | accuracy | G at the cue / G in the last quarter "
        "| G in the first quarter / G in the last |",
        "|---|---|---|---|---|",
    ]
    for cell in CELLS:
        chosen = [entry for entry in outcomes if entry.cell == cell]
        right = [entry.accuracy for entry in chosen]
        cue = "{:.3g} ({:.3g} to {:.3g})".format(*interval([entry.ratio for entry in chosen]))
        quarter = "{:.3g} ({:.3g} to {:.3g})".format(
            *interval([entry.early_to_late for entry in chosen])
        )
        span = f"{min(right):.1%} to {max(right):.1%}"
        lines.append(f"| {cell} | {len(chosen)} | {span} | {cue} | {quarter} |")
    ratios = {
        cell: {entry.seed: entry.ratio for entry in outcomes if entry.cell == cell}
        for cell in CELLS
    }
    gains = [ratios[CELLS[1]][seed] / ratios[CELLS[0]][seed] for seed in ratios[CELLS[0]]]
    gain = "{:.3g} ({:.3g} to {:.3g})".format(*interval(gains))
    lines += ["", f"Input-cell attention over LSTM, ratio at the cue, seed by seed: {gain}.", ""]
    return "\n".join([*lines, "![G_t over time](vanishing_saliency.png)", ""])


def picture(outcomes: list[Outcome]) -> Figure:
    """G_t over time for each model, a line a seed."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for cell, colour in zip(CELLS, ("#d1495b", "#00798c"), strict=True):
        for number, entry in enumerate(entry for entry in outcomes if entry.cell == cell):
            label = cell if number == 0 else None
            axes.plot(entry.profile, color=colour, alpha=0.7, label=label)
    axes.axvspan(-0.5, FRAMES / 4 - 0.5, color="0.92", zorder=0)
    axes.text(0, axes.get_ylim()[1] * 0.92, "the cue stands here", fontsize=8)
    axes.set_xlabel("frame")
    axes.set_ylabel("$G_t$, share of the clip's mean")
    axes.set_xlim(-0.5, FRAMES - 0.5)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Train and measure all, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="at least 2, for an interval")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be at least 2")
    runs = list(product(CELLS, range(options.seeds)))
    with ProcessPoolExecutor(options.processes) as pool:
        done = pool.map(outcome, *zip(*runs, strict=True))
        outcomes = list(tqdm(done, "models", total=len(runs)))
    (RESULTS / "vanishing_saliency.md").write_text(report(outcomes))
    picture(outcomes).savefig(RESULTS / "vanishing_saliency.png", dpi=110)
    print(report(outcomes))


if __name__ == "__main__":
    main()
