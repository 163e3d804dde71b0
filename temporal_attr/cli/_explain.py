"""One video, one model, one method: decode, explain, write and draw."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from tqdm import tqdm

from temporal_attr import views
from temporal_attr._errors import OptionError
from temporal_attr.attributions import FrameMaskingTSRResult, PixelResult, Result
from temporal_attr.cli._methods import METHODS, OUTPUTS, MethodFace
from temporal_attr.clips import Clip, Sampling, load_clip
from temporal_attr.models import VideoModel, check_logits, class_names, load_model
from temporal_attr.zoo import load_pretrained, pretrained_card


@dataclass(frozen=True)
class Settings:
    """What `explain` was asked for; the names are those of its options."""

    video: Path | None
    model: str
    out: Path
    video_dir: Path | None = None
    weights: Path | None = None
    classes: Path | None = None
    method: str = "temporal-gradient"
    target: str = "top"
    frames: int = 16
    sampling: Sampling = "uniform"
    stride: int = 1
    start: int = 0
    device: str = "cpu"
    seed: int = 0
    objective: str | None = None
    memory: str | None = None
    chunk_size: int | None = None
    sigma: float | None = None
    contrastive: bool | None = None
    shuffles: int | None = None
    shuffling: str | None = None
    flow: str | None = None
    window: int | None = None
    base: str | None = None
    steps: str | None = None
    features: str | None = None
    hide: str | None = None
    threshold: float | None = None
    quantile: float | None = None
    normalize: bool | None = None


@dataclass(frozen=True)
class Explained:
    """What a run found, and what the classes are called."""

    result: Result
    clip: Clip
    names: list[str]


@dataclass(frozen=True)
class Ready:
    """All that one video after another needs."""

    method: MethodFace
    options: dict[str, Any]
    model: nn.Module
    names: list[str]
    device: torch.device


def explain_video(settings: Settings) -> Explained:
    """Decode, explain, write and draw, as `temporal-attr explain VIDEO` does."""
    if settings.video is None or settings.video_dir is not None:
        raise OptionError(
            "one video, or --video-dir and a folder of them",
            "both" if settings.video else "neither",
            "Name one of them.",
        )
    ready = prepare(settings)
    explained = explain_one(ready, settings, settings.video, settings.out)
    finish(settings)
    stop_if_asked(explained.result)
    return explained


def stop_if_asked(result: Result) -> None:
    """Pass on the Ctrl-C that a method held back, now that what it had done is written."""
    if isinstance(result, FrameMaskingTSRResult) and not result.complete:
        raise KeyboardInterrupt


def finish(settings: Settings) -> None:
    """Say where the results are, and if they are of no trained model."""
    if settings.weights is None and settings.model.startswith(("torchvision:", "timm:")):
        print("The weights are random, so this explains no trained model; pass --weights FILE.")
    print(f"written to {settings.out}")


def prepare(settings: Settings) -> Ready:
    """Check the options, make the folder and load the model: what can fail before the work."""
    method = METHODS[settings.method]
    options = _method_options(settings, method.options)
    if method.seeded:
        options["seed"] = settings.seed
    make_folder(settings.out)
    device = _device(settings.device)
    model, names = _model_and_names(settings)
    return Ready(method, options, model.to(device), names, device)


def explain_one(ready: Ready, settings: Settings, video: Path, out: Path) -> Explained:
    """Explain one video, and write what was found to a folder."""
    model = ready.model
    say(f"decoding {settings.frames} frames of {video}")
    clip = load_clip(
        video,
        settings.frames,
        settings.sampling,
        stride=settings.stride,
        start=settings.start,
        preprocessing=model.preprocessing if isinstance(model, VideoModel) else None,
        show_progress=True,
    ).to(ready.device)
    target = _target(settings, model, clip, ready.names)
    say("explaining the prediction")
    result = ready.method.explain(model, clip, target, ready.options)
    make_folder(out)
    _write(result, clip, replace(settings, video=video, out=out), ready.names)
    _draw(result, clip, ready.method, out)
    print(result.summary())
    print("top classes: " + ", ".join(top_classes(result, ready.names)))
    return Explained(result, clip, ready.names)


def _method_options(settings: Settings, known: tuple[str, ...]) -> dict[str, Any]:
    """The options that were given for the method; one that it does not read is an error."""
    every = {name for method in METHODS.values() for name in method.options}
    given = {name for name in every if getattr(settings, name) is not None}
    for name in sorted(given - set(known)):
        raise OptionError(
            f"options of {settings.method}: "
            + (", ".join(f"--{option.replace('_', '-')}" for option in known) or "none"),
            f"--{name.replace('_', '-')}",
            "Leave it out.",
        )
    return {name: getattr(settings, name) for name in given}


def _model_and_names(settings: Settings) -> tuple[nn.Module, list[str]]:
    """The model, and the names of its classes as far as they are known."""
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


def _target(settings: Settings, model: nn.Module, clip: Clip, names: list[str]) -> int:
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
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"a device that is there as {name}", reason, "Try cpu.") from None
    return device


def make_folder(folder: Path) -> None:
    """A folder that can be written to, or an error that says why not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A folder may be there and refuse a file; better known before the work than after it.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OptionError(
            f"a folder to write to at {folder}", error.strerror or str(error), "Choose another."
        ) from None


def _write(result: Result, clip: Clip, settings: Settings, names: list[str]) -> None:
    """Write numbers and tensors, before the pictures, which take longer."""
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
        "top_classes": top_classes(result, names),
        "result": result.to_dict(),
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    (settings.out / "result.json").write_text(text + "\n", encoding="utf-8")
    tensors = {**result.tensors(), "clip": clip.tensor.cpu().contiguous()}
    save_file(tensors, settings.out / "tensors.safetensors")


def _draw(result: Result, clip: Clip, method: MethodFace, out: Path) -> None:
    say("drawing the pictures")
    for name, draw in tqdm(method.figures(result, clip).items(), "drawing", delay=2):
        draw().savefig(out / name, dpi=120)
    if isinstance(result, PixelResult):
        views.overlay_video(result, clip, out / "overlay.webm")


def top_classes(result: Result, names: list[str]) -> list[str]:
    """The five best classes with their probabilities."""
    probabilities = result.logits[0].softmax(0)
    order = probabilities.argsort(descending=True, stable=True)[:5].tolist()
    return [
        f"{number}{' ' + names[number] if names else ''} ({probabilities[number]:.1%})"
        for number in order
    ]


def _text(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def say(line: str) -> None:
    """Tell what is being done, on the error stream."""
    print(f"{line} ...", file=sys.stderr, flush=True)
