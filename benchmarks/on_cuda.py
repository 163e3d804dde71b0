"""Every method on a CUDA device: the CPU's numbers, memory that really runs out, and speed.

    python benchmarks/on_cuda.py [--only checks memory speed] [--out PATH]
    python benchmarks/on_cuda.py --device cpu --quick --out /tmp/dry_run.md

Checks: every method on small models, on both devices. In float64 the numbers must agree to 1e-9. In
float32 (TF32 off, which has three digits only) both devices are held against float64 on the CPU,
and the device may be off by 1e-4, or by ten times what the CPU is off by. As a ReLU whose input
rounds to the other side of zero moves a gradient by a whole share, a clip with more is followed by
another, up to three.

Memory: the process may take so much of the card and no more, which is enough for the path that is
to be reached and for none of those before it (each of them is tried); `run` must then say what
happened, and the numbers must be those of a run with all memory.

Speed: every method beside a floor, which no implementation could beat, and beside a peer. Times are
between CUDA events, after a warm-up, medians over rounds in which all take turns. TF32 is as
PyTorch has it by default.

The report is written anew after every line, so that a run that is cut short leaves what it found.
Exit code 1 if anything failed.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import faulthandler
import gc
import importlib
import math
import platform
import statistics
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import captum
import torch
from captum.attr import InputXGradient, NoiseTunnel, Saliency
from torch import Tensor, nn

import temporal_attr as ta
from temporal_attr import (
    LRP,
    Blocks,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    FrameRecurrent,
    FramewiseModel,
    LateFusion,
    Run,
    ShuffleProbe,
    TemporalAttrError,
    TemporalGradient,
    VideoModel,
    wrap,
)
from temporal_attr.clips import FullShuffle, Normalization, Preprocessing, draw_orders
from temporal_attr.relevance import Box, Composite
from temporal_attr.zoo import ARCHITECTURES, build_model

RESULTS = Path(__file__).parent / "results"
TARGET, CLASSES, SHUFFLES = 1, 5, 4
DRAWS = (7, 8, 9)
"""Seeds of clips in float32: a wrong number is wrong on all, a ReLU on the edge on one."""

LOW, HIGH = -1.8, 2.0
"""Values of clips, within what the preprocessing of every model makes of pixels."""

PREPROCESSING = Preprocessing(None, normalization=Normalization((0.45,) * 3, (0.225,) * 3))
GIGABYTE = 1024**3
STUCK = 60
"""Seconds after which a check is told with its stack."""

SHARES = {"checks": 0.4, "memory": 0.25, "speed": 0.35}
"""How the time is shared among the parts; what one leaves goes to the next."""


@dataclass
class Settings:
    """Where to run, how thoroughly, and until when."""

    device: torch.device
    quick: bool
    start: float
    seconds: float

    @property
    def on_cuda(self) -> bool:
        """Whether there is a card to measure."""
        return self.device.type == "cuda"

    def left(self, share: float) -> float:
        """Seconds until so much of the whole time is over."""
        return self.start + share * self.seconds - time.perf_counter()


# ---------------------------------------------------------------------------------------- report


class Report:
    """Tables that grow line by line, on the screen and in the file."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self.path, self.settings = path, settings
        self.lines = _heading(settings)
        self.failures: list[str] = []
        self.passed = self.not_run = 0

    def say(self, *lines: str) -> None:
        """Add lines."""
        self.lines += lines
        print(*lines, sep="\n", flush=True)
        self._write()

    def table(self, title: str, text: str, columns: Sequence[str]) -> None:
        """Begin a table."""
        self.say("", f"## {title}", "", text, "")
        self.say("| " + " | ".join(columns) + " |", "|---" * len(columns) + "|")

    def row(self, *cells: str, passed: bool | None = None) -> None:
        """Add a row; its last cell says whether it passed."""
        verdict = () if passed is None else ("pass" if passed else "**FAIL**",)
        self.passed += passed is True
        self.say("| " + " | ".join(_cell(cell) for cell in (*cells, *verdict)) + " |")

    def fail(self, name: str, text: str) -> None:
        """Keep a failure's text for the end."""
        self.failures.append(f"- {name}: {_cell(text)}")
        print(f"FAIL {self.failures[-1]}", flush=True)

    def _write(self) -> None:
        seconds = time.perf_counter() - self.settings.start
        tail = ["", "## Outcome", "", f"{self.passed} passed, {len(self.failures)} failed, "]
        tail[-1] += f"{self.not_run} not run; {seconds:.0f} s in all."
        tail += ["", *self.failures] if self.failures else []
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("\n".join([*self.lines, *tail]) + "\n", encoding="utf-8")


def _heading(settings: Settings) -> list[str]:
    card = platform.processor() or platform.machine()
    if settings.on_cuda:
        known = torch.cuda.get_device_properties(settings.device)
        card = f"{known.name}, {known.total_memory / GIGABYTE:.0f} GB"
    cudnn = torch.backends.cudnn.version() if settings.on_cuda else "none"
    return [
        "# On CUDA",
        "",
        f"`{' '.join(['python', *sys.argv])}`, {datetime.date.today()}: {card}; torch "
        f"{torch.__version__}, cuDNN {cudnn}, captum {captum.__version__}, Python "
        f"{platform.python_version()}, {torch.get_num_threads()} threads.",
    ]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def reason(error: BaseException) -> str:
    """What went wrong and where, in one line."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {text[:300]}"


# ---------------------------------------------------------------------------------------- models


def optional(name: str) -> Any:  # noqa: ANN401 - a module without types
    """A package, or None if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


torchvision = optional("torchvision")
WIDE: dict[str, Any] = {"widths": (64, 128, 256, 512), "blocks": 2}
"""The size of a ResNet-18, for the networks that stand in where torchvision is missing."""


def volume(name: str) -> VideoModel:
    """A 3D network of torchvision's by name."""
    if torchvision is None:
        return build_model("inflated-resnet", CLASSES, **WIDE)
    return wrap(getattr(torchvision.models.video, name)(num_classes=CLASSES).eval())


def resnet() -> nn.Module:
    """ResNet-18 without its classifier."""
    network: nn.Module = torchvision.models.resnet18()
    network.fc = nn.Identity()
    return network.eval()


def cnn_lstm() -> VideoModel:
    """ResNet-18 and an LSTM of 256 units."""
    if torchvision is None:
        return build_model("lstm", CLASSES, hidden=256, **WIDE)
    memory = nn.LSTM(512, 256, batch_first=True)
    return FrameRecurrent(
        resnet(), memory, nn.Linear(256, CLASSES), "mean", preprocessing=PREPROCESSING
    ).eval()


def late_fusion() -> VideoModel:
    """ResNet-18, averaged over time."""
    if torchvision is None:
        return build_model("late-fusion", CLASSES, **WIDE)
    return LateFusion(resnet(), nn.Linear(512, CLASSES), preprocessing=PREPROCESSING).eval()


def draw(shape: Sequence[int], dtype: torch.dtype = torch.float32, seed: int = 7) -> Tensor:
    """A clip of noise, the same each time."""
    drawn = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(seed))
    return (drawn * (HIGH - LOW) + LOW).to(dtype)


def ready(build: Callable[[], VideoModel], clip: Tensor) -> VideoModel:
    """A model that is ready to be explained.

    Its batch norms have the statistics of the clip: a fresh network can be numerically constant.
    """
    torch.manual_seed(0)
    model = build().to(clip)
    norms = [part for part in model.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.3)
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        model(clip)
    return model.eval().requires_grad_(False)


@contextmanager
def exact_products(on: bool = True) -> Iterator[None]:
    """Products of float32 in float32, not in TF32."""
    was = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    if on:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = was


# ---------------------------------------------------------------------------------------- checks


def framewise(model: VideoModel) -> bool:
    """Whether frames can be encoded one by one."""
    return isinstance(model, FramewiseModel)


def anything(model: VideoModel) -> bool:
    """Any model."""
    return True


def small_framewise(model: VideoModel) -> bool:
    """A small one that can be encoded frame by frame."""
    return framewise(model) and small(model)


def staged(model: VideoModel) -> bool:
    """Whether stages can be computed again."""
    return not framewise(model) and len(model.stages) > 1


def small(model: VideoModel) -> bool:
    """Whether many masked clips take no time."""
    return sum(weights.numel() for weights in model.parameters()) < 1e6


@dataclass(frozen=True)
class Call:
    """One use of a method.

    Attributes:
        name: Of the row.
        run: From a model and a clip to a result, or an attribution.
        fields: What is compared.
        settled: What is compared in float64 only, since it depends on a threshold.
        takes: Which models it is for.
        on_cpu: Whether a result lies on the CPU, not beside the clip.
    """

    name: str
    run: Callable[[VideoModel, Tensor], object]
    fields: tuple[str, ...] = ("attribution",)
    settled: tuple[str, ...] = ()
    takes: Callable[[VideoModel], bool] = anything
    on_cpu: bool = False


def function(model: VideoModel) -> Callable[[Tensor], Tensor]:
    """The model as a method knows it that only has its output."""

    def logits(clip: Tensor) -> Tensor:
        found: Tensor = model(clip)
        return found

    return logits


GRADIENT = ("attribution", "frame_scores", "influence", "step_logits", "step_weights", "logits")
SCORES = ("ratios", "ordered_scores", "shuffled_scores", "logits")
PROBE = (*SCORES, "frame_ratios", "shuffled_logits", "mrr", "static_ratio")
RESCALED = ("attribution", "base", "frame_scores", "time_contribution", "logits")
KEPT = ("kept", "keyframes", "accuracy_contribution")
MATRIX = ("matrix", "frame_matrix", "step_logits", "step_weights", "logits")
RANGES = ("ranges", "avg_atr", "max_atr")


def gradient_calls() -> list[Call]:
    """`TemporalGradient` by every path, and of every objective."""

    def by(memory: Any) -> Callable[[VideoModel, Tensor], object]:  # noqa: ANN401
        return lambda model, clip: TemporalGradient(model, memory=memory, chunk_size=5).explain(
            clip, TARGET
        )

    def of(objective: Any) -> Callable[[VideoModel, Tensor], object]:  # noqa: ANN401
        return lambda model, clip: TemporalGradient(model, objective).attribute(clip, [1, 3])

    def margin(logits: Tensor, target: Tensor) -> Tensor:
        return logits.gather(1, target[:, None])[:, 0] - logits.logsumexp(1)

    paths = {"whole": anything, "framewise": framewise, "checkpoint": staged, "offload": anything}
    calls = [
        Call(f"TemporalGradient, {path}, with influence", by(path), GRADIENT, takes=takes)
        for path, takes in paths.items()
    ]
    objectives: list[Any] = ["probability", "log_probability", "loss", margin]
    names = ["probability", "log_probability", "loss", "a function"]
    return calls + [
        Call(f"TemporalGradient of {name}", of(one), takes=small)
        for name, one in zip(names, objectives, strict=True)
    ]


def probe_calls() -> list[Call]:
    """`ShuffleProbe` of the gradient both ways, and of a method of Captum's."""

    def probe(method: Any) -> Any:  # noqa: ANN401
        return ShuffleProbe(
            method, SHUFFLES, normalization=PREPROCESSING.normalization, chunk_size=16
        )

    def explained(method: Callable[[VideoModel], Any]) -> Callable[[VideoModel, Tensor], object]:
        return lambda model, clip: probe(method(model)).explain(clip, TARGET)

    settled = ("flow", "permutations", "left_out")
    given: dict[str, tuple[Callable[[VideoModel], Any], Callable[[VideoModel], bool]]] = {
        "": (lambda model: model, anything),
        ", by clip": (lambda model: TemporalGradient(model, memory="whole"), framewise),
        " of Saliency": (Saliency, small),
    }
    calls = [
        Call(f"ShuffleProbe{name}", explained(method), PROBE, settled, takes, True)
        for name, (method, takes) in given.items()
    ]
    attribute = Call(
        "ShuffleProbe.attribute",
        lambda model, clip: probe(model).attribute(clip, TARGET),
        takes=small,
    )
    return [*calls, attribute]


def rescaling_calls() -> list[Call]:
    """`FrameMaskingTSR` in one step and two, by clip and by frame, over bases and baselines."""

    def tsr(
        base: Callable[[Any], Any],
        by_clip: bool = False,
        **options: Any,  # noqa: ANN401
    ) -> Callable[[VideoModel, Tensor], object]:
        def run(model: VideoModel, clip: Tensor) -> object:
            method = base(function(model) if by_clip else model)
            return FrameMaskingTSR(method, **options).explain(clip, TARGET)

        return run

    blocks: dict[str, Any] = {"steps": "two", "feature_mask": Blocks(8, 8)}
    two = {**blocks, "quantile": 0.55}
    rows: dict[str, tuple[Callable[[VideoModel, Tensor], object], Any]] = {
        "one step": (tsr(TemporalGradient), anything),
        "one step, windows of 2": (tsr(TemporalGradient, window=2), small),
        "one step, the mean": (tsr(TemporalGradient, baselines="mean"), small),
        "one step, blurred": (tsr(TemporalGradient, baselines="blur"), small),
        "one step, the neighbour": (tsr(TemporalGradient, baselines="neighbour"), small),
        "one step, of Saliency": (tsr(Saliency), small),
        "one step, of InputXGradient": (tsr(InputXGradient, baselines="mean"), small),
        "one step, by clip": (tsr(TemporalGradient, True), small_framewise),
        "two steps": (tsr(TemporalGradient, **two), small),
        "two steps, of Saliency": (tsr(Saliency, **two), small_framewise),
        "two steps, of InputXGradient": (
            tsr(InputXGradient, **blocks, normalize=True, baselines="blur"),
            small_framewise,
        ),
        "two steps, by clip": (tsr(TemporalGradient, True, **two), small_framewise),
    }
    return [
        Call(f"FrameMaskingTSR, {name}", run, RESCALED, KEPT, takes)
        for name, (run, takes) in rows.items()
    ]


def relevance_calls() -> list[Call]:
    """`LRP` and the matrix."""
    return [
        Call(
            "LRP",
            lambda model, clip: LRP(model).explain(clip, TARGET),
            ("attribution", "frame_scores", "logits"),
        ),
        *(
            Call(
                f"ContrastiveLRPTemporal, {name}",
                lambda model, clip, options=options: ContrastiveLRPTemporal(  # type: ignore[misc]
                    model, **options
                ).explain(clip, TARGET),
                MATRIX,
                RANGES,
                takes,
            )
            for name, options, takes in (
                ("contrastive", {}, anything),
                ("plain", {"contrastive": False}, small),
                ("row by row", {"rows_per_backward": 1}, small),
            )
        ),
    ]


def further_calls() -> list[Call]:
    """Methods of perturbed clips, of layers, of paths and of attention, with few samples each.

    `ScoreCAM` and `DeletionCurve` choose among values, which in float32 can be told either way.
    """
    tubes, zero = ta.Tubes(2, 2, 2), 0.0
    makes: dict[str, tuple[Callable[[Any], Any], tuple[str, ...]]] = {
        "FrameShapley": (lambda model: ta.FrameShapley(model, n_samples=4), ("standard_error",)),
        "DeletionCurve": (lambda model: ta.DeletionCurve(model, "blur"), ()),
        "SlidingFrames": (ta.SlidingFrames, ("drops",)),
        "Occlusion": (lambda model: ta.Occlusion(model, baselines=zero), ("drops",)),
        "RISE": (lambda model: ta.RISE(model, 8, baselines=zero), ("error_map",)),
        "KernelSHAP": (
            lambda model: ta.KernelSHAP(model, tubes, 40, baselines=zero),
            ("error_map",),
        ),
        "VideoLIME": (lambda model: ta.VideoLIME(model, tubes, 20, baselines=zero), ("intercept",)),
        "GradCAM": (lambda model: ta.GradCAM(model, relu=False), ()),
        "HiResCAM": (lambda model: ta.HiResCAM(model, relu=False), ()),
        "ScoreCAM": (lambda model: ta.ScoreCAM(model, relu=False), ()),
        "IntegratedGradients": (lambda model: ta.IntegratedGradients(model, n_steps=3), ()),
        "ExpectedGradients": (lambda model: ta.ExpectedGradients(model, n_samples=3), ()),
        "SelectiveRelevance": (lambda model: ta.SelectiveRelevance(TemporalGradient(model)), ()),
        "ExtremalPerturbation": (
            lambda model: ta.ExtremalPerturbation(model, max_iterations=4),
            (),
        ),
        "AttentionRollout": (ta.AttentionRollout, ()),
        "GradientAttention": (ta.GradientAttention, ()),
    }
    settled = {"DeletionCurve": ("rank", "curve", "frame_scores"), "ScoreCAM": ("attribution",)}
    of_pixels = ("attribution", "frame_scores", "logits")
    return [
        Call(
            name,
            lambda model, clip, make=make: make(model).explain(clip, TARGET),  # type: ignore[misc]
            ("logits",) if name in settled else (*of_pixels, *more),
            settled.get(name, ()),
            small,
        )
        for name, (make, more) in makes.items()
    ]


def tensors_of(found: object) -> dict[str, Tensor]:
    """The tensors of a result by field, or an attribution."""
    if isinstance(found, Tensor):
        return {"attribution": found}
    return {name: value for name, value in vars(found).items() if isinstance(value, Tensor)}


def difference(found: Tensor, expected: Tensor, same_gaps: bool = True) -> float:
    """How far a tensor is off, relative to what is expected: the norm of the one over the other.

    Infinite where whole numbers differ, or where NaN does (unless `same_gaps` is False).
    """
    found = found.detach().cpu()
    if found.shape != expected.shape:
        return math.inf
    if not expected.is_floating_point():
        return 0.0 if torch.equal(found, expected) else math.inf
    known = ~(found.isnan() | expected.isnan())
    if same_gaps and not torch.equal(found.isnan(), expected.isnan()):
        return math.inf
    one, other = found.double()[known], expected.double()[known]
    apart: float = (one - other).norm().item()
    return apart if not apart else apart / max(other.norm().item(), sys.float_info.min)


def furthest(
    found: dict[str, Tensor], expected: dict[str, Tensor], names: Iterable[str], same_gaps: bool
) -> tuple[float, str]:
    """The largest difference of all fields, and the field."""
    pairs = [(difference(found[n], expected[n], same_gaps), n) for n in names if n in expected]
    return max(pairs, default=(math.inf, "no field"))


@dataclass
class Tally:
    """What a call's row says of all models."""

    cases: int = 0
    refused: int = 0
    exact: tuple[float, str] = (0.0, "")
    single: tuple[float, str] = (0.0, "")
    on_cpu: float = 0.0
    failures: list[str] = field(default_factory=list)


def check_case(
    call: Call, models: dict[torch.dtype, tuple[VideoModel, VideoModel]], clip: Tensor
) -> Iterator[tuple[str, float, float, str]]:
    """The precision, difference and tolerance of one call on one model, and the CPU's own."""
    device = next(models[torch.float64][1].parameters()).device
    expected = tensors_of(call.run(models[torch.float64][0], clip))
    found = tensors_of(call.run(models[torch.float64][1], clip.to(device)))
    require_places(call, found, device, clip.dtype)
    off, where = furthest(found, expected, (*call.fields, *call.settled), True)
    yield "float64", off, 1e-9, where
    for seed in DRAWS:
        own, off, where = single_case(call, models, draw(clip.shape, clip.dtype, seed))
        if off <= max(1e-4, 10 * own):
            break
    yield f"float32 {own:.0e}", off, max(1e-4, 10 * own), where


def single_case(
    call: Call, models: dict[torch.dtype, tuple[VideoModel, VideoModel]], clip: Tensor
) -> tuple[float, float, str]:
    """How far float32 is off on the CPU, how far on the device, and in which field."""
    device = next(models[torch.float32][1].parameters()).device
    expected = tensors_of(call.run(models[torch.float64][0], clip))
    single = clip.float()
    plain = tensors_of(call.run(models[torch.float32][0], single))
    own, _ = furthest(plain, expected, call.fields, False)
    found = tensors_of(call.run(models[torch.float32][1], single.to(device)))
    require_places(call, found, device, single.dtype)
    return own, *furthest(found, expected, call.fields, False)


def require_places(
    call: Call, found: dict[str, Tensor], device: torch.device, dtype: torch.dtype
) -> None:
    """Raise unless all lies where it should, and has the clip's precision."""
    place = "cpu" if call.on_cpu else device.type
    for name, tensor in found.items():
        assert tensor.device.type == place, f"{name} lies on {tensor.device}, not on {place}"
        if name in ("attribution", "frame_scores", "logits"):
            assert tensor.dtype == dtype, f"{name} is {tensor.dtype}, not {dtype}"


def globals_of() -> tuple[object, ...]:
    """What must be left as it was."""
    cudnn = torch.backends.cudnn
    flags = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states.append(torch.cuda.get_rng_state())
    return (*flags, torch.is_grad_enabled(), *(state.numpy().tobytes() for state in states))


def check_call(call: Call, name: str, models: Any, clip: Tensor, tally: Tally) -> None:  # noqa: ANN401
    """One call on one model, whatever happens."""
    before = globals_of()
    try:
        for precision, off, most, where in check_case(call, models, clip):
            if not off <= most:
                text = f"{where} is off by {off:.1e}, more than {most:.1e}"
                tally.failures.append(f"{name}, {precision.split()[0]}: {text}")
            if precision == "float64":
                tally.cases += 1
                tally.exact = max(tally.exact, (off, name))
            elif off >= tally.single[0]:
                tally.single, tally.on_cpu = (off, name), float(precision.split()[1])
    except TemporalAttrError as error:
        if not refused_alike(call, models, clip, error):
            tally.failures.append(f"{name}: {reason(error)}")
        tally.refused += 1
    except Exception as error:  # noqa: BLE001 - one failure must not hide the others
        tally.failures.append(f"{name}: {reason(error)}")
    if globals_of() != before:
        tally.failures.append(f"{name}: flags or random states were left changed")


def refused_alike(call: Call, models: Any, clip: Tensor, error: Exception) -> bool:  # noqa: ANN401
    """Whether a method refuses a model on both devices, in the same words."""
    said = []
    for model in models[torch.float64]:
        try:
            call.run(model, clip.to(next(model.parameters()).device))
        except TemporalAttrError as other:
            said.append((type(other), str(other)))
    return len(said) == 2 and said[0] == said[1]


class Recurrent(nn.Module):
    """A network of no library, whose timesteps `wrap` finds."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
        self.memory, self.classifier = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, video: Tensor) -> Tensor:
        """Logits."""
        rows = self.frames(video.flatten(0, 1)).flatten(1).unflatten(0, video.shape[:2])
        logits: Tensor = self.classifier(self.memory(rows)[0][:, -1])
        return logits


class NormedVolume(nn.Module):
    """A network whose timesteps are contributions of a named layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(3, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Sequential(
            nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, CLASSES)
        )

    def forward(self, video: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.features(video.transpose(1, 2)).mean((2, 3, 4)))
        return logits


def found_by_trying(layer: str | None) -> VideoModel:
    """What `wrap` makes of a network of no library."""
    network = (Recurrent() if layer is None else NormedVolume()).eval()
    return wrap(network, layer=layer, clip=draw((1, 8, 3, 16, 16)))


def check_models(quick: bool) -> dict[str, tuple[Callable[[], VideoModel], tuple[int, ...]]]:
    """Builders by name, and the shapes of their clips."""
    options: dict[str, dict[str, Any]] = {name: {"widths": (4, 8)} for name in ARCHITECTURES}
    options["early-fusion"]["frames"] = 8
    for name in ("tubelet-transformer", "divided-transformer"):
        options[name] = {"frames": 8, "size": 16, "features": 16, "depth": 1}
    names = ["late-fusion", "lstm", "tam2d", "slowfast"] if quick else list(ARCHITECTURES)
    found: dict[str, tuple[Callable[[], VideoModel], tuple[int, ...]]] = {
        name: (partial(build_model, name, CLASSES, **options[name]), (2, 8, 3, 16, 16))
        for name in names
    }
    for layer, name in ((None, "recurrent, found"), ("features", "volume, held")):
        found[name] = (partial(found_by_trying, layer), (2, 8, 3, 16, 16))
    if quick:
        return found
    large = "" if torchvision is not None else " (the zoo's, as torchvision is missing)"
    return found | {
        f"r3d_18{large}": (lambda: volume("r3d_18"), (1, 16, 3, 32, 32)),
        f"resnet18 + LSTM{large}": (cnn_lstm, (1, 8, 3, 32, 32)),
    }


def part_checks(report: Report, settings: Settings) -> None:
    """The same numbers on both devices."""
    calls = [
        *gradient_calls(),
        *probe_calls(),
        *rescaling_calls(),
        *relevance_calls(),
        *further_calls(),
    ]
    tallies = {call.name: Tally() for call in calls}
    held = 0
    with exact_products():
        for name, (build, shape) in check_models(settings.quick).items():
            if settings.left(SHARES["checks"]) < 0:
                report.not_run += 1
                report.fail(name, "not checked, as the time was over")
                continue
            begin = time.perf_counter()
            held = max(held, check_model(name, build, shape, calls, tallies, report))
            print(f"checked {name} in {time.perf_counter() - begin:.1f} s", flush=True)
    report.table(
        "The numbers of the CPU",
        "Relative differences: the norm of the difference over that of what the CPU finds in "
        f"float64. The largest over the models, and which that is. {held / 2**20:.1f} MB of the "
        "card's memory were still taken after all calls on a model at most.",
        ("check", "models", "float64 (at most 1e-9)", "float32", "float32 on the CPU", "result"),
    )
    for call in calls:
        report_tally(report, call.name, tallies[call.name])
    check_specials(report, settings)


def report_tally(report: Report, name: str, tally: Tally) -> None:
    """One row, and its failures."""
    refused = f", {tally.refused} refused on both" if tally.refused else ""
    cells = [f"{tally.cases}{refused}"]
    cells += [f"{off:.1e} ({model})" for off, model in (tally.exact, tally.single)]
    report.row(name, *cells, f"{tally.on_cpu:.1e}", passed=not tally.failures)
    for failure in tally.failures:
        report.fail(name, failure)


def check_model(
    name: str,
    build: Callable[[], VideoModel],
    shape: tuple[int, ...],
    calls: list[Call],
    tallies: dict[str, Tally],
    report: Report,
) -> int:
    """All calls on one model; returns bytes that stay taken on the card."""
    settings, clip = report.settings, draw(shape, torch.float64)
    double = ready(build, clip)
    single = copy.deepcopy(double).float()
    before = taken(settings)
    models = {
        torch.float64: (double, copy.deepcopy(double).to(settings.device)),
        torch.float32: (single, copy.deepcopy(single).to(settings.device)),
    }
    for call in calls:
        if settings.left(SHARES["checks"]) < 0:
            report.not_run += 1
        elif call.takes(double):
            known = len(tallies[call.name].failures)
            # Where a call hangs, the screen says where: the table is made once all have ended.
            faulthandler.dump_traceback_later(STUCK)
            check_call(call, name, models, clip, tallies[call.name])
            faulthandler.cancel_dump_traceback_later()
            for failure in tallies[call.name].failures[known:]:
                print(f"{call.name}: {failure}", flush=True)
    del models
    return taken(settings) - before


def taken(settings: Settings) -> int:
    """Bytes of the card's memory that are in use, without what cuBLAS keeps for itself."""
    if not settings.on_cuda:
        return 0
    gc.collect()
    getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
    return torch.cuda.memory_allocated(settings.device)


# ------------------------------------------------------------------------------ checks, one by one


@dataclass(frozen=True)
class Special:
    """A check of its own: a difference, and what is allowed."""

    name: str
    run: Callable[[torch.device], float]
    most: float


def on_device(name: str, device: torch.device, dtype: torch.dtype) -> tuple[VideoModel, Tensor]:
    """A small model and a clip, both there."""
    clip = draw((2, 8, 3, 16, 16), dtype)
    model = ready(lambda: build_model(name, CLASSES, widths=(4, 8)), clip)
    return model.to(device), clip.to(device)


def recurrent_backward(cell: str) -> Callable[[torch.device], float]:
    """The gradient in evaluation mode, beside cuDNN's own in training mode."""

    def run(device: torch.device) -> float:
        model, clip = on_device(cell, device, torch.float64)
        found = TemporalGradient(model).attribute(clip, TARGET)
        assert torch.backends.cudnn.enabled
        trained = copy.deepcopy(model)
        for part in trained.modules():
            if isinstance(part, nn.RNNBase):
                part.train()
        expected = plain_gradient(trained, clip)
        if device.type == "cuda":
            assert refuses_evaluation(model, clip), "nothing was shown: cuDNN has no such limit"
        return difference(found, expected.cpu())

    return run


def refuses_evaluation(model: VideoModel, clip: Tensor) -> bool:
    """Whether cuDNN itself has no backward pass in evaluation mode."""
    try:
        plain_gradient(model, clip)
    except RuntimeError as error:
        return "cudnn" in str(error).lower()
    return False


def half_precision(name: str) -> Callable[[torch.device], float]:
    """Frame scores by the path in bfloat16, which must say so."""

    def run(device: torch.device) -> float:
        model, clip = on_device(name, device, torch.float32)
        half = TemporalGradient(model, memory="half").explain(clip, TARGET)
        assert half.run.precision == "bfloat16", half.run
        assert half.run.path == "half", half.run
        assert half.attribution.dtype == torch.float32, half.attribution.dtype
        assert "NOT full precision" in half.summary(), half.summary()
        full = TemporalGradient(model).explain(clip, TARGET)
        assert full.run.precision == "full", full.run
        return difference(half.frame_scores, full.frame_scores.cpu())

    return run


def under(circumstances: Callable[[torch.device], Any]) -> Callable[[torch.device], float]:
    """A gradient under what a caller may have switched on, beside one without."""

    def run(device: torch.device) -> float:
        model, clip = on_device("lstm", device, torch.float32)
        expected = TemporalGradient(model).attribute(clip, TARGET)
        with circumstances(device):
            found = TemporalGradient(model).attribute(clip, TARGET)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        assert found.dtype == torch.float32
        return difference(found, expected.cpu())

    return run


@contextmanager
def other_stream(device: torch.device) -> Iterator[None]:
    """A stream that is not the default one."""
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield


def strided(device: torch.device) -> float:
    """A clip whose memory lies in another order."""
    model, clip = on_device("inflated-resnet", device, torch.float64)
    turned = clip.transpose(1, 2).contiguous().transpose(1, 2)
    found = TemporalGradient(model).attribute(turned, TARGET)
    return difference(found, TemporalGradient(model).attribute(clip, TARGET).cpu())


def seeded(device: torch.device) -> float:
    """A method that draws random numbers, twice from one seed; the caller's stay as they were."""
    model, clip = on_device("tam2d", device, torch.float64)
    method = FrameMaskingTSR(
        NoiseTunnel(Saliency(model)),
        seed=3,
        method_arguments={"nt_samples": 2, "stdevs": 0.1, "nt_type": "smoothgrad"},
    )
    before = globals_of()
    first = method.attribute(clip, TARGET)
    assert globals_of() == before, "random states were left changed"
    assert isinstance(first, Tensor)
    torch.rand(3, device=device)
    second = method.attribute(clip, TARGET)
    assert isinstance(second, Tensor)
    return difference(second, first.cpu())


def blind(device: torch.device) -> float:
    """The ratios of a model that cannot see order, which are 1."""
    model, clip = on_device("late-fusion", device, torch.float64)
    found = ShuffleProbe(model, SHUFFLES).explain(clip, TARGET, flow=None)
    return difference(found.ratios, torch.ones_like(found.ratios).cpu())


def batch_of_one(device: torch.device) -> float:
    """Each clip by itself."""
    model, clip = on_device("gru", device, torch.float64)
    method = FrameMaskingTSR(model)
    together = method.attribute(clip, TARGET)
    alone = [method.attribute(one, TARGET) for one in clip.split(1)]
    assert isinstance(together, Tensor)
    return difference(together, torch.cat([one for one in alone if isinstance(one, Tensor)]).cpu())


def kept_results(device: torch.device) -> float:
    """Results from the device as text and plain Python, and saved and loaded on the CPU."""
    model, clip = on_device("lstm", device, torch.float32)
    off = 0.0
    for method in (TemporalGradient, LRP, ContrastiveLRPTemporal, ShuffleProbe):
        result = method(model).explain(clip, TARGET)
        assert result.summary()
        assert result.to_dict()
        with tempfile.TemporaryDirectory() as folder:
            loaded = tensors_of(type(result).load(result.save(f"{folder}/result")))
        for name, tensor in tensors_of(result).items():
            off = max(off, difference(tensor, loaded[name]))
    return off


SPECIALS = [
    *(Special(f"{cell} in evaluation mode, with cuDNN", recurrent_backward(cell), 1e-9)
      for cell in ("lstm", "gru")),
    *(Special(f"half precision, {name}", half_precision(name), 1.5e-1)
      for name in ("late-fusion", "lstm", "inflated-resnet", "tam2d")),
    Special(
        "caller's autocast", under(lambda d: torch.autocast(d.type, torch.bfloat16)), 1e-6
    ),
    Special("caller's no_grad", under(lambda d: torch.no_grad()), 1e-6),
    Special("caller's inference mode", under(lambda d: torch.inference_mode()), 1e-6),
    Special("caller's stream", under(other_stream), 1e-6),
    Special("clip that is not contiguous", strided, 1e-9),
    Special("seeded random method, twice", seeded, 1e-9),
    Special("late fusion is blind to order", blind, 1e-9),
    Special("batch beside single clips", batch_of_one, 1e-9),
    Special("results as text, saved and loaded", kept_results, 0.0),
]  # fmt: skip


def check_specials(report: Report, settings: Settings) -> None:
    """What has no counterpart on the CPU, each by itself."""
    report.table(
        "What only a device has",
        "Half precision: frame scores in bfloat16 beside float32.",
        ("check", "relative difference", "at most", "result"),
    )
    with exact_products():
        for special in SPECIALS:
            try:
                off = special.run(settings.device)
            except Exception as error:  # noqa: BLE001
                report.row(special.name, "none", f"{special.most:.2g}", passed=False)
                report.fail(special.name, reason(error))
                continue
            passed = off <= special.most
            report.row(special.name, f"{off:.1e}", f"{special.most:.2g}", passed=passed)
            if not passed:
                report.fail(special.name, f"off by {off:.1e}, more than {special.most:.2g}")


# ---------------------------------------------------------------------------------------- memory


@dataclass(frozen=True)
class Shortage:
    """A path that is to be reached because those before it do not fit.

    Attributes:
        name: Of the row.
        run: What is asked for, with no path named.
        reached: The same by the path that is to be reached.
        before: By the paths that are tried before it.
        path: What must stand in the run's path.
        tried: What it must say that it tried, in order, whatever the chunk sizes.
        perhaps: What it may say besides.
        chunk_size: What it must say of it; None for anything.
        precision: The same.
        fields: What must agree with the run that has all memory.
        near: How closely. Other chunks have other roundings, and some ReLUs of many millions then
            fall on the other side.
    """

    name: str
    run: Callable[[], Any]
    reached: Callable[[], Any]
    before: tuple[Callable[[], Any], ...]
    path: str
    tried: tuple[str, ...]
    chunk_size: int | None = None
    precision: str = "full"
    fields: tuple[str, ...] = ("attribution", "frame_scores", "logits")
    near: float = 1e-2
    perhaps: tuple[str, ...] = ()


def peak(call: Callable[[], Any], device: torch.device) -> int:
    """Bytes in use at most."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device)


@contextmanager
def limited(most: float, device: torch.device) -> Iterator[None]:
    """No more than so many bytes for this process."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / total), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
        torch.cuda.empty_cache()


def fits(call: Callable[[], Any], allowed: float, device: torch.device) -> bool:
    """Whether something can be done with so many bytes."""
    with limited(allowed, device):
        try:
            call()
        except torch.OutOfMemoryError:
            return False
    return True


def limit_between(shortage: Shortage, own: int, before: int, device: torch.device) -> float | None:
    """Bytes that are enough for one path and for none before it; None if none were found.

    Tried out, not worked out: cuDNN uses less memory where there is less.

    Args:
        shortage: The paths.
        own: What the path that is to be reached had in use with all memory.
        before: The least of those before it.
        device: The card.
    """
    low, high = 0.5 * own, float(before)
    allowed = (min(own, before) + before) / 2
    for _ in range(7):
        if any(fits(call, allowed, device) for call in shortage.before):
            high = allowed
        elif not fits(shortage.reached, allowed, device):
            low = allowed
        else:
            return allowed
        if low >= high:
            return None
        allowed = (low + high) / 2
    return None


def check_run(run: Run, shortage: Shortage) -> None:
    """Raise unless a run says what happened."""
    names = dict.fromkeys(name.split(" with ")[0].split(",")[0] for name in run.tried)
    order = [name for name in names if name not in shortage.perhaps]
    assert shortage.path in run.path, f"path {run.path!r}, expected {shortage.path!r}"
    assert order == list(shortage.tried), f"tried {run.tried}, expected {shortage.tried}"
    assert run.precision == shortage.precision, f"precision {run.precision!r}"
    if shortage.chunk_size is not None:
        assert run.chunk_size == shortage.chunk_size, f"chunk_size {run.chunk_size}"


def run_shortage(report: Report, shortage: Shortage, settings: Settings) -> None:
    """One row: what fits, what was allowed, what the run says, and whether the numbers agree."""
    device = settings.device
    expected = {n: t.cpu() for n, t in tensors_of(shortage.run()).items() if n in shortage.fields}
    own = peak(shortage.reached, device)
    before = min(peak(call, device) for call in shortage.before)
    allowed = limit_between(shortage, own, before, device)
    cells = [shortage.name, f"{own / 2**20:.0f}", f"{before / 2**20:.0f}"]
    if allowed is None:
        report.not_run += 1
        report.row(*cells, "none", "no limit tells them apart", "", "", "", "not run")
        return
    start = taken(settings)
    with limited(allowed, device):
        result = shortage.run()
    off, _ = furthest(tensors_of(result), expected, shortage.fields, True)
    run = result.run
    cells += [f"{allowed / 2**20:.0f}", run.path, ", ".join(run.tried)]
    cells += [str(run.chunk_size), run.precision, f"{off:.1e}"]
    problem = ""
    try:
        check_run(run, shortage)
        assert off <= shortage.near, f"off by {off:.1e}, more than {shortage.near:.0e}"
        del result
        left = taken(settings) - start
        assert left <= 2**20, f"{left / 2**20:.1f} MB are still taken"
    except AssertionError as error:
        problem = str(error)
        report.fail(shortage.name, problem)
    report.row(*cells, passed=not problem)


def gradient_shortages(quick: bool, device: torch.device) -> Iterator[Shortage]:
    """Every rung of `TemporalGradient`."""
    frames, size, large = (32, 64, 256) if quick else (32, 224, 1024)
    clip = draw((1, frames, 3, size, size)).to(device)
    model = ready(cnn_lstm, clip[:, :8])

    def by(memory: Any, chunk: int | None = None, clip: Tensor = clip) -> Callable[[], Any]:  # noqa: ANN401
        method = TemporalGradient(model, memory=memory, chunk_size=chunk)
        return lambda: method.explain(clip, TARGET, influence=False)

    whole, auto = by("whole"), by("auto")
    steps = {chunk: by("framewise", chunk) for chunk in (16, 8, 4, 2, 1)}
    yield Shortage(
        "TemporalGradient, framewise", auto, steps[16], (whole,), "framewise", ("whole",), 16
    )
    yield Shortage(
        "TemporalGradient, framewise, halved twice",
        auto, steps[4], (whole, steps[16], steps[8]), "framewise", ("whole", "framewise"), 4,
    )  # fmt: skip
    together = by("framewise", frames)
    yield Shortage(
        "TemporalGradient, offload of a framewise model, frames all at a time",
        by("auto", frames), by("offload"), (whole, together), "offload", ("whole", "framewise"),
    )  # fmt: skip
    del clip, whole, auto, steps, together
    huge = draw((1, 8, 3, large, large)).to(device)
    yield Shortage(
        "TemporalGradient, half, from large frames",
        by("auto", clip=huge),
        by("half", 1, huge),
        (by("whole", clip=huge), by("framewise", 1, huge), by("offload", clip=huge)),
        "half", ("whole", "framewise", "offload"), None, "bfloat16", ("frame_scores", "logits"),
        2e-1,
    )  # fmt: skip


def stage_shortages(quick: bool, device: torch.device) -> Iterator[Shortage]:
    """Stages computed again, and kept on the CPU."""
    batch, size = (2, 64) if quick else (8, 112)
    clip = draw((batch, 16, 3, size, size)).to(device)
    model = ready(lambda: volume("r3d_18"), clip)

    def by(memory: Any) -> Callable[[], Any]:  # noqa: ANN401
        return lambda: TemporalGradient(model, memory=memory).explain(clip, TARGET, influence=False)

    def both(memory: Any) -> Callable[[], Any]:  # noqa: ANN401
        return lambda: TemporalGradient(model, memory=memory).explain(clip, TARGET)

    whole, again, offload = by("whole"), by("checkpoint"), by("offload")
    yield Shortage("TemporalGradient, checkpoint", by("auto"), again, (whole,), "checkpoint",
                   ("whole",))  # fmt: skip
    yield Shortage(
        "TemporalGradient with influence, checkpoint", both("auto"), both("checkpoint"),
        (both("whole"),), "checkpoint", ("whole",), fields=(*GRADIENT,),
    )  # fmt: skip
    yield Shortage(
        "TemporalGradient, offload", by("auto"), offload, (whole, again), "offload",
        ("whole", "checkpoint"),
    )  # fmt: skip
    yield Shortage(
        "TemporalGradient, half", by("auto"), by("half"), (whole, again, offload), "half",
        ("whole", "checkpoint", "offload"), None, "bfloat16", ("frame_scores", "logits"), 2e-1,
    )  # fmt: skip


def nested_shortages(quick: bool, device: torch.device) -> Iterator[Shortage]:
    """Methods that ask others for gradients."""
    size = 64 if quick else 224
    clip = draw((1, 16, 3, size, size)).to(device)
    model = ready(cnn_lstm, clip)

    def probe(chunk: int | None = None) -> Callable[[], Any]:
        return lambda: ShuffleProbe(model, SHUFFLES, chunk_size=chunk).explain(
            clip, TARGET, flow=None
        )

    def tsr(chunk: int | None = None) -> Callable[[], Any]:
        method = TemporalGradient(model, memory="framewise" if chunk else "auto", chunk_size=chunk)
        return lambda: FrameMaskingTSR(method, perturbations_per_eval=chunk).explain(clip, TARGET)

    yield Shortage(
        "ShuffleProbe, frames halved", probe(), probe(8), (probe(16),), "by frame",
        ("by frame",), 8, fields=SCORES,
    )  # fmt: skip
    yield Shortage(
        "FrameMaskingTSR by frame, halved", tsr(), tsr(4), (tsr(16), tsr(8)), "by frame",
        ("whole", "by frame"), 4, fields=RESCALED, perhaps=("framewise",),
    )  # fmt: skip
    volumetric = ready(lambda: volume("r3d_18"), clip)

    def volume_probe(memory: Any) -> Callable[[], Any]:  # noqa: ANN401
        method = TemporalGradient(volumetric, memory=memory)
        return lambda: ShuffleProbe(method, SHUFFLES).explain(clip, TARGET, flow=None)

    def volume_tsr(memory: Any) -> Callable[[], Any]:  # noqa: ANN401
        method = TemporalGradient(volumetric, memory=memory)
        return lambda: FrameMaskingTSR(method).explain(clip, TARGET)

    yield Shortage(
        "ShuffleProbe by clip, checkpoint", volume_probe("auto"), volume_probe("checkpoint"),
        (volume_probe("whole"),), "checkpoint", ("whole",), fields=SCORES,
    )  # fmt: skip
    yield Shortage(
        "FrameMaskingTSR by clip, checkpoint", volume_tsr("auto"), volume_tsr("checkpoint"),
        (volume_tsr("whole"),), "by clip", ("whole",), fields=RESCALED,
    )  # fmt: skip


def part_memory(report: Report, settings: Settings) -> None:
    """The ladder, with memory that really runs out."""
    report.table(
        "When memory runs out",
        "MB of the card: what the path that is to be reached has in use at most with all memory, "
        "the least of those before it, and what the process was allowed; with that, the former "
        "ran and the latter did not. Then what the run says with no path named, and how far its "
        "numbers are from those with all memory (relative).",
        ("method", "needed", "needed before", "allowed", "path", "tried", "chunk size",
         "precision", "difference", "result"),
    )  # fmt: skip
    if not settings.on_cuda:
        report.say("", "Not run: the device has no limit of its own.")
        return
    share = SHARES["checks"] + SHARES["memory"]
    with exact_products():
        for group in (gradient_shortages, stage_shortages, nested_shortages):
            for shortage in group(settings.quick, settings.device):
                if settings.left(share) < 0:
                    report.not_run += 1
                    report.fail(shortage.name, "not run, as the time was over")
                    continue
                try:
                    run_shortage(report, shortage, settings)
                except Exception as error:  # noqa: BLE001
                    report.row(shortage.name, *[""] * 8, passed=False)
                    report.fail(shortage.name, reason(error))


# ----------------------------------------------------------------------------------------- speed


@dataclass(frozen=True)
class Race:
    """A method, its floor and its peers on one model.

    Attributes:
        name: Of the row.
        setting: The model and the size of the clip.
        ours: The call.
        floor: What no implementation could beat.
        floor_name: What that is.
        peer: What a user would do without this library; None if there is none here.
        peer_name: What that is.
        times: By how much a call of the peer stands for all of its work.
    """

    name: str
    setting: str
    ours: Callable[[], Any]
    floor: Callable[[], Any]
    floor_name: str
    peer: Callable[[], Any] | None = None
    peer_name: str = "none"
    times: float = 1.0


def plain_gradient(model: nn.Module, clip: Tensor) -> Tensor:
    """One forward and one backward pass."""
    leaf = clip.clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, TARGET].sum(), leaf)[0]


def captum_gradient(method: Saliency, clip: Tensor) -> Tensor:
    """The same by Captum."""
    found: Tensor = method.attribute(clip.clone().requires_grad_(), target=TARGET, abs=False)
    return found


def trained_memory(model: VideoModel) -> VideoModel:
    """A copy whose recurrent layers cuDNN differentiates, as in training."""
    found = copy.deepcopy(model)
    for part in found.modules():
        if isinstance(part, nn.RNNBase):
            part.train()
    return found


def gradient_races(quick: bool, device: torch.device) -> Iterator[Race]:
    """`TemporalGradient` by each path, and the influence matrix."""
    shapes = [(1, 8, 3, 32, 32), (1, 8, 3, 32, 32), (1, 4, 3, 32, 32)]
    if not quick:
        shapes = [(16, 16, 3, 112, 112), (4, 32, 3, 224, 224), (4, 16, 3, 112, 112)]
    builders = {"r3d_18": lambda: volume("r3d_18"), "resnet18 + LSTM": cnn_lstm}
    for (name, build), shape in zip(builders.items(), shapes, strict=False):
        clip = draw(shape).to(device)
        model = ready(build, clip[:1])
        bare = trained_memory(model)
        peer = Saliency(bare)
        for path in ("auto", "framewise" if framewise(model) else "checkpoint", "offload", "half"):
            method = TemporalGradient(model, memory=path)
            yield Race(
                f"TemporalGradient, {path}",
                f"{name}, {size_of(clip)}",
                lambda method=method, clip=clip: method.attribute(clip, TARGET),  # type: ignore[misc]
                lambda bare=bare, clip=clip: plain_gradient(bare, clip),  # type: ignore[misc]
                "forward and backward pass",
                (lambda peer=peer, clip=clip: captum_gradient(peer, clip))  # type: ignore[misc]
                if path == "auto"
                else None,
                "Captum's Saliency" if path == "auto" else "none",
            )
    clip = draw(shapes[2]).to(device)
    steps = ready(lambda: volume("mc3_18"), clip)
    yield Race(
        "TemporalGradient with influence",
        f"mc3_18, {size_of(clip)}",
        lambda: TemporalGradient(steps).explain(clip, TARGET),
        lambda: (plain_gradient(steps, clip), plain_rows(steps, clip)),
        "forward pass, and a backward pass for each timestep and the logit",
    )


def plain_rows(model: VideoModel, clip: Tensor) -> list[Tensor]:
    """The norms of each frame's gradient, timestep by timestep."""
    leaf = clip.clone().requires_grad_()
    logits = model.frame_logits(leaf).logits[..., TARGET].sum(0)
    return [
        torch.autograd.grad(logit, leaf, retain_graph=True)[0].flatten(2).norm(dim=2)
        for logit in logits
    ]


def size_of(clip: Tensor) -> str:
    """A clip's size in words."""
    batch, frames, _, height, width = clip.shape
    return f"{batch} x {frames} x {height} x {width}"


def probe_races(quick: bool, device: torch.device) -> Iterator[Race]:
    """`ShuffleProbe` of the three kinds of models."""
    shuffles = 3 if quick else 20
    large, wide = (1, 16, 3, 112, 112), (1, 32, 3, 224, 224)
    if quick:
        large = wide = (1, 6, 3, 32, 32)
    kinds = {
        "r3d_18": (lambda: volume("r3d_18"), large),
        "resnet18 + LSTM": (cnn_lstm, wide),
        "resnet18, late fusion": (late_fusion, wide),
    }
    for name, (build, shape) in kinds.items():
        clip = draw(shape).to(device)
        model = ready(build, clip)
        bare = trained_memory(model)
        drawn = draw_orders(FullShuffle(), shape[1], shuffles)
        orders = torch.cat([torch.arange(shape[1])[None], drawn]).to(device)
        floor, floor_name = probe_floor(bare, clip, orders, one_pass="fusion" in name)
        race = Race(
            f"ShuffleProbe, {shuffles} shuffles",
            f"{name}, {size_of(clip)}",
            lambda model=model, clip=clip: ShuffleProbe(model, shuffles).attribute(clip, TARGET),  # type: ignore[misc]
            floor,
            floor_name,
            lambda bare=bare, clip=clip, orders=orders: captum_orders(bare, clip, orders),  # type: ignore[misc]
            "a loop of Captum's Saliency",
        )
        yield race
        if not framewise(model):
            every = len(orders) * shape[1]
            yield Race(
                f"{race.name}, chunk_size={every}",
                race.setting,
                lambda model=model, clip=clip, every=every: ShuffleProbe(  # type: ignore[misc]
                    model, shuffles, chunk_size=every
                ).attribute(clip, TARGET),
                floor,
                floor_name,
            )


def probe_floor(
    model: VideoModel, clip: Tensor, orders: Tensor, one_pass: bool
) -> tuple[Callable[[], Any], str]:
    """The least that a probe takes: a backward pass for each order, and frames encoded once."""
    if not isinstance(model, FramewiseModel):
        shown = clip[0][orders]
        return lambda: plain_gradient(model, shown), "forward and backward pass of all orders"
    count = 1 if one_pass else len(orders)

    def encoder() -> None:
        leaf = clip[0].clone().requires_grad_()
        encoded = model.encode(leaf)
        for _ in range(count):
            torch.autograd.grad(encoded, leaf, torch.ones_like(encoded), retain_graph=True)

    passes = "a backward pass" if one_pass else f"{count} backward passes"
    return encoder, f"forward pass of the encoder and {passes}"


def captum_orders(model: VideoModel, clip: Tensor, orders: Tensor) -> Tensor:
    """The median ratio of each frame, one call of Captum's for each order."""
    method, scores = Saliency(model), []
    for order in orders:
        norms = captum_gradient(method, clip[:, order])[0].flatten(1).norm(dim=1)
        scores.append(torch.zeros_like(norms).scatter(0, order, norms))
    found = torch.stack(scores)
    return (found[1:] / found[0]).quantile(0.5, dim=0)


def rescaling_races(quick: bool, device: torch.device) -> Iterator[Race]:
    """`FrameMaskingTSR` by clip, and by frame."""
    shape, side = ((1, 4, 3, 32, 32), 16) if quick else ((1, 16, 3, 112, 112), 28)
    clip = draw(shape).to(device)
    frames = shape[1]
    model = ready(lambda: volume("r3d_18"), clip)
    shown = clip.repeat(frames + 2, 1, 1, 1, 1)

    def twice() -> None:
        plain_gradient(model, shown)
        with torch.no_grad():
            model(shown[1:])

    yield Race(
        "FrameMaskingTSR, one step",
        f"r3d_18, {size_of(clip)}",
        lambda: FrameMaskingTSR(model).attribute(clip, TARGET),
        twice,
        f"{frames + 2} attributions and {frames + 1} forward passes, all in one batch",
        lambda: captum_masks(model, clip, shape[3], frames + 1, predict=True),
        "a loop of Captum's Saliency",
    )
    masks = frames * (shape[3] // side) ** 2
    for name, build in {"resnet18 + LSTM": cnn_lstm, "resnet18, late fusion": late_fusion}.items():
        encoder = ready(build, clip)
        bare = trained_memory(encoder)
        assert isinstance(bare, FramewiseModel)
        yield Race(
            f"FrameMaskingTSR, two steps, {masks} blocks",
            f"{name}, {size_of(clip)}",
            lambda encoder=encoder: FrameMaskingTSR(  # type: ignore[misc]
                encoder, "two", Blocks(side, side)
            ).attribute(clip, TARGET),
            lambda bare=bare: plain_frames(bare, clip, masks + frames),  # type: ignore[misc]
            "forward and backward pass of the encoder for each masked frame",
            lambda bare=bare: captum_masks(bare, clip, side, 8, predict=False),  # type: ignore[misc]
            "a loop of Captum's Saliency, from 8 of its calls",
            (masks + frames) / 8,
        )


def captum_masks(model: VideoModel, clip: Tensor, side: int, count: int, predict: bool) -> None:
    """How far Captum's attribution changes when a square of a frame is masked, one call each."""
    method = Saliency(model)
    base = captum_gradient(method, clip)
    for place in range(count):
        masked = clip.clone()
        masked[:, place % clip.shape[1], :, :side, :side] = 0
        (captum_gradient(method, masked) - base).abs().sum()
        if predict:
            with torch.no_grad():
                model(masked)


def plain_frames(model: FramewiseModel, clip: Tensor, count: int) -> None:
    """So many frames forward and back through the encoder, in batches of 64."""
    for start in range(0, count, 64):
        size = min(64, count - start)
        leaf = clip[0].repeat(-(-size // clip.shape[1]), 1, 1, 1)[:size].requires_grad_()
        encoded = model.encode(leaf)
        torch.autograd.grad(encoded, leaf, torch.ones_like(encoded))


def relevance_races(quick: bool, device: torch.device) -> Iterator[Race]:
    """`LRP`, and the relevance matrix, beside zennit's rules."""
    large, long = (16, 16, 3, 112, 112), (1, 16, 3, 112, 112)
    if quick:
        large = long = (1, 8, 3, 32, 32)
    composite = Composite(input=Box(low=-3.0, high=3.0))
    clip = draw(large).to(device)
    model = ready(lambda: volume("r3d_18"), clip[:1])
    zennit = optional("zennit.composites") and torchvision
    yield Race(
        "LRP",
        f"r3d_18, {size_of(clip)}",
        lambda: LRP(model, composite).attribute(clip, TARGET),
        lambda: plain_gradient(model, clip),
        "forward and backward pass",
        (lambda: zennit_relevance(model, clip, None)) if zennit else None,
        "zennit" if zennit else "none (no zennit)",
    )
    single = draw(long).to(device)
    for name in ("mc3_18", "r3d_18"):
        given = single if name == "mc3_18" else single.repeat(1, 4, 1, 1, 1)
        steps = ready(lambda name=name: volume(name), given)  # type: ignore[misc]
        count = steps.frame_logits(given).logits.shape[1]
        yield Race(
            f"ContrastiveLRPTemporal, {count} timesteps",
            f"{name}, {size_of(given)}",
            lambda steps=steps, given=given: ContrastiveLRPTemporal(  # type: ignore[misc]
                steps, composite=composite
            ).attribute(given, TARGET),
            lambda steps=steps, given=given: plain_rows(steps, given),  # type: ignore[misc]
            "forward pass, and a backward pass for each timestep",
            (lambda steps=steps, given=given: zennit_relevance(steps, given, 0))  # type: ignore[misc]
            if zennit
            else None,
            "zennit, from one of its rows" if zennit else "none (no zennit)",
            float(count),
        )


def plain_predictions(model: nn.Module, clip: Tensor, count: int, at_a_time: int) -> None:
    """So many clips forward."""
    with torch.no_grad():
        for start in range(0, count, at_a_time):
            model(clip.expand(min(at_a_time, count - start), *clip.shape[1:]))


def plain_gradients(model: nn.Module, clip: Tensor, count: int, at_a_time: int) -> None:
    """So many clips forward and back."""
    for start in range(0, count, at_a_time):
        plain_gradient(model, clip.repeat(min(at_a_time, count - start), 1, 1, 1, 1))


def by_frame(clip: Tensor) -> Tensor:
    """Captum's mask of features for whole frames."""
    return torch.arange(clip.shape[1], device=clip.device)[None, :, None, None, None]


def perturbation_races(quick: bool, device: torch.device) -> Iterator[Race]:
    """Methods that ask for predictions of perturbed clips, beside Captum's."""
    shape, at_a_time = ((1, 4, 3, 32, 32), 2) if quick else ((1, 16, 3, 112, 112), 16)
    clip = draw(shape).to(device)
    frames, side = shape[1], shape[3] // 4
    model = ready(lambda: volume("r3d_18"), clip)
    setting = f"r3d_18, {size_of(clip)}"

    def floor(count: int) -> tuple[Callable[[], Any], str]:
        text = f"{count} clips forward, {at_a_time} at a time"
        return lambda: plain_predictions(model, clip, count, at_a_time), text

    window = (2, side, side)
    yield Race(
        "Occlusion",
        setting,
        lambda: ta.Occlusion(
            model, window, window, 0.0, perturbations_per_eval=at_a_time
        ).attribute(clip, TARGET),
        *floor(frames // 2 * 16 + 1),
        lambda: captum.attr.Occlusion(model).attribute(
            clip,
            (2, 3, side, side),
            (2, 3, side, side),
            0.0,
            TARGET,
            perturbations_per_eval=at_a_time,
        ),
        "Captum's Occlusion",
    )
    yield Race(
        "RISE, 127 masks",
        setting,
        lambda: ta.RISE(model, 127, baselines=0.0, perturbations_per_eval=at_a_time).attribute(
            clip, TARGET
        ),
        *floor(128),
    )
    shared: dict[str, Any] = {"perturbations_per_eval": at_a_time}
    asked: dict[str, Any] = {"target": TARGET, "feature_mask": by_frame(clip), **shared}
    yield Race(
        "KernelSHAP, 64 coalitions of frames",
        setting,
        lambda: ta.KernelSHAP(model, ta.Tubes(frames, 1, 1), 63, 0.0, **shared).attribute(
            clip, TARGET
        ),
        *floor(64),
        lambda: captum.attr.KernelShap(model).attribute(clip, 0.0, n_samples=64, **asked),
        "Captum's KernelShap",
    )
    steps = ready(cnn_lstm, clip)
    encoded = lambda: plain_encodings(steps, clip, frames + 1), f"{frames + 1} frames encoded"
    cases = (("r3d_18", model, floor(4 * (frames - 1) + 2)), ("resnet18 + LSTM", steps, encoded))
    for name, given, (least, least_name) in cases:
        yield Race(
            "FrameShapley, 4 permutations",
            f"{name}, {size_of(clip)}",
            lambda given=given: ta.FrameShapley(given, 0.0, 4, **shared).attribute(  # type: ignore[misc]
                clip, TARGET
            ),
            least,
            least_name,
            lambda given=given: captum.attr.ShapleyValueSampling(given).attribute(  # type: ignore[misc]
                clip, 0.0, n_samples=4, **asked
            ),
            "Captum's ShapleyValueSampling",
        )


def plain_encodings(model: VideoModel, clip: Tensor, count: int) -> None:
    """So many frames through the encoder."""
    assert isinstance(model, FramewiseModel)
    with torch.no_grad():
        model.encode(clip[0].repeat(2, 1, 1, 1)[:count])


def path_races(quick: bool, device: torch.device) -> Iterator[Race]:
    """Methods that go back more than once, or to a layer, beside Captum's."""
    shape, at_a_time = ((1, 4, 3, 32, 32), 2) if quick else ((1, 16, 3, 112, 112), 16)
    clip = draw(shape).to(device)
    model = ready(lambda: volume("r3d_18"), clip)
    setting, steps = f"r3d_18, {size_of(clip)}", 4 if quick else 32
    yield Race(
        f"IntegratedGradients, {steps} steps",
        setting,
        lambda: ta.IntegratedGradients(
            model, 0.0, n_steps=steps, internal_batch_size=at_a_time
        ).attribute(clip, TARGET),
        lambda: plain_gradients(model, clip, steps, at_a_time),
        f"{steps} clips forward and back, {at_a_time} at a time",
        lambda: captum.attr.IntegratedGradients(model).attribute(
            clip, 0.0, TARGET, n_steps=steps, internal_batch_size=at_a_time
        ),
        "Captum's IntegratedGradients",
    )
    yield Race(
        f"ExtremalPerturbation, {steps} iterations",
        setting,
        lambda: ta.ExtremalPerturbation(model, max_iterations=steps).attribute(clip, TARGET),
        lambda: plain_gradients(model, clip, steps, 1),
        f"{steps} times a clip forward and back",
    )
    if torchvision is not None:
        layer = model.get_submodule("model.layer4")
        yield Race(
            "GradCAM",
            setting,
            lambda: ta.GradCAM(model, layer="layer4").attribute(clip, TARGET),
            lambda: plain_predictions(model, clip, 1, 1),
            "a clip forward",
            lambda: captum.attr.LayerGradCam(model, layer).attribute(clip, TARGET),
            "Captum's LayerGradCam, not enlarged",
        )


def zennit_relevance(model: VideoModel, clip: Tensor, row: int | None) -> Tensor:
    """Relevance by zennit's rules: of the clip's logit, or of a timestep's and its opposite."""
    composites, rules = (importlib.import_module(f"zennit.{n}") for n in ("composites", "rules"))
    types = importlib.import_module("zennit.types")
    chosen = [(types.Activation, rules.Pass()), (types.BatchNorm, rules.Pass())]
    chosen += [(types.AvgPool, rules.Norm()), (types.Convolution, rules.ZPlus())]
    composite = composites.SpecialFirstLayerMapComposite(
        layer_map=[*chosen, (types.Linear, rules.ZPlus())],
        first_map=[(types.Convolution, rules.ZBox(-3.0, 3.0))],
    )
    weight = model.get_submodule("model.fc").weight
    assert isinstance(weight, Tensor)
    found = []
    for sign in (1, -1) if row is not None else (1,):
        with torch.no_grad():
            weight.mul_(sign)
        leaf = clip.clone().requires_grad_()
        with composite.context(model):
            logits = model(leaf) if row is None else model.frame_logits(leaf).logits[:, row]
            start = torch.zeros_like(logits)
            start[:, TARGET] = sign * logits[:, TARGET].detach()
            found.append(torch.autograd.grad(logits, leaf, start)[0])
        with torch.no_grad():
            weight.mul_(sign)
    return found[0] if row is None else (found[0] - found[1]).clamp(min=0)


def seconds(call: Callable[[], Any], device: torch.device) -> float:
    """How long a call keeps the device."""
    if device.type != "cuda":
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    torch.cuda.synchronize(device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize(device)
    milliseconds: float = start.elapsed_time(end)
    return milliseconds / 1000


def run_race(report: Report, race: Race, settings: Settings) -> None:
    """One row: seconds, ratios with their range, and memory."""
    given = {"floor": race.floor, "ours": race.ours, "peer": race.peer}
    contenders = {name: call for name, call in given.items() if call is not None}
    device, memory = settings.device, dict[str, float]()
    warm = 0.0
    for name, call in contenders.items():
        memory[name] = math.nan
        if settings.on_cuda:
            memory[name] = peak(call, device) / GIGABYTE
        warm += seconds(call, device)
    rounds = 1 if settings.quick else max(3, min(9, int(6 / max(warm, 1e-3))))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            scale = race.times if name == "peer" else 1.0
            times[name].append(seconds(call, device) * scale)
    middle = {name: statistics.median(values) for name, values in times.items()}
    cells = [race.name, race.setting, race.floor_name, race.peer_name]
    cells += [f"{middle[name]:.3f}" if name in middle else "" for name in given]
    cells.append(ratio(times["ours"], times["floor"]))
    cells.append(ratio(times["peer"], times["ours"]) if "peer" in times else "")
    cells += [f"{memory['ours']:.2f} / {memory['floor']:.2f}", str(rounds)]
    report.row(*cells)


def ratio(over: list[float], under: list[float]) -> str:
    """The median ratio over rounds, and its range."""
    found = [a / b for a, b in zip(over, under, strict=True)]
    return f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f})"


RACES = (
    gradient_races,
    probe_races,
    rescaling_races,
    relevance_races,
    perturbation_races,
    path_races,
)


def part_speed(report: Report, settings: Settings) -> None:
    """Every method beside its floor and a peer."""
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    report.table(
        "Speed",
        "Seconds; ratios are medians over rounds, with their range. TF32: convolutions "
        f"{tf32[0]}, products {tf32[1]}. GB: of the card, in use at most, ours and the floor. "
        "For the floor and the peer, recurrent layers are in training mode, where cuDNN "
        "differentiates them.",
        ("method", "model and clips", "floor", "peer", "floor s", "ours s", "peer s",
         "ours / floor", "peer / ours", "GB ours / floor", "rounds"),
    )  # fmt: skip
    for group in RACES:
        try:
            for race in group(settings.quick, settings.device):
                if settings.left(1.0) < 0:
                    report.not_run += 1
                    report.say(f"| {race.name} | {race.setting} | not run, as the time was over |")
                    continue
                try:
                    run_race(report, race, settings)
                except Exception as error:  # noqa: BLE001
                    report.fail(f"{race.name}, {race.setting}", reason(error))
        except Exception as error:  # noqa: BLE001
            report.fail(group.__name__, reason(error))


PARTS = {"checks": part_checks, "memory": part_memory, "speed": part_speed}


def _device(name: str) -> torch.device:
    """A device with its number, which limits of memory are set by."""
    device = torch.device(name)
    return torch.device("cuda", 0) if device.type == "cuda" and device.index is None else device


def main() -> int:
    """Run the parts, and say whether anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="small, for a try without a card")
    parser.add_argument("--minutes", type=float, default=7.5, help="start nothing after these")
    parser.add_argument("--out", type=Path, default=RESULTS / "on_cuda.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*required_grads has been set automatically.*")
    settings = Settings(
        _device(options.device), options.quick, time.perf_counter(), 60 * options.minutes
    )
    # More are slower for models this small, and the large ones are few.
    torch.set_num_threads(min(8, torch.get_num_threads()))
    report = Report(options.out, settings)
    print("\n".join(report.lines), flush=True)
    for name in options.only:
        try:
            PARTS[name](report, settings)
        except Exception as error:  # noqa: BLE001
            report.fail(name, reason(error))
        report.say()
    print("\n".join(["", *report.failures]), flush=True)
    print(f"{report.passed} passed, {len(report.failures)} failed, {report.not_run} not run")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
