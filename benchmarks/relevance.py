"""Speed and memory of the relevance matrix, beside its floor and zennit.

    python benchmarks/relevance.py

The floor of an N x N matrix is one forward pass and N plain input gradients, one a row: what is
propagated from each timestep needs as much. The peer is what a user would build from zennit's
rules: for each row one call for R and one for R', each a forward and a backward pass under the
composite, with the last layer's weights negated for R'. It is timed on some of its calls. All take
turns in one process; numbers are medians over rounds. Memory is the high-water mark of a process of
its own, less what was resident before. Writes results/relevance.md. Linux only.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from gradient import resident
from torch import Tensor, nn
from tqdm import tqdm
from zennit.composites import SpecialFirstLayerMapComposite
from zennit.rules import Norm, Pass, ZBox, ZPlus
from zennit.types import Activation, AvgPool, BatchNorm, Convolution, Linear

from temporal_attr import ContrastiveLRPTemporal, VideoModel, wrap
from temporal_attr.relevance import Box, Composite
from temporal_attr.zoo import build_model

RESULTS = Path(__file__).parent / "results"
TARGET = 1
LOW, HIGH = -2.5, 2.5


@dataclass(frozen=True)
class Setting:
    """A model, its clip, and the module whose weights are negated for R'."""

    build: Callable[[], VideoModel]
    shape: tuple[int, ...]
    last: str


SETTINGS = {
    "r3d_18, 64 x 112 x 112": Setting(
        lambda: wrap(torchvision.models.video.r3d_18()), (1, 64, 3, 112, 112), "model.fc"
    ),
    "mc3_18, 16 x 112 x 112": Setting(
        lambda: wrap(torchvision.models.video.mc3_18()), (1, 16, 3, 112, 112), "model.fc"
    ),
    "zoo inflated-resnet, 16 x 48 x 48": Setting(
        lambda: build_model("inflated-resnet", classes=8), (1, 16, 3, 48, 48), "classifier"
    ),
}


def model_and_clip(setting: Setting) -> tuple[VideoModel, Tensor]:
    """The model with batch-norm statistics of its inputs, so that its outputs vary, and a clip."""
    torch.manual_seed(0)
    model = setting.build()
    clip = torch.rand(setting.shape) * (HIGH - LOW) + LOW
    calibrate(model, clip[:, :16])
    return model, clip


def calibrate(model: VideoModel, clip: Tensor) -> None:
    """Give batch norm the statistics of a clip, and leave the model ready to be explained."""
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = None
    with torch.no_grad():
        model(clip)
    model.eval().requires_grad_(False)


def plain_gradients(model: VideoModel, clip: Tensor) -> Tensor:
    """The floor: one forward pass, and the gradient of each timestep's logit."""
    leaf = clip.clone().requires_grad_()
    logits = model.frame_logits(leaf).logits[0, :, TARGET]
    rows = [torch.autograd.grad(row, leaf, retain_graph=True)[0] for row in logits]
    return torch.stack(rows)


def ours(rows_per_backward: int | None) -> Callable[[VideoModel, Tensor], Tensor]:
    """The contrastive matrix."""
    composite = Composite(input=Box(low=LOW, high=HIGH))

    def matrix(model: VideoModel, clip: Tensor) -> Tensor:
        method = ContrastiveLRPTemporal(model, composite, rows_per_backward=rows_per_backward)
        found = method.attribute(clip, target=TARGET)
        assert isinstance(found, Tensor)
        return found

    return matrix


def zennit_rows(model: VideoModel, clip: Tensor, last: str, rows: range) -> None:
    """Some rows of the matrix by zennit: two calls a row, forward and backward."""
    rules = [(Activation, Pass()), (BatchNorm, Pass()), (AvgPool, Norm()), (Convolution, ZPlus())]
    composite = SpecialFirstLayerMapComposite(
        layer_map=[*rules, (Linear, ZPlus())], first_map=[(Convolution, ZBox(LOW, HIGH))]
    )
    weight = model.get_submodule(last).weight
    assert isinstance(weight, Tensor)
    for row in rows:
        relevance = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.mul_(sign)
            leaf = clip.clone().requires_grad_()
            with composite.context(model):
                logits = model.frame_logits(leaf).logits
                start = torch.zeros_like(logits)
                start[0, row, TARGET] = sign * logits[0, row, TARGET].detach()
                relevance.append(torch.autograd.grad(logits, leaf, start)[0])
            with torch.no_grad():
                weight.mul_(sign)
        (relevance[0] - relevance[1]).clamp(min=0).sum((0, 2, 3, 4))


def seconds(call: Callable[[], object]) -> float:
    """Wall-clock time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def time_setting(name: str, rounds: int, sampled: int) -> str:
    """One line of the table."""
    setting = SETTINGS[name]
    model, clip = model_and_clip(setting)
    with torch.no_grad():
        steps = model.frame_logits(clip).logits.shape[1]
    contenders: dict[str, Callable[[], object]] = {
        "floor": lambda: plain_gradients(model, clip),
        "ours": lambda: ours(None)(model, clip),
        "one by one": lambda: ours(1)(model, clip),
        "zennit": lambda: zennit_rows(model, clip, setting.last, range(sampled)),
    }
    times: dict[str, list[float]] = {key: [] for key in contenders}
    for _ in tqdm(range(rounds), name):
        for key, call in contenders.items():
            times[key].append(seconds(call))
    middle = {key: statistics.median(entries) for key, entries in times.items()}
    middle["zennit"] *= steps / sampled
    to_floor = [a / b for a, b in zip(times["ours"], times["floor"], strict=True)]
    to_zennit = [
        b * steps / sampled / a for a, b in zip(times["ours"], times["zennit"], strict=True)
    ]
    return (
        f"| {name} | {steps} | {middle['floor']:.2f} | {middle['ours']:.2f} "
        f"| {middle['one by one']:.2f} | {middle['zennit']:.1f} "
        f"| {statistics.median(to_floor):.2f} ({min(to_floor):.2f} to {max(to_floor):.2f}) "
        f"| {statistics.median(to_zennit):.1f} ({min(to_zennit):.1f} to {max(to_zennit):.1f}) |"
    )


def measure_peak(name: str, chunk: str) -> float:
    """What one matrix adds to this process at its peak, in MB."""
    model, clip = model_and_clip(SETTINGS[name])
    call = plain_gradients if chunk == "floor" else ours(int(chunk))
    # What is set up once; small, since freed memory would be used again and not be seen.
    call(model, clip[:, :8, :, :16, :16].contiguous())
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    call(model, clip)
    return resident("VmHWM") - before


def peaks(script: str, name: str, settings: list[str]) -> str:
    """One line of a table of memory, each number from a process of its own."""
    found = []
    for setting in settings:
        arguments = [sys.executable, script, "--peak", name, setting]
        done = subprocess.run(arguments, check=True, capture_output=True, text=True)
        found.append(f"{float(done.stdout):.0f}")
    return f"| {name} | " + " | ".join(found) + " |"


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sampled", type=int, default=1, help="rows timed with zennit")
    parser.add_argument("--peak", nargs=2, metavar=("SETTING", "CHUNK"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(measure_peak(*options.peak))
        return
    chunks = ["floor", "1", "4", "16"]
    lines = [
        "# The relevance matrix: speed and memory",
        "",
        f"`python benchmarks/relevance.py`: torch {torch.__version__}, {torch.get_num_threads()} "
        f"threads, {platform.machine()}; medians of {options.rounds} rounds, all taking turns, and "
        "in brackets the range over rounds. Seconds for one clip: the floor is one forward pass "
        "and a plain input gradient for each of the N rows; ours is `ContrastiveLRPTemporal`, as "
        "many rows at a time as it chooses, and one by one; zennit is what a user would build of "
        f"its rules, two calls a row, timed on {options.sampled} row(s) and multiplied.",
        "",
        "| model | N | floor | ours | ours, one by one | zennit | ours / floor | zennit / ours |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [time_setting(name, options.rounds, options.sampled) for name in SETTINGS]
    lines += [
        "",
        "Peak memory added by the call, in MB, by rows at a time:",
        "",
        "| model | " + " | ".join(chunks) + " |",
        "|---|" + "---|" * len(chunks),
    ]
    lines += [peaks(__file__, name, chunks) for name in SETTINGS]
    (RESULTS / "relevance.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
