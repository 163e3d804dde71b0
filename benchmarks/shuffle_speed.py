"""Speed and memory of ShuffleProbe, beside a plain loop, its floor and Captum.

    python benchmarks/shuffle_speed.py

The loop is what a user would write: one plain gradient of the bare model for the clip in order and
for each shuffled clip. Captum's is the same loop with `Saliency`. The floor of a framewise model is
one forward pass of the encoder and a backward pass for each order; where the orders give a frame
one and the same gradient (late fusion), ours has fewer. Other models have no faster path than the
loop, which is their floor. All take turns in one process; numbers are medians over rounds. Memory
is the high-water mark of a process of its own, less what was resident before. Writes
results/shuffle_speed.md. Linux only.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from captum.attr import Saliency
from gradient import resident
from relevance import TARGET, calibrate, peaks, seconds
from torch import Tensor, nn
from tqdm import tqdm

from temporal_attr import FrameRecurrent, LateFusion, ShuffleProbe, VideoModel, wrap
from temporal_attr.clips import FullShuffle, draw_orders
from temporal_attr.models import FramewiseModel
from temporal_attr.zoo import build_model

RESULTS = Path(__file__).parent / "results"
SHUFFLES = 20
FRAMES, SIZE = 16, 112


def encoder() -> nn.Module:
    """resnet18 without its classifier."""
    network: nn.Module = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network


def cnn_lstm() -> VideoModel:
    """resnet18 and an LSTM of 256 units."""
    return FrameRecurrent(
        encoder(), nn.LSTM(512, 256, batch_first=True), nn.Linear(256, 8), readout="mean"
    )


def late_fusion() -> VideoModel:
    """resnet18, averaged over time."""
    return LateFusion(encoder(), nn.Linear(512, 8))


def r3d() -> VideoModel:
    """r3d_18, which sees clips only."""
    return wrap(torchvision.models.video.r3d_18())


@dataclass(frozen=True)
class Setting:
    """A model, and what we promise of it against the loop."""

    build: Callable[[], VideoModel]
    promise: float


SETTINGS = {
    "resnet18 + LSTM(256)": Setting(cnn_lstm, 1.6),
    "resnet18, late fusion": Setting(late_fusion, 1.6),
    "r3d_18": Setting(r3d, 1.0),
    "zoo inflated-resnet": Setting(lambda: build_model("inflated-resnet", classes=8), 1.0),
}


def model_and_clip(name: str) -> tuple[VideoModel, Tensor]:
    """A model whose outputs vary, and a clip."""
    torch.manual_seed(0)
    model = SETTINGS[name].build()
    clip = torch.randn(1, FRAMES, 3, SIZE, SIZE)
    calibrate(model, clip)
    return model, clip


def all_orders(shuffles: int = SHUFFLES) -> Tensor:
    """The natural order, and those that the probe draws."""
    return torch.cat([torch.arange(FRAMES)[None], draw_orders(FullShuffle(), FRAMES, shuffles)])


def loop(model: VideoModel, clip: Tensor) -> Tensor:
    """A plain gradient for each order; ratios `(shuffles, time)`."""
    scores = []
    for order in all_orders():
        leaf = clip[:, order].requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[0, TARGET], leaf)
        scores.append(torch.zeros(FRAMES).scatter(0, order, gradient[0].flatten(1).norm(dim=1)))
    found = torch.stack(scores)
    return found[1:] / found[0]


def captum_loop(model: VideoModel, clip: Tensor) -> Tensor:
    """The same with Captum's Saliency."""
    method = Saliency(model)
    scores = []
    for order in all_orders():
        given = clip[:, order].requires_grad_()
        gradient = method.attribute(given, target=TARGET, abs=False)
        scores.append(torch.zeros(FRAMES).scatter(0, order, gradient[0].flatten(1).norm(dim=1)))
    found = torch.stack(scores)
    return found[1:] / found[0]


def floor(model: FramewiseModel, clip: Tensor) -> None:
    """One forward pass of the encoder, and a backward pass for each order."""
    leaf = clip[0].clone().requires_grad_()
    encoded = model.encode(leaf)
    vectors = torch.randn(SHUFFLES + 1, *encoded.shape)
    for vector in vectors:
        torch.autograd.grad(encoded, leaf, vector, retain_graph=True)


def ours(model: VideoModel, clip: Tensor, shuffles: int = SHUFFLES) -> Tensor:
    """The probe's frame ratios."""
    found = ShuffleProbe(model, shuffles).attribute(clip, target=TARGET)
    assert isinstance(found, Tensor)
    return found


def time_setting(name: str, rounds: int) -> str:
    """One line of the table; the numbers of ours and of the loop must agree."""
    model, clip = model_and_clip(name)
    error = (ours(model, clip)[0] - loop(model, clip).quantile(0.5, dim=0)).abs().max().item()
    contenders: dict[str, Callable[[], object]] = {
        "ours": lambda: ours(model, clip),
        "loop": lambda: loop(model, clip),
        "captum": lambda: captum_loop(model, clip),
    }
    if isinstance(model, FramewiseModel):
        contenders["floor"] = lambda: floor(model, clip)
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in tqdm(range(rounds), name):
        for key, call in contenders.items():
            times[key].append(seconds(call))
    times.setdefault("floor", times["loop"])
    cells = [f"{statistics.median(times[key]):.2f}" for key in ("floor", "ours", "loop", "captum")]
    for over, under in (("ours", "floor"), ("loop", "ours"), ("captum", "ours")):
        ratios = [a / b for a, b in zip(times[over], times[under], strict=True)]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"| {name} | {' | '.join(cells)} | {SETTINGS[name].promise} | {error:.0e} |"


def measure_peak(name: str, shuffles: int) -> float:
    """What a run adds to this process at its peak, in MB."""
    model, clip = model_and_clip(name)
    # What is set up once; small, since freed memory would be used again and not be seen.
    ours(model, clip[..., :32, :32].contiguous(), 2)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    ours(model, clip, shuffles)
    return resident("VmHWM") - before


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peak", nargs=2, metavar=("SETTING", "SHUFFLES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(measure_peak(options.peak[0], int(options.peak[1])))
        return
    lines = [
        "# ShuffleProbe: speed and memory",
        "",
        f"`python benchmarks/shuffle_speed.py`: torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}; one clip of {FRAMES} frames of "
        f"{SIZE} x {SIZE} pixels, {SHUFFLES} shuffles; medians of {options.rounds} rounds, all "
        "taking turns, and in brackets the range over rounds. Seconds: the floor is one forward "
        "pass of the frame encoder and a backward pass for each order (3D networks: the loop); the "
        "loop is a plain gradient for each order; Captum's is `Saliency` in the same loop. The "
        "error is that of the frame ratios against the loop's.",
        "",
        "| model | floor | ours | loop | Captum | ours / floor | loop / ours | Captum / ours "
        "| promised | error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [time_setting(name, options.rounds) for name in SETTINGS]
    counts = ["5", "20", "80", "320"]
    lines += [
        "",
        "Peak memory added by the call, in MB, by the number of shuffles:",
        "",
        "| model | " + " | ".join(counts) + " |",
        "|---|" + "---|" * len(counts),
    ]
    lines += [peaks(__file__, name, counts) for name in SETTINGS if name != "r3d_18"]
    lines += [peaks(__file__, "r3d_18", counts[:2]) + " | |"]
    (RESULTS / "shuffle_speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
