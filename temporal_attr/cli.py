"""The command line: `temporal-attr explain VIDEO` and `temporal-attr demo`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from temporal_attr._errors import OptionError, TemporalAttrError

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure
    from torch import nn

    from temporal_attr.attributions import Memory, ObjectiveName, TemporalGradientResult
    from temporal_attr.clips import Clip, Sampling


@dataclass(frozen=True)
class Settings:
    """What `explain` was asked for; the names are those of its options."""

    video: Path
    model: str
    out: Path
    weights: Path | None = None
    classes: Path | None = None
    method: str = "temporal-gradient"
    target: str = "top"
    objective: ObjectiveName = "logit"
    memory: Memory = "auto"
    chunk_size: int | None = None
    frames: int = 16
    sampling: Sampling = "uniform"
    stride: int = 1
    start: int = 0
    device: str = "cpu"
    seed: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        0 when done, 2 when something is wrong with what was asked, 130 when stopped by Ctrl-C.
    """
    # FFmpeg and OpenCV write their own notes about damaged files; ours say what to do.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    options = vars(_parser().parse_args(arguments))
    run: Callable[..., None] = options.pop("run")
    try:
        run(**options)
    except TemporalAttrError as error:
        print(f"temporal-attr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("temporal-attr: stopped; what was written so far is kept", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    from temporal_attr import __version__  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="temporal-attr", description="What does a video classifier get from time?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    explain = commands.add_parser("explain", help="explain a model's prediction for a video")
    explain.set_defaults(run=lambda **options: explain_video(Settings(**options)))
    explain.add_argument("video", type=Path, help="the video file")
    explain.add_argument(
        "--model",
        required=True,
        help="zoo:NAME (a trained reference model), torchvision:NAME, timm:NAME, or "
        "package.module:factory, a function without arguments that returns a model (a VideoModel, "
        "one that wrap() recognises, or any module from clips to logits)",
    )
    explain.add_argument("--out", type=Path, required=True, help="folder to write to")
    explain.add_argument("--weights", type=Path, help="state dict: .safetensors or torch.save")
    explain.add_argument(
        "--classes",
        type=Path,
        help="text file, one class name a line; torchvision "
        "and timm models are built with that many classes",
    )
    explain.add_argument("--method", choices=sorted(METHODS), default="temporal-gradient")
    explain.add_argument("--target", default="top", help="class number or name, or top (default)")
    explain.add_argument("--objective", default="logit", help="default: logit")
    explain.add_argument("--memory", default="auto", help="memory path (default: auto)")
    explain.add_argument("--chunk-size", type=int, help="frames at a time, on the framewise path")
    explain.add_argument("--frames", type=int, default=16, help="how many (default: 16)")
    explain.add_argument("--sampling", choices=("uniform", "dense"), default="uniform")
    explain.add_argument("--stride", type=int, default=1, help="for dense sampling")
    explain.add_argument("--start", type=int, default=0, help="for dense sampling")
    explain.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    explain.add_argument("--seed", type=int, default=0, help="of random weights, without --weights")
    demo = commands.add_parser(
        "demo", help="explain what two trained models see in a clip that is drawn here"
    )
    demo.set_defaults(run=run_demo)
    demo.add_argument("--out", type=Path, default=Path("temporal_attr_demo"), help="output folder")
    return parser


def explain_video(settings: Settings) -> Explained:
    """Decode, explain, write and draw, as `temporal-attr explain` does."""
    from temporal_attr.clips import load_clip  # noqa: PLC0415
    from temporal_attr.models import VideoModel  # noqa: PLC0415

    _make_folder(settings.out)
    device = _device(settings.device)
    model, names = _model_and_names(settings)
    model = model.to(device)
    _say(f"decoding {settings.frames} frames of {settings.video}")
    clip = load_clip(
        settings.video,
        settings.frames,
        settings.sampling,
        stride=settings.stride,
        start=settings.start,
        preprocessing=model.preprocessing if isinstance(model, VideoModel) else None,
        show_progress=True,
    ).to(device)
    target = _target(settings, model, clip, names)
    result = METHODS[settings.method](settings, model, clip, target)
    _write(result, clip, settings, names)
    _draw(result, clip, settings.out)
    print(result.summary())
    print("top classes: " + ", ".join(_top_classes(result, names)))
    if settings.weights is None and settings.model.startswith(("torchvision:", "timm:")):
        print("The weights are random, so this explains no trained model; pass --weights FILE.")
    print(f"written to {settings.out}")
    return Explained(result, clip, names)


DEMO = {
    "a model that looks": "mixed-appearance-late-fusion",
    "a model that follows motion": "mixed-motion-inflated-resnet",
}
"""The demo's models: trained on planted videos where only shape, or only motion, told the class."""


def run_demo(out: Path) -> None:
    """Plant a clip, and explain what two trained models see in it, side by side."""
    from temporal_attr import synthetic, views, zoo  # noqa: PLC0415

    _make_folder(out)
    card = zoo.pretrained_card(DEMO["a model that looks"])
    # Neither cue is reliable, so that the shape speaks for one class and the motion for another.
    unsure = {**card.task_options, "appearance_reliability": 0.0, "motion_reliability": 0.0}
    planted = synthetic.TASKS[card.task](size=card.options["size"], **unsure).sample(3)
    video = planted.write(out / "clip.webm")
    views.planted_sheet([planted]).savefig(out / "clip.png", dpi=120)
    shown = {cue: planted.class_names[number] for cue, number in planted.cues.items()}
    rows = {}
    for role, name in DEMO.items():
        print(f"\n{role} ({name})")
        explained = explain_video(Settings(video, f"zoo:{name}", out / name))
        row = f"{role}: {_top_classes(explained.result, explained.names)[0]}"
        rows[row] = explained.result
    views.side_by_side(rows, explained.clip).savefig(out / "side_by_side.png", dpi=120)
    print(f"\nthe shape speaks for: {shown['appearance']}")
    print(f"the motion speaks for: {shown['motion']}")
    print("\n".join(rows))
    print(f"side by side in {out / 'side_by_side.png'}")


@dataclass(frozen=True)
class Explained:
    """What a run found, and what the classes are called."""

    result: TemporalGradientResult
    clip: Clip
    names: list[str]


def _model_and_names(settings: Settings) -> tuple[nn.Module, list[str]]:
    """The model, and the names of its classes as far as they are known."""
    from temporal_attr.models import class_names, load_model  # noqa: PLC0415
    from temporal_attr.zoo import load_pretrained, pretrained_card  # noqa: PLC0415

    names = class_names(settings.classes)
    library, _, checkpoint = settings.model.partition(":")
    if library != "zoo":
        return load_model(
            settings.model, settings.weights, len(names) or None, settings.seed
        ), names
    if settings.weights is not None:
        raise OptionError(
            "a trained model without --weights", str(settings.weights), "Leave one of them out."
        )
    model = load_pretrained(checkpoint)
    return model, names or list(pretrained_card(checkpoint).class_names)


def _explain_gradient(
    settings: Settings, model: nn.Module, clip: Clip, target: int
) -> TemporalGradientResult:
    from temporal_attr.attributions import TemporalGradient  # noqa: PLC0415
    from temporal_attr.models import VideoModel  # noqa: PLC0415

    method = TemporalGradient(model, settings.objective, settings.memory, settings.chunk_size)
    wrapped = isinstance(model, VideoModel)
    if not wrapped:
        _say("the model is not wrapped, so there are no timesteps and no influence matrix")
    _say("explaining the prediction")
    return method.explain(clip.tensor, target, show_progress=True, influence=wrapped)


OUTPUTS = (
    "result.json",
    "tensors.safetensors",
    "frame_strip.png",
    "overlay_grid.png",
    "influence_map.png",
    "overlay.webm",
)
"""What a run writes; those of an earlier run do not stay beside it."""

METHODS: dict[str, Callable[[Settings, nn.Module, Clip, int], TemporalGradientResult]] = {
    "temporal-gradient": _explain_gradient
}


def _target(settings: Settings, model: nn.Module, clip: Clip, names: list[str]) -> int:
    import torch  # noqa: PLC0415

    from temporal_attr.models import check_logits  # noqa: PLC0415

    with torch.no_grad():
        logits = check_logits(model(clip.tensor), 1)
    if names and len(names) != logits.shape[1]:
        raise OptionError(
            f"a name for each of the model's {logits.shape[1]} classes in {settings.classes}",
            f"{len(names)}",
            "Write one name a line, in the order of the classes.",
        )
    if settings.target == "top":
        return int(logits.argmax())
    if settings.target in names:
        return names.index(settings.target)
    try:
        return int(settings.target)
    except ValueError:
        raise OptionError(
            "--target to be a class number or top, or a name from --classes",
            settings.target,
            "Try 0.",
        ) from None


def _device(name: str) -> torch.device:
    import torch  # noqa: PLC0415

    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"a device that is there as {name}", reason, "Try cpu.") from None
    return device


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder may be there and refuse a file; better known before the work than after it.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionError(
            f"a folder to write to at {folder}", error.strerror or str(error), "Choose another."
        ) from None


def _write(
    result: TemporalGradientResult, clip: Clip, settings: Settings, names: list[str]
) -> None:
    """Write numbers and tensors, before the pictures, which take longer."""
    from safetensors.torch import save_file  # noqa: PLC0415

    # Only now that there is a result do those of an earlier run give way.
    for name in OUTPUTS:
        (settings.out / name).unlink(missing_ok=True)
    record = {
        "settings": {
            entry.name: _text(getattr(settings, entry.name)) for entry in fields(settings)
        },
        "clip": {
            "source": clip.source,
            "fps": clip.fps,
            "indices": list(clip.indices),
            "timestamps": list(clip.timestamps),
        },
        "top_classes": _top_classes(result, names),
        "result": result.to_dict(),
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    (settings.out / "result.json").write_text(text + "\n", encoding="utf-8")
    tensors = {**result.tensors(), "clip": clip.tensor.cpu().contiguous()}
    save_file(tensors, settings.out / "tensors.safetensors")


def _draw(result: TemporalGradientResult, clip: Clip, out: Path) -> None:
    from tqdm import tqdm  # noqa: PLC0415

    from temporal_attr import views  # noqa: PLC0415

    _say("drawing the pictures")
    figures: dict[str, Callable[[], Figure]] = {
        "frame_strip.png": lambda: views.frame_strip(result, clip),
        "overlay_grid.png": lambda: views.overlay_grid(result, clip),
    }
    if result.influence is not None:
        figures["influence_map.png"] = lambda: views.influence_map(result)
    for name, draw in tqdm(figures.items(), "drawing", delay=2):
        draw().savefig(out / name, dpi=120)
    views.overlay_video(result, clip, out / "overlay.webm")


def _top_classes(result: TemporalGradientResult, names: list[str]) -> list[str]:
    probabilities = result.logits[0].softmax(0)
    order = probabilities.argsort(descending=True, stable=True)[:5].tolist()
    return [
        f"{number}{' ' + names[number] if names else ''} ({probabilities[number]:.1%})"
        for number in order
    ]


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _say(line: str) -> None:
    print(f"{line} ...", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
