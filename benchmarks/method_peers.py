"""The methods beside Captum and five other libraries: the same numbers, and what they cost.

    pip install grad-cam time_interpret scikit-learn signal-grad-cam
    git clone https://github.com/Xavi3398/revex_framework && pip install shap decord scikit-image
    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/method_peers.py --revex revex_framework

torchvision's r3d_18, and a small 3D network that shows what a method takes beside the model, with
random weights whose outputs vary, on one clip each. Both sides are asked the same: evaluations are
counted, in clips that the network saw, and times taken in turns. What draws at random is held
against the exact Shapley values. Then a recurrent model over frames: how many frames are encoded,
and how many by the same method where it does not know that frames can be encoded one by one. Peers
that are not installed are left out, by name. Writes results/method_peers.md.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from method_peer_pairs import (
    TARGET,
    Explain,
    Pair,
    Setting,
    activations,
    drops,
    estimates,
    gradients,
    regressions,
    shapley_values,
)
from method_peers_of_layers import layers
from method_peers_of_masks import planted_masks
from method_peers_of_removal import Revex, removals, revex_in
from torch import Tensor, nn
from tqdm import tqdm
from transformer_rows import cell, clip_mean

from temporal_attr import DeletionCurve, FrameShapley, KernelSHAP, Occlusion, SlidingFrames, Tubes
from temporal_attr.attributions import VideoMethod
from temporal_attr.measures import bootstrap
from temporal_attr.models import VideoModel
from temporal_attr.zoo import build_model
from tests.helpers.families import family, vivid

RESULTS = Path(__file__).parent / "results"
PACKAGES = (
    "torch",
    "torchvision",
    "captum",
    "grad-cam",
    "signal-grad-cam",
    "time_interpret",
    "scikit-learn",
    "numpy",
)
FRAMES, SEEDS = 32, 20
"""Of the clip of the recurrent model, and of what draws at random."""


def version_of(package: str) -> str | None:
    """None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def settings() -> Iterator[Setting]:
    """The models, one at a time."""
    clip = torch.randn(1, 8, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    large, _ = family("r3d_18").build()
    yield Setting("r3d_18", large, large.model, "layer3", clip)
    torch.manual_seed(0)  # Again, as what is asked of the first model draws as well.
    small = build_model("inflated-resnet", 5, widths=(8, 16))
    vivid(small, torch.randn(8, 8, 3, 32, 32))
    yield Setting("small 3D ResNet", small, Volume(small), "model.layers.0", clip[..., :32, :32])


class Volume(nn.Module):
    """A model as grad-cam takes it: channels before time."""

    def __init__(self, model: VideoModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, volume: Tensor) -> Tensor:
        """Logits of `(batch, channel, time, height, width)`."""
        found: Tensor = self.model(volume.transpose(1, 2))
        return found


@dataclass
class Counter:
    """How many clips, or frames, have gone into a module.

    It stays on the module, as a model whose hooks have changed is tried out anew.
    """

    module: nn.Module
    seen: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.module.register_forward_pre_hook(self._count)

    def _count(self, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        self.seen += len(given[0])


def first_of(network: nn.Module, kind: type[nn.Module]) -> nn.Module:
    """The first convolution."""
    return next(part for part in network.modules() if isinstance(part, kind))


@dataclass(frozen=True)
class Taken:
    """What an explanation found, the clips or frames it took, and the median of its seconds."""

    found: Tensor
    seen: int
    seconds: float


def in_turns(explains: list[Explain], counter: Counter, rounds: int) -> list[Taken]:
    """Each so many times, one after another."""
    times: dict[int, list[float]] = {place: [] for place in range(len(explains))}
    found: dict[int, tuple[Tensor, int]] = {}
    for number in range(rounds):
        order = list(enumerate(explains))
        for place, explain in order if number % 2 == 0 else reversed(order):
            counter.seen = 0
            begin = time.process_time()
            result = explain()
            times[place].append(time.process_time() - begin)
            found[place] = result.detach(), counter.seen
    return [Taken(*found[place], statistics.median(own)) for place, own in times.items()]


def apart(found: Tensor, other: Tensor) -> float:
    """The largest difference, over the largest magnitude of the second."""
    return float((found - other).abs().max() / other.abs().max())


def agreement(pair: Pair, ours: Tensor, theirs: Tensor) -> str:
    """How far apart the two are, or each from what it estimates."""
    if not theirs.any():
        text = "theirs is 0 everywhere"
    elif pair.truth is None:
        text = f"{apart(ours, theirs):.1e}"
    else:
        text = (
            f"one draw, from the exact value: ours {apart(ours, pair.truth):.2f}, "
            f"theirs {apart(theirs, pair.truth):.2f}"
        )
    return f"{text}: {pair.why}" if pair.why else text


def pairs_of(setting: Setting, revex: Revex | None) -> Iterator[Pair]:
    """What is compared; of peers that are there."""
    yield from drops(setting)
    yield from shapley_values(setting)
    if version_of("scikit-learn"):
        yield from regressions(setting)
    if revex is not None:
        yield from removals(revex, setting)
    yield from gradients(setting)
    if version_of("grad-cam"):
        yield from activations(setting)
    if version_of("signal-grad-cam"):
        yield from layers(setting)


def peers_table(rounds: int, revex: Revex | None) -> Iterator[str]:
    """Each method beside its peer."""
    yield (
        "| model | method | peer | evaluations, ours | theirs | largest difference | "
        "seconds, ours | theirs | ours over theirs |"
    )
    yield "|---" * 9 + "|"
    for setting in settings():
        counter = Counter(first_of(setting.network, nn.Conv3d))
        for pair in tqdm(list(pairs_of(setting, revex)), setting.name, mininterval=10):
            # Once before: a model is tried out when a method first meets it.
            pair.run()
            ours, theirs = in_turns([pair.run, pair.peer_run], counter, rounds)
            yield (
                f"| {setting.name} | {pair.ours} | {pair.peer} | {ours.seen} | {theirs.seen} "
                f"| {agreement(pair, ours.found, theirs.found)} | {ours.seconds:.3g} "
                f"| {theirs.seconds:.3g} | {ours.seconds / theirs.seconds:.2f} |"
            )


def sampling_table(seeds: int) -> Iterator[str]:
    """How far estimates of Shapley values are from the exact ones, over seeds."""
    yield "| estimate | evaluations | error (95 % interval over seeds) |"
    yield "|---|---|---|"
    *_, setting = settings()
    truth = setting.exact
    counter = Counter(first_of(setting.network, nn.Conv3d))
    for name, estimate in estimates(setting).items():
        errors = []
        for seed in range(seeds):
            counter.seen = 0
            found = estimate(seed)
            errors.append(float((found - truth).square().mean().sqrt() / truth.abs().max()))
        yield f"| {name} | {counter.seen} | {cell(bootstrap(np.array(errors), clip_mean))} |"


def recurrent() -> tuple[VideoModel, Tensor]:
    """A small convolutional network and a GRU over its features."""
    torch.manual_seed(0)
    model, _ = family("gru_mean").build()
    clip = torch.randn(1, FRAMES, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    return model, clip


def of_frames(model: Callable[..., Tensor]) -> dict[str, VideoMethod]:
    """Methods that hide frames one by one, or many of them."""
    frame = (1, 16, 16)
    return {
        "Occlusion of single frames": Occlusion(model, frame, frame, 0.0),
        "SlidingFrames of single frames": SlidingFrames(model, 1),
        "DeletionCurve": DeletionCurve(model),
        "FrameShapley, 8 permutations": FrameShapley(model, n_samples=8),
        "KernelSHAP of frames, 200 coalitions": KernelSHAP(model, Tubes(FRAMES, 1, 1), 200, 0.0),
    }


def cache_table(rounds: int) -> Iterator[str]:
    """Frames that are encoded, by a method that knows of the encoder and by one that does not."""
    model, clip = recurrent()
    known, plain = of_frames(model), of_frames(model.__call__)
    yield (
        "| method | frames encoded | by the loop over clips | times fewer | largest difference "
        "| seconds | of the loop | loop over ours |"
    )
    yield "|---" * 8 + "|"
    counter = Counter(first_of(model, nn.Conv2d))
    for name in known:
        both: list[Explain] = [
            lambda one=one: one.explain(clip, TARGET).frame_scores  # type: ignore[misc]
            for one in (known[name], plain[name])
        ]
        both[0]()
        own, loop = in_turns(both, counter, rounds)
        yield (
            f"| {name} | {own.seen} | {loop.seen} | {loop.seen / own.seen:.1f} "
            f"| {apart(own.found, loop.found):.1e} | {own.seconds:.3g} | {loop.seconds:.3g} "
            f"| {loop.seconds / own.seconds:.1f} |"
        )


def page(rounds: int, revex: Revex | None) -> Iterator[str]:
    """The report."""
    versions = {name: version_of(name) for name in PACKAGES}
    versions["REVEX"] = None if revex is None else revex.commit
    told = ", ".join(f"{name} {number or 'not installed'}" for name, number in versions.items())
    yield "# Methods beside other libraries\n"
    yield (
        "`OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/method_peers.py "
        f"--rounds {rounds} --revex FOLDER`: {told}; Python {platform.python_version()}, "
        f"{torch.get_num_threads()} thread(s), {platform.machine()}, CPU.\n"
    )
    yield INTRODUCTION
    yield from peers_table(rounds, revex)
    yield f"\n## Shapley values of frames, estimated\n\n{ESTIMATED}"
    yield from sampling_table(SEEDS)
    yield f"\n## Frames that are encoded once\n\n{CACHING}"
    yield from cache_table(rounds)
    yield "\n## Masks on planted clips\n"
    yield from planted_masks(revex)


INTRODUCTION = """\
One clip of 8 frames, of 64 x 64 pixels (r3d_18) and 32 x 32 (the small network), random weights,
class 1, float32; 4 perturbed clips in a forward pass on both sides. *Evaluations* are clips that
the first convolution saw, forward; what a model is tried out on, when a method first meets it, is
not among them. *Largest difference*: over the largest magnitude of the peer's; of what draws at
random, from the exact Shapley values, over the largest of them. Seconds are of the process, the
median of rounds in which the two took turns, on a machine that had other work. grad-cam and
signal-grad-cam take gradients through the whole network, the others to the layer only. Captum's
Integrated Gradients does not ask for the prediction, and the first coalition of Lime is the clip
itself, which ours asks for besides.

REVEX and ours were shown the same videos. Its Video RISE gives each cell's mean objective where the
cell is kept, as a share of the sum of these; ours the mean's rise, from which the shares follow.
Compared is by how much each share is over an equal one, at the clip's corners, which belong to a
single cell of its masks. signal-grad-cam takes single convolutions only: the last of the layer.
"""

ESTIMATED = f"""\
The small network and its clip, frames hidden by 0, {SEEDS} seeds. Error: root of the mean square
over frames, over the largest exact value (from all 256 coalitions).
"""

CACHING = f"""\
A convolutional network and a GRU, {FRAMES} frames of 16 x 16 pixels. The loop is the same method of
a plain function, which has to show every clip as a whole.
"""


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--revex", type=Path, help="a checkout of revex_framework")
    options = parser.parse_args()
    revex = None if options.revex is None else revex_in(options.revex)
    torch.set_num_threads(1)
    lines = []
    for line in page(options.rounds, revex):
        print(line, flush=True)
        lines.append(line)
        # Line by line, as a run that is stopped has measured something.
        text = "\n".join(lines) + "\n"
        (RESULTS / "method_peers.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
