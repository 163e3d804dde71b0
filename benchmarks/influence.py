"""Time of the influence matrix, beside its floor and beside the gradient alone.

    python benchmarks/influence.py --save before.json   # with an earlier version installed
    python benchmarks/influence.py --before before.json

The floor is a backward pass of bare autograd for each timestep, through the graph of the whole
clip: what the definition says, and what was computed before there were Jacobians of frames. A
sample of its rows is timed, and every row of the sample is compared with ours. Times are of the
processor, on one thread, since other processes may run beside this one. Random weights. Writes
results/influence.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from temporal_attr import FrameRecurrent, TemporalGradient, TemporalGradientResult, VideoModel
from temporal_attr.models import FramewiseModel
from temporal_attr.zoo import build_model

RESULTS = Path(__file__).parent / "results"
TARGET, SAMPLE = 1, 4
"""The class that is explained, and rows of the floor that are timed."""


def resnet_lstm() -> VideoModel:
    """ResNet-18 on each frame, and an LSTM over its 512 features."""
    network = torchvision.models.resnet18()
    network.fc = nn.Identity()
    memory = nn.LSTM(512, 256, batch_first=True)
    return FrameRecurrent(network, memory, nn.Linear(256, 5), "mean")


@dataclass(frozen=True)
class Setting:
    """A model, and a clip `(frames, height, width)`."""

    build: Callable[[], VideoModel]
    shape: tuple[int, int, int]


SETTINGS = {
    "CNN + LSTM, 64 features": Setting(lambda: build_model("lstm", classes=5), (100, 32, 32)),
    "ResNet-18 + LSTM, 512 features": Setting(resnet_lstm, (40, 32, 32)),
    "CNN + transformer, 64 features": Setting(
        lambda: build_model("temporal-transformer", classes=5, frames=100), (100, 32, 32)
    ),
    "late fusion": Setting(
        lambda: build_model("late-fusion", classes=5, pooling="mean"), (100, 32, 32)
    ),
    "3D ResNet, not framewise": Setting(
        lambda: build_model("inflated-resnet", classes=5), (16, 32, 32)
    ),
}


@dataclass(frozen=True)
class Row:
    """Seconds of the processor, and what the run said."""

    gradient: float
    floor: float
    whole: float
    framewise: float | None
    passes: float
    path: str
    apart: float


def processor_seconds(
    work: Callable[[], TemporalGradientResult],
) -> tuple[TemporalGradientResult, float]:
    """What was found, and how long that took the processor."""
    start = time.process_time()
    found = work()
    return found, time.process_time() - start


def bare_rows(model: VideoModel, clip: Tensor, rows: list[int]) -> tuple[Tensor, float, float]:
    """Some rows by bare autograd, seconds of a forward pass, and of a row."""
    leaf = clip.clone().requires_grad_()
    start = time.process_time()
    logits = model.frame_logits(leaf).logits[0, :, TARGET]
    forward = time.process_time() - start
    found = []
    start = time.process_time()
    for row in rows:
        (gradient,) = torch.autograd.grad(logits[row], leaf, retain_graph=True)
        found.append(gradient[0].square().sum((1, 2, 3)).sqrt())
    return torch.stack(found), forward, (time.process_time() - start) / len(rows)


def measured(setting: Setting) -> Row:
    """One row of the table."""
    torch.manual_seed(0)
    model = setting.build().eval()
    frames, height, width = setting.shape
    clip = torch.randn(1, frames, 3, height, width)
    method = TemporalGradient(model)
    method.explain(clip[:, :4], TARGET)  # a model is tried once, which is no part of a run
    gradient = processor_seconds(lambda: method.explain(clip, TARGET, influence=False))[1]
    result, whole = processor_seconds(lambda: method.explain(clip, TARGET))
    assert result.influence is not None
    steps = result.influence.shape[1]
    rows = torch.linspace(0, steps - 1, min(SAMPLE, steps)).long().tolist()
    expected, forward, each = bare_rows(model, clip, rows)
    framewise: float | None = None
    if isinstance(model, FramewiseModel):
        by_frame = TemporalGradient(model, memory="framewise")
        framewise = processor_seconds(lambda: by_frame.explain(clip, TARGET))[1]
    apart = (result.influence[0, rows] - expected).abs().max() / expected.max()
    passes = result.run.backward_passes or 0.0
    floor = forward + each * steps
    return Row(gradient, floor, whole, framewise, passes, result.run.path, float(apart))


def table(rows: dict[str, Row], before: dict[str, Row]) -> str:
    """The table in Markdown."""
    lines = [
        "# Time of the influence matrix",
        "",
        "Seconds of the processor on one thread, for the gradient and the influence of all",
        "timesteps (`memory='auto'`, or the framewise path). The floor is one forward pass and a",
        "backward pass of bare autograd for each",
        f"timestep, of which {SAMPLE} are timed. Written by `benchmarks/influence.py`.",
        "",
        "| model | T, H, W | gradient alone | floor | before | now | now / floor | now / gradient "
        "| before / now | framewise path: before | now | passes back | path "
        "| largest difference from the floor's rows |",
        f"|{'---|' * 14}",
    ]
    for name, row in rows.items():
        shape = ", ".join(map(str, SETTINGS[name].shape))
        old = before.get(name)
        was = _seconds(None if old is None else old.whole)
        gain = "" if old is None else f"{old.whole / row.whole:.1f}"
        lines.append(
            f"| {name} | {shape} | {row.gradient:.2f} | {row.floor:.2f} | {was} | {row.whole:.2f} "
            f"| {row.whole / row.floor:.2f} | {row.whole / row.gradient:.0f} | {gain} "
            f"| {_seconds(None if old is None else old.framewise)} | {_seconds(row.framewise)} "
            f"| {row.passes:.4g} | {row.path} | {row.apart:.0e} |"
        )
    machine = f"{platform.machine()}, torch {torch.__version__}, Python {platform.python_version()}"
    return "\n".join([*lines, "", machine, ""])


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def main() -> None:
    """Measure, and save the numbers or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--save", type=Path, help="write the numbers, for --before")
    parser.add_argument("--before", type=Path, help="numbers of an earlier version")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    for name, setting in SETTINGS.items():
        rows[name] = measured(setting)
        print(name, rows[name], flush=True)
    if given.save is not None:
        given.save.write_text(json.dumps({name: asdict(row) for name, row in rows.items()}))
        return
    numbers = {} if given.before is None else json.loads(given.before.read_text())
    before = {name: Row(**row) for name, row in numbers.items()}
    (RESULTS / "influence.md").write_text(table(rows, before))


if __name__ == "__main__":
    main()
