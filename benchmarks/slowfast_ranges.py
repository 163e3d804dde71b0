"""The temporal range of SlowFast before and after merging, and which pathway its logits are from.

    OMP_NUM_THREADS=1 python benchmarks/slowfast_ranges.py

Fan et al. (2022) place the logits of the slow pathway at their fast frames, and merge the matrix in
blocks, as the slow logits are much larger than the fast ones. Here that is asked of the reference
architecture, trained on planted videos, with logits split into what each pathway adds; and the
matrices of these and of pytorchvideo's SlowFast R50 (random weights, calibrated batch norm) are
drawn. Models that are trained already are kept; writes results/slowfast_ranges.md and .png.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from pytorchvideo.models.hub import slowfast_r50
from torch import Tensor, nn
from train_zoo import TEST_SEED, Recipe, finished, values, videos, wilson, work

from temporal_attr import ContrastiveLRPTemporal, SlowFast, wrap
from temporal_attr.attributions import ContrastiveLRPTemporalResult
from temporal_attr.models import VideoModel
from temporal_attr.zoo import load_pretrained

HERE = Path(__file__).parent
FOLDER = HERE / "checkpoints" / "slowfast"
SIZE, TRAINING, FRESH = 32, 1000, 200
CLIPS = 8
"""Of each task whose range is measured."""

RECIPES = [
    Recipe("appearance", "slowfast", steps=250, size=SIZE),
    Recipe("motion", "slowfast", steps=400, size=SIZE),
]


@dataclass(frozen=True)
class Split:
    """What each pathway adds to the logits of clips.

    Attributes:
        slow: `(batch, classes)`.
        fast: `(batch, classes)`, without the bias.
        rest: `(classes,)`, the bias.
    """

    slow: Tensor
    fast: Tensor
    rest: Tensor

    def shares(self, labels: Tensor) -> Iterator[float]:
        """The slow part over both, in magnitude: of the true class, and of all that differs.

        What is the same for all classes changes no prediction, so the second is of each class less
        the mean over classes.
        """
        index = labels[:, None]
        yield _share(self.slow.gather(1, index), self.fast.gather(1, index))
        yield _share(*(part - part.mean(1, keepdim=True) for part in (self.slow, self.fast)))

    def accuracies(self, labels: Tensor) -> Iterator[float]:
        """Of both pathways, of the slow alone, and of the fast alone, with the bias."""
        for part in (self.slow + self.fast, self.slow, self.fast):
            yield ((part + self.rest).argmax(1) == labels).float().mean().item()


def _share(slow: Tensor, fast: Tensor) -> float:
    sums = slow.abs().sum(), fast.abs().sum()
    return (sums[0] / (sums[0] + sums[1])).item()


@torch.no_grad()
def split(model: VideoModel, classifier: nn.Linear, slow: int, clips: Tensor) -> Split:
    """The logits of clips by pathway; the first `slow` features are those of the slow one."""
    parts = []
    for some in clips.split(16):
        mean = model.features(some).mean(1)
        both = (mean[:, :slow], mean[:, slow:])
        weights = classifier.weight.split([slow, mean.shape[1] - slow], 1)
        parts.append([one @ weight.T for one, weight in zip(both, weights, strict=True)])
    of_slow, of_fast = (torch.cat(one) for one in zip(*parts, strict=True))
    return Split(of_slow, of_fast, classifier.bias)


@dataclass(frozen=True)
class Ranges:
    """The matrix of one model, timestep by timestep and merged.

    Attributes:
        name: Of the model.
        before: Of all timesteps.
        after: In blocks of alpha timesteps.
        alpha: Fast frames for each slow one.
        slow_frames: Which frames are slow.
    """

    name: str
    before: ContrastiveLRPTemporalResult
    after: ContrastiveLRPTemporalResult
    alpha: int
    slow_frames: list[int]

    def row(self) -> str:
        """As a row of the table; ranges after merging also in frames."""
        before, after = self.before.avg_atr.nanmean(), self.after.avg_atr.nanmean()
        steps = self.before.matrix.shape[1]
        slow = torch.zeros(steps, dtype=torch.bool)
        slow[self.slow_frames] = True
        logits = self.before.step_logits.abs().mean(0)
        ratio = logits[slow].mean() / logits[~slow].mean()
        read = self.before.matrix.sum((0, 1))
        return (
            f"| {self.name} | {steps} | {before:.2f} | {steps // self.alpha} | {after:.2f} "
            f"| {after * self.alpha:.1f} | {ratio:.1f} | {read[slow].sum() / read.sum():.2f} "
            f"({len(self.slow_frames) / steps:.2f}) | {self.before.row_error.max():.0e} |"
        )


def ranges(
    name: str, model: VideoModel, clips: Tensor, labels: Tensor, slow_frames: list[int]
) -> Ranges:
    """Contrastive relevance for the true class, before merging and after."""
    method, alpha = ContrastiveLRPTemporal(model), model.merged_steps
    after = method.explain(clips, labels)
    model.merged_steps = 1
    before = method.explain(clips, labels)
    model.merged_steps = alpha
    return Ranges(name, before, after, alpha, slow_frames)


def calibrated_r50(clips: Tensor) -> SlowFast:
    """SlowFast R50 with random weights, and the statistics of these clips in batch norm.

    Its pooling is one over all, so that clips of any size fit.
    """
    torch.manual_seed(0)
    network = slowfast_r50(pretrained=False, head_pool=nn.AdaptiveAvgPool3d)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.momentum = None
        elif isinstance(part, nn.Dropout):
            part.p = 0.0
    model = wrap(network)
    assert isinstance(model, SlowFast)
    slow, fast = model.pathways(clips)
    with torch.no_grad():
        network.train()
        network([slow.transpose(1, 2), fast.transpose(1, 2)])
    network.eval()
    model.eval()
    return model


def r50_ranges(size: int) -> tuple[Ranges, Split]:
    """Of two videos of a moving pattern, for the top classes of a network that knows nothing."""
    task = Recipe("motion", "slowfast", size=size, task_options={"frames": 32}).make_task()
    frames, _ = videos(task, 4, TEST_SEED)
    normal = (frames.float() / 255 - 0.45) / 0.225
    model = calibrated_r50(normal)
    clips = normal[:1]
    with torch.no_grad():
        top = model(clips).argmax(1)
    head: nn.Linear = model.get_submodule("model.blocks.6.proj")  # type: ignore[assignment]
    found = ranges("SlowFast R50, random", model, clips, top, model.slow_frames(32).tolist())
    return found, split(model, head, 2048, clips)


def trained(recipe: Recipe, options: argparse.Namespace) -> tuple[Ranges, str]:
    """One trained model: its ranges, and its row in the table of pathways."""
    if not finished(recipe, FOLDER, options):
        work(recipe, FOLDER, options)
    model = load_pretrained(recipe.name, FOLDER)
    frames, labels = videos(recipe.make_task(), FRESH, TEST_SEED)
    clips = values(model, frames)
    classifier: nn.Linear = model.get_submodule("classifier")  # type: ignore[assignment]
    width = round(classifier.in_features / (1 + 0.25))
    parts = split(model, classifier, width, clips)
    of_true, of_differences = parts.shares(labels)
    found = [
        f"{share:.1%} ({low:.1%} to {high:.1%})"
        for share in parts.accuracies(labels)
        for low, high in [wilson(share, FRESH)]
    ]
    row = f"| {recipe.name} | {of_true:.2f} | {of_differences:.2f} | {' | '.join(found)} |"
    slow = list(range(0, clips.shape[1], model.merged_steps))
    right = model(clips).argmax(1) == labels
    chosen = right.nonzero().flatten()[:CLIPS]
    return ranges(recipe.name, model, clips[chosen], labels[chosen], slow), row


def picture(found: list[Ranges]) -> Figure:
    """Each matrix, its rows over their sums: before merging above, and after below."""
    figure = Figure(figsize=(3.4 * len(found), 6.8), layout="constrained")
    axes = figure.subplots(2, len(found), squeeze=False)
    for column, one in enumerate(found):
        for place, result in enumerate((one.before, one.after)):
            matrix = result.matrix.mean(0)
            shares = matrix / matrix.sum(1, keepdim=True)
            axis = axes[place, column]
            image = axis.imshow(shares.numpy(), cmap="magma", vmin=0)
            figure.colorbar(image, ax=axis, shrink=0.8, label="share of the row")
            for numbered in (axis.xaxis, axis.yaxis):
                numbered.set_major_locator(MaxNLocator(integer=True))
            axis.set_xlabel("frame read" if place == 0 else f"block of {one.alpha} frames read")
            axis.set_ylabel("predicting timestep" if place == 0 else "predicting block")
            if place == 0:
                axis.set_title(one.name, fontsize=10)
                axis.xaxis.remove_overlapping_locs = False
                axis.set_xticks(one.slow_frames, minor=True)
                axis.tick_params(axis="x", which="minor", color="tab:red", length=6)
    figure.suptitle(
        "Relevance of each timestep: all (above; slow frames ticked red), merged (below)"
    )
    return figure


def page(found: list[Ranges], rows: list[str], random: Split, size: int) -> str:
    """The page of results."""
    *_, of_random = random.shares(torch.zeros(len(random.slow), dtype=torch.long))
    lines = [
        "# SlowFast: ranges before and after merging, and its two pathways",
        "",
        f"`python benchmarks/slowfast_ranges.py`: the reference architecture `slowfast` (alpha 4, "
        f"beta 1/4), trained on {TRAINING} planted videos of 16 frames of {SIZE} x {SIZE} pixels "
        f"from one seed, {FRESH} fresh videos; and pytorchvideo's SlowFast R50 with random "
        f"weights and calibrated batch norm, on one planted video of 32 frames of {size} x {size} "
        "(its pooling replaced by one of any size).",
        "",
        "A logit is the sum of what the slow and the fast features add and a bias. Slow features "
        "have read the fast pathway too, through the lateral convolutions. Shares are the slow "
        "part over both, in magnitude: of the true class's logits, and of each class less the "
        "mean over classes, which is what a prediction depends on. Accuracies are those of both "
        "parts, and of one without the other, with 95 % intervals (Wilson).",
        "",
        "| model | slow share, true class | slow share, between classes | both | slow part alone "
        "| fast part alone |",
        "|---|---|---|---|---|---|",
        *rows,
        f"| SlowFast R50, random | | {of_random:.2f} | | | |",
        "",
        f"Contrastive relevance for the true class (R50: the top one); means over {CLIPS} clips "
        "that are classified right (R50: one). The ratio is that of timesteps' logits at slow "
        "frames to those at others, in magnitude: a slow logit counts alpha times at its frame. "
        "Read at slow frames is the share of all "
        "relevance before merging that lies on slow frames, with their share of the frames.",
        "",
        "| model | timesteps | avg-ATR before | blocks | avg-ATR after | in frames | logits, slow "
        "frames over others | read at slow frames | row error |",
        "|---|---|---|---|---|---|---|---|---|",
        *(one.row() for one in found),
        "",
        "![Matrices before and after merging](slowfast_ranges.png)",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Train what is missing, measure, and write the page and its picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=64, help="pixels a side of R50's clip")
    size = parser.parse_args().size
    options = argparse.Namespace(seed=0, videos=TRAINING, fresh=FRESH, steps=None)
    models = [trained(recipe, options) for recipe in RECIPES]
    random, parts = r50_ranges(size)
    found = [*(one for one, _ in models), random]
    results = HERE / "results"
    picture(found).savefig(results / "slowfast_ranges.png", dpi=110)
    (results / "slowfast_ranges.md").write_text(
        page(found, [row for _, row in models], parts, size)
    )


if __name__ == "__main__":
    main()
