"""Speed and memory of the relevance matrix on video transformers, beside its floor.

    python benchmarks/transformer_speed.py

The floor of a matrix with N rows is one forward pass and N plain input gradients, one a row. Both
take turns in one process; numbers are medians over rounds. Memory is the high-water mark of a
process of its own, less what was resident before. Random weights; the default rules for attention
(`composites.transformer()`). Writes results/transformer_speed.md. Linux only.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from gradient import resident

from temporal_attr import ContrastiveLRPTemporal, VideoModel, wrap
from temporal_attr.relevance import Box, composites

RESULTS = Path(__file__).parent / "results"
TARGET = 1
RULES = replace(composites.transformer(), input=Box(low=-3.0, high=3.0))


def videomae_base() -> VideoModel:
    """VideoMAE-base as transformers has it: 12 blocks of 768 features, 1568 tokens."""
    import transformers  # noqa: PLC0415 - an extra, and slow to import

    config = transformers.VideoMAEConfig(num_frames=16, image_size=224)
    config.num_labels = 400
    network = transformers.VideoMAEForVideoClassification(config)
    network.train(False)
    return wrap(network)


SETTINGS: dict[str, tuple[Callable[[], VideoModel], tuple[int, ...]]] = {
    "VideoMAE-base, 16 x 224 x 224": (videomae_base, (1, 16, 3, 224, 224)),
    "swin3d_t, 16 x 112 x 112": (
        lambda: wrap(torchvision.models.video.swin3d_t().eval()),
        (1, 16, 3, 112, 112),
    ),
}


def built(name: str) -> tuple[VideoModel, torch.Tensor]:
    """A model, whose parameters ask for no gradient, and a clip."""
    torch.manual_seed(0)
    build, shape = SETTINGS[name]
    model = build()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model, torch.randn(shape).clamp(-3, 3)


def floor(model: VideoModel, clip: torch.Tensor) -> int:
    """One forward pass and a plain input gradient for each row; the number of rows."""
    leaf = clip.clone().requires_grad_()
    logits = model.frame_logits(leaf).logits[0, :, TARGET]
    for row in range(len(logits)):
        torch.autograd.grad(logits[row], leaf, retain_graph=True)
    return len(logits)


def ours(model: VideoModel, clip: torch.Tensor) -> int:
    """The matrix; the number of its rows."""
    method = ContrastiveLRPTemporal(model, RULES, rows_per_backward=1)
    matrix = method.attribute(clip, TARGET)
    return len(matrix[0])


CALLS = {"floor": floor, "ours": ours}


def timed(name: str, rounds: int) -> tuple[int, dict[str, list[float]]]:
    """Rows, and the seconds of each call in each round."""
    model, clip = built(name)
    # What a model is tried on before its first explanation is no part of the next ones.
    ours(model, clip)
    seconds: dict[str, list[float]] = {call: [] for call in CALLS}
    rows = 0
    for _ in range(rounds):
        for call, function in CALLS.items():
            begin = time.perf_counter()
            rows = function(model, clip)
            seconds[call].append(time.perf_counter() - begin)
    return rows, seconds


def memory(name: str, call: str) -> float:
    """MB that a call adds to a process of its own."""
    command = [sys.executable, __file__, "--memory", name, call]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return float(found.split()[-1])


def print_memory(name: str, call: str) -> None:
    """The same, in that process."""
    model, clip = built(name)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    CALLS[call](model, clip)
    print(resident("VmHWM") - before)


def row(name: str, rounds: int) -> str:
    """A row of the table."""
    rows, seconds = timed(name, rounds)
    ratios = [one / other for one, other in zip(seconds["ours"], seconds["floor"], strict=True)]
    middle = {call: statistics.median(found) for call, found in seconds.items()}
    peaks = {call: memory(name, call) for call in CALLS}
    return (
        f"| {name} | {rows} | {middle['floor']:.1f} | {middle['ours']:.1f} | "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
        f"{peaks['floor']:.0f} | {peaks['ours']:.0f} |"
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", nargs=2, metavar=("MODEL", "CALL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print_memory(*options.memory)
        return
    lines = [
        "# The relevance matrix of video transformers: speed and memory",
        "",
        f"`python benchmarks/transformer_speed.py`: torch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}; medians of {options.rounds} "
        "rounds, taking turns, and in brackets the range over rounds. Seconds for one clip: the "
        "floor is one forward pass and a plain input gradient for each of the N rows; ours is "
        "`ContrastiveLRPTemporal` by `composites.transformer()`, row by row. Memory is what a call "
        "adds to a process of its own, in MB: a plain gradient goes through fused attention and "
        "never holds the attention weights, which relevance needs.",
        "",
        "| model | N | floor | ours | ours / floor | memory of the floor | memory of ours |",
        "|---|---|---|---|---|---|---|",
        *(row(name, options.rounds) for name in SETTINGS),
    ]
    text = "\n".join(lines) + "\n"
    (RESULTS / "transformer_speed.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
