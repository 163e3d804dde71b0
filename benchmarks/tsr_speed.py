"""Speed of FrameMaskingTSR, beside the loop that it replaces, and its floor.

    python benchmarks/tsr_speed.py

The loop makes one call of Captum's `Saliency` for each masked clip and asks for the logits of those
without a frame, as ours does. It takes up to an hour, so a sample of its calls is timed, half of
them before ours and half after, and the time of all is worked out from their mean. Ours is run
whole. The floor of a framewise model is one forward and one backward pass of the encoder for each
masked frame, in batches of 16, of which a sample is timed in the same way; other models have no
cheaper path than the loop, and are their own floor. Every Delta of the sample is compared with
ours. Writes results/tsr_speed.md. Linux only.
"""

from __future__ import annotations

import argparse
import copy
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from captum.attr import Saliency
from gradient import resident
from relevance import TARGET, calibrate, peaks
from shuffle_speed import cnn_lstm, late_fusion
from torch import Tensor
from tqdm import tqdm

from temporal_attr import Blocks, FrameMaskingTSR, FrameMaskingTSRResult, VideoModel, wrap
from temporal_attr.models import FramewiseModel
from temporal_attr.zoo import build_model

RESULTS = Path(__file__).parent / "results"
SAMPLE, CHUNK = 24, 16
"""Calls of the loop that are timed, and frames of the floor's batches."""


@dataclass(frozen=True)
class Setting:
    """A model, a clip, and what is asked of it."""

    build: Callable[[], VideoModel]
    shape: tuple[int, int, int]
    block: tuple[int, int]
    quantile: float | None = None


def r3d() -> VideoModel:
    """r3d_18, which sees clips only."""
    return wrap(torchvision.models.video.r3d_18())


ISSUE = ((30, 120, 160), (10, 10))
SETTINGS = {
    "resnet18 + LSTM(256), all frames": Setting(cnn_lstm, *ISSUE),
    "resnet18 + LSTM(256), quantile 0.55": Setting(cnn_lstm, *ISSUE, 0.55),
    "resnet18, late fusion, all frames": Setting(late_fusion, (16, 112, 112), (16, 16)),
    "zoo lstm, all frames": Setting(lambda: build_model("lstm", classes=8), (16, 48, 48), (4, 4)),
    "zoo inflated-resnet, all frames": Setting(
        lambda: build_model("inflated-resnet", classes=8), (16, 48, 48), (8, 8)
    ),
    "r3d_18, quantile 0.55": Setting(r3d, (16, 112, 112), (56, 56), 0.55),
}


def prepared(setting: Setting) -> tuple[VideoModel, Tensor]:
    """A model whose outputs vary, and a clip."""
    torch.manual_seed(0)
    model = setting.build()
    frames, height, width = setting.shape
    clip = torch.randn(1, frames, 3, height, width)
    calibrate(model, clip)
    return model, clip


def method_of(model: VideoModel, setting: Setting) -> FrameMaskingTSR:
    """The gradient with its sign, rescaled in two steps."""
    return FrameMaskingTSR(
        Saliency(model),
        "two",
        Blocks(*setting.block),
        quantile=setting.quantile,
        method_arguments={"abs": False},
    )


class Loop:
    """What the loop does, a few calls at a time."""

    def __init__(self, model: VideoModel, clip: Tensor, block: tuple[int, int]) -> None:
        self.model, self.clip, self.block = model, clip, block
        self.method = Saliency(model)
        self.base = self.attribution(clip)
        self.seconds: list[float] = []
        self.found: dict[tuple[int, int, int], float] = {}

    def attribution(self, clip: Tensor) -> Tensor:
        """One call of Captum's method."""
        given = clip.clone().requires_grad_()
        found: Tensor = self.method.attribute(given, target=TARGET, abs=False)
        return found

    def masked(self, place: tuple[int, int, int]) -> Tensor:
        """The clip with one block of a frame masked."""
        frame, row, column = place
        shown = self.clip.clone()
        high, wide = self.block
        shown[0, frame, :, row : row + high, column : column + wide] = 0
        return shown

    def call(self, place: tuple[int, int, int]) -> None:
        """Time one masked clip."""
        begin = time.perf_counter()
        change = (self.attribution(self.masked(place)) - self.base).abs().sum().item()
        self.seconds.append(time.perf_counter() - begin)
        self.found[place] = change

    def predict(self) -> float:
        """Seconds for the logits of a clip, which are asked of each clip without a frame."""
        begin = time.perf_counter()
        with torch.no_grad():
            self.model(self.clip)
        return time.perf_counter() - begin


def floor(model: FramewiseModel, loop: Loop, places: list[tuple[int, int, int]]) -> float:
    """Seconds that a masked frame takes at least: forward and back through the encoder."""
    frames = torch.stack([loop.masked(place)[0, place[0]] for place in places])
    begin = time.perf_counter()
    leaf = frames.requires_grad_()
    encoded = model.encode(leaf)
    torch.autograd.grad(encoded, leaf, torch.ones_like(encoded))
    return (time.perf_counter() - begin) / len(places)


def errors(
    loop: Loop, exact: Loop, result: FrameMaskingTSRResult
) -> tuple[list[float], list[float]]:
    """The relative errors of ours and of the loop against the loop in float64, for kept frames."""
    ours, plain = [], []
    for (frame, row, column), change in loop.found.items():
        if result.kept[0, frame]:
            exact.call((frame, row, column))
            truth = exact.found[frame, row, column]
            score = result.attribution[0, frame, 0, row, column]
            found = (score / result.frame_scores[0, frame]).item()
            ours.append(abs(found - truth) / truth)
            plain.append(abs(change - truth) / truth)
    return ours, plain


def time_setting(name: str) -> str:
    """One line of the table."""
    setting = SETTINGS[name]
    model, clip = prepared(setting)
    loop = Loop(model, clip, setting.block)
    frames, height, width = setting.shape
    drawn = random.Random(0)
    places = [
        (
            drawn.randrange(frames),
            drawn.randrange(0, height, setting.block[0]),
            drawn.randrange(0, width, setting.block[1]),
        )
        for _ in range(max(SAMPLE, 2 * CHUNK))
    ]
    floors: list[float] = []
    predictions: list[float] = []

    def sample(half: slice) -> None:
        for place in tqdm(places[:SAMPLE][half], f"{name}, loop"):
            loop.call(place)
        predictions.extend(loop.predict() for _ in range(4))
        if isinstance(model, FramewiseModel):
            floor(model, loop, places[:CHUNK])
            floors.extend(floor(model, loop, places[:CHUNK]) for _ in range(4))

    loop.attribution(clip)
    sample(slice(SAMPLE // 2))
    begin = time.perf_counter()
    result = method_of(model, setting).explain(clip, TARGET, show_progress=True)
    ours = time.perf_counter() - begin
    sample(slice(SAMPLE // 2, SAMPLE))
    calls = result.masks + 1
    whole = statistics.mean(loop.seconds) * calls + statistics.mean(predictions) * frames
    least = statistics.mean(floors) * result.masks if floors else whole
    spread = statistics.stdev(loop.seconds) / SAMPLE**0.5 * calls
    exact = Loop(copy.deepcopy(model).double(), clip.double(), setting.block)
    off = errors(loop, exact, result)
    cells = [
        str(calls),
        f"{least:.0f}",
        f"{ours:.0f}",
        f"{whole:.0f} (standard error {spread:.0f})",
        f"{ours / least:.2f}",
        f"{whole / ours:.1f}",
        *(f"{max(one):.0e}" for one in off),
        result.run.path,
    ]
    return f"| {name} | {' | '.join(cells)} |"


def measure_peak(blocks: int) -> float:
    """What a run adds to this process at its peak, in MB, by how many blocks a frame has a side."""
    setting = Setting(cnn_lstm, (8, 64, 64), (64 // blocks, 64 // blocks))
    model, clip = prepared(setting)
    tsr = method_of(model, setting)
    tsr.perturbations_per_eval = 4
    # What is set up once; small, since freed memory would be used again and not be seen.
    FrameMaskingTSR(Saliency(model), perturbations_per_eval=1).explain(
        clip[:, :2, :, :32, :32], TARGET
    )
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    tsr.explain(clip, TARGET)
    return resident("VmHWM") - before


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", choices=list(SETTINGS), help="print these, write none")
    parser.add_argument("--peak", nargs=2, metavar=("SETTING", "BLOCKS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(measure_peak(int(options.peak[1])))
        return
    blocks = ["4", "8", "16", "32"]
    lines = [
        "# FrameMaskingTSR: speed and memory",
        "",
        f"`python benchmarks/tsr_speed.py`: torch {torch.__version__}, {torch.get_num_threads()} "
        f"threads, {platform.machine()}; one clip, two steps, blocks, the signed gradient. Seconds "
        "of wall-clock time. The loop is one call of Captum's `Saliency` for each masked clip, "
        f"worked out from {SAMPLE} calls, half of them before ours and half after; the floor of a "
        "framewise model is one forward and one backward pass of the encoder for each masked frame "
        f"(in batches of {CHUNK}, from 8 of them), and of others the loop itself. Both ask "
        "for the logits of clips without a frame; ours also finds keyframes. Errors are the "
        "largest of a Delta against the loop in float64, over those of the sample whose frame is "
        "kept: where the attribution changes little without a part, rounding in float32 shows, in "
        "the loop as in ours.",
        "",
        "| model | calls | floor | ours | loop | ours / floor | loop / ours | error of ours "
        "| error of the loop | path |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in options.only or SETTINGS:
        lines.append(time_setting(name))
        tqdm.write(lines[-1])
    if not options.only:
        lines += [
            "",
            "Peak memory added by the call, in MB, by the number of blocks a side, of 8 frames of "
            "64 x 64 pixels with `perturbations_per_eval=4`:",
            "",
            "| model | " + " | ".join(blocks) + " |",
            "|---|" + "---|" * len(blocks),
            peaks(__file__, "resnet18 + LSTM(256)", blocks),
        ]
        (RESULTS / "tsr_speed.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
