"""Memory and speed of `TemporalGradient`, path by path.

    python benchmarks/gradient.py > benchmarks/results/gradient.md

Peak memory is what the call itself adds to the process: its high-water mark, reset before the
call, less what was resident then; each number comes from a process of its own. Times are medians
over rounds in which all contenders take turns. Linux only.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import captum
import torch
import torchvision
from captum.attr import Saliency
from torch import Tensor, nn

from temporal_attr import FrameRecurrent, TemporalGradient, VideoModel, wrap
from temporal_attr.gradients import Memory

SIZE = 112
CHUNK = 16
MEGABYTE = 1024**2

Contender: TypeAlias = Memory | Literal["captum", "floor"]


def cnn_lstm() -> VideoModel:
    """resnet18 without its classifier, LSTM(256), and a classifier of 10."""
    encoder = torchvision.models.resnet18()
    encoder.fc = nn.Identity()
    lstm = nn.LSTM(512, 256, batch_first=True)
    return FrameRecurrent(encoder, lstm, nn.Linear(256, 10)).eval()


def r3d() -> VideoModel:
    """Torchvision's r3d_18."""
    return wrap(torchvision.models.video.r3d_18().eval())


MODELS: dict[str, Callable[[], VideoModel]] = {"cnn_lstm": cnn_lstm, "r3d_18": r3d}


def contender(name: Contender, model: VideoModel) -> Callable[[Tensor], Tensor]:
    """A function from a clip to its gradient: a path of ours, Captum, or plain PyTorch."""
    if name == "captum":
        method = Saliency(model)
        return lambda clip: method.attribute(clip, target=1, abs=False)
    if name == "floor":
        return lambda clip: plain_gradient(model, clip)
    return lambda clip: TemporalGradient(model, memory=name, chunk_size=CHUNK).attribute(
        clip, target=1
    )


def plain_gradient(model: nn.Module, clip: Tensor) -> Tensor:
    """One forward and one backward pass: no gradient method can do with less."""
    leaf = clip.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, 1].sum(), leaf)[0]


def resident(field: str) -> float:
    """A line of this process's memory status, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure_peak(model_name: str, name: Contender, frames: int) -> float:
    """What one call adds to this process at its peak, in MB."""
    torch.manual_seed(0)
    model = MODELS[model_name]()
    run = contender(name, model)
    run(torch.randn(1, 8, 3, SIZE, SIZE))  # libraries load and threads start once
    clip = torch.randn(1, frames, 3, SIZE, SIZE)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    run(clip)
    return resident("VmHWM") - before


def peak(model_name: str, name: Contender, frames: int) -> float:
    """`measure_peak` in a process of its own, the median of three.

    There, memory that is freed goes back to the system at once, so that what the process holds is
    what is in use.
    """
    command = [sys.executable, __file__, "--peak", model_name, name, str(frames)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    runs = [
        subprocess.run(command, capture_output=True, check=True, env=environment) for _ in range(3)
    ]
    return statistics.median(float(run.stdout) for run in runs)


def seconds(
    model_name: str, names: list[Contender], frames: int, rounds: int
) -> dict[Contender, float]:
    """Median seconds of each contender, taking turns."""
    torch.manual_seed(0)
    model = MODELS[model_name]()
    clip = torch.randn(1, frames, 3, SIZE, SIZE)
    runs = {name: contender(name, model) for name in names}
    times: dict[Contender, list[float]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run(clip)
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def memory_table(model_name: str, names: list[Contender], lengths: list[int]) -> None:
    """Print peak memory by path and number of frames."""
    print(f"\n## Peak memory, {model_name}, clips of T x 3 x {SIZE} x {SIZE} (MB)\n")
    print(
        "| path | " + " | ".join(f"T = {t}" for t in lengths) + " | last / first | without result |"
    )
    print("|---" * (len(lengths) + 3) + "|")
    # The gradient is as large as the clip, and whoever returns it must hold it.
    result = [3 * SIZE * SIZE * 4 / MEGABYTE * frames for frames in lengths]
    for name in names:
        values = [peak(model_name, name, frames) for frames in lengths]
        cells = " | ".join(f"{value:.0f}" for value in values)
        ratio = values[-1] / values[0]
        without = (values[-1] - result[-1]) / (values[0] - result[0])
        print(f"| {name} | {cells} | {ratio:.2f} | {without:.2f} |", flush=True)
    cells = " | ".join(f"{value:.0f}" for value in result)
    print(f"| (the result itself) | {cells} | {result[-1] / result[0]:.2f} | |")


def speed_table(model_name: str, names: list[Contender], frames: int, rounds: int) -> None:
    """Print seconds and the ratio to the floor."""
    print(f"\n## Speed, {model_name}, T = {frames} (median of {rounds})\n")
    print("| path | seconds | of the floor |\n|---|---|---|")
    times = seconds(model_name, names, frames, rounds)
    for name, value in times.items():
        print(f"| {name} | {value:.2f} | {value / times['floor']:.2f} |", flush=True)


def main() -> None:
    """Print all tables, or measure one peak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peak", nargs=3, metavar=("MODEL", "PATH", "FRAMES"))
    options = parser.parse_args()
    torch.set_num_threads(2)
    if options.peak:
        model_name, name, frames = options.peak
        print(measure_peak(model_name, name, int(frames)))
        return
    print("# TemporalGradient: memory and speed\n")
    print("Command: `python benchmarks/gradient.py > benchmarks/results/gradient.md`\n")
    print(
        f"torch {torch.__version__}, captum {captum.__version__}, 2 threads, {platform.machine()}. "
        "`floor` is one forward and one backward pass in plain PyTorch; `captum` is "
        f"`Saliency(abs=False)`. Framewise: {CHUNK} frames at a time."
    )
    memory_table("cnn_lstm", ["framewise", "whole", "captum"], [16, 64, 256])
    memory_table("r3d_18", ["checkpoint", "whole", "captum"], [16, 32, 64])
    speed_table("cnn_lstm", ["floor", "captum", "whole", "framewise"], frames=32, rounds=7)
    speed_table("r3d_18", ["floor", "captum", "whole", "checkpoint"], frames=16, rounds=7)


if __name__ == "__main__":
    main()
