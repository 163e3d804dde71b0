"""One video, one model, one method: decode, explain, write and draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from temporal_attr._errors import OptionError, printable
from temporal_attr.attributions import Estimate, Result
from temporal_attr.cli._made_from import made_from, video_stamp
from temporal_attr.cli._methods import Chosen, methods
from temporal_attr.cli._options import values_of
from temporal_attr.cli._output import claimed, placed
from temporal_attr.cli._preprocessing import NAMES, described, preprocessing_for
from temporal_attr.cli._print import complain, say, tell
from temporal_attr.cli._settings import FRAMES, Settings
from temporal_attr.cli._write import draw, write
from temporal_attr.clips import Clip, Preprocessing, load_clip
from temporal_attr.models import VideoModel, check_logits, class_names, load_model, rather_than
from temporal_attr.zoo import load_pretrained


@dataclass(frozen=True)
class Explained:
    """What a run found, and the clip that it explained."""

    result: Result
    clip: Clip


@dataclass(frozen=True)
class Ready:
    """All that one video after another needs."""

    method: Chosen
    model: nn.Module
    names: tuple[str, ...]
    device: torch.device
    preprocessing: Preprocessing
    frames: int
    made_from: Mapping[str, Any]


def explain_video(settings: Settings) -> Explained:
    """Decode, explain, write and draw, as `temporal-attr explain VIDEO` does."""
    if settings.video is None or settings.video_dir is not None:
        raise OptionError(
            "one video, or --video-dir and a folder of them",
            "both" if settings.video else "neither",
            "Name one of them.",
        )
    if settings.overwrite:
        raise OptionError("--overwrite with --video-dir", "one video", "Leave it out.")
    with claimed(settings.out):
        ready = prepare(settings)
        explained = explain_one(ready, settings, settings.video, settings.out)
    finish(settings)
    stop_if_asked(explained.result)
    return explained


def estimate_video(settings: Settings) -> Estimate:
    """Decode, and say what the method will cost, as `explain VIDEO --estimate` does."""
    if settings.video is None or settings.video_dir is not None:
        raise OptionError("--estimate of one video", "a folder, or none", "Name one of its videos.")
    ready = prepare(settings)
    clip = _decoded(ready, settings, settings.video)
    target = _target(settings, ready.model, clip, ready.names)
    estimate = ready.method.estimate(ready.model, clip, target)
    tell(estimate.summary())
    return estimate


def stop_if_asked(result: Result) -> None:
    """Pass on the Ctrl-C that a method held back, now that what it had done is written."""
    if not getattr(result, "complete", True):
        raise KeyboardInterrupt


def finish(settings: Settings) -> None:
    """Say where the results are, and if they are of no trained model."""
    if settings.weights is None and settings.model.startswith(("torchvision:", "timm:")):
        tell("The weights are random, so this explains no trained model; pass --weights FILE.")
    tell(f"written to {settings.out}")


def prepare(settings: Settings) -> Ready:
    """Check the options and load the model: what can fail before the work."""
    method = methods()[settings.method]
    values = values_of(method, settings.options)
    chosen = Chosen(
        method,
        seed=settings.seed,
        base=values["base"].get("base"),
        constructor=values["constructor"],
        explain=values["explain"],
    )
    device = device_named(settings.device)
    model, names = model_and_names(settings)
    preprocessing = preprocessing_for(model, settings)
    if any(getattr(settings, name) is not None for name in NAMES):
        say(f"preprocessing as given: {described(preprocessing)}")
    frames = settings.frames
    if frames is None:
        frames = (model.clip_frames if isinstance(model, VideoModel) else None) or FRAMES
    numbers_from = made_from(replace(settings, frames=frames), model, names, preprocessing)
    model = _compared(model, settings, names)
    return Ready(chosen, model.to(device), names, device, preprocessing, frames, numbers_from)


def explain_one(ready: Ready, settings: Settings, video: Path, out: Path) -> Explained:
    """Explain one video, and have what was found take its place as a whole."""
    model = ready.model
    clip = _decoded(ready, settings, video)
    target = _target(settings, model, clip, ready.names)
    say("explaining the prediction")
    found = ready.method.run(model, clip, target)
    result = replace(found, class_names=found.class_names or ready.names)
    numbers_from = {**ready.made_from, "video": video_stamp(video)}
    with placed(out, "explain", numbers_from) as draft:
        shown = replace(settings, video=video, out=out, frames=ready.frames)
        write(result, clip, shown, ready.preprocessing, draft)
        say("drawing the pictures")
        draw(result, clip, draft)
        draft.manifest.complete = bool(getattr(result, "complete", True))
    tell(result.summary())
    best = "largest outputs" if result.activation == "none" else "top classes"
    tell(f"{best}: {', '.join(result.top_classes())}")
    return Explained(result, clip)


def _decoded(ready: Ready, settings: Settings, video: Path) -> Clip:
    """The clip of a video, and what is to be said of it."""
    say(f"decoding {ready.frames} frames of {video}")
    clip = load_clip(
        video,
        ready.frames,
        settings.sampling,
        **{
            name: value
            for name in ("stride", "start")
            if (value := getattr(settings, name)) is not None
        },
        preprocessing=ready.preprocessing,
        show_progress=True,
    ).to(ready.device)
    for note in clip.notes:
        complain(f"{printable(str(video), keep='')}: {note}")
    return clip


def model_and_names(settings: Settings) -> tuple[nn.Module, tuple[str, ...]]:
    """The model, and the names of its classes as far as they are known."""
    given = tuple(class_names(settings.classes))
    model = _load(settings, given)
    if not isinstance(model, VideoModel):
        return model, given
    model.class_names = given or tuple(model.class_names)
    return model, model.class_names


def _load(settings: Settings, names: tuple[str, ...]) -> nn.Module:
    library, _, checkpoint = settings.model.partition(":")
    if library != "zoo":
        return load_model(settings.model, settings.weights, len(names) or None, settings.seed)
    if settings.weights is not None:
        raise OptionError(
            "a trained model without --weights", str(settings.weights), "Leave one of them out."
        )
    return load_pretrained(checkpoint)


def _target(settings: Settings, model: nn.Module, clip: Clip, names: tuple[str, ...]) -> int:
    with torch.no_grad():
        logits = check_logits(model(clip.tensor), 1)
    if names and len(names) != logits.shape[1]:
        raise OptionError(
            f"a name for each of the model's {logits.shape[1]} classes in {settings.classes}",
            f"{len(names)}",
            "Write one name a line, in the order of the classes.",
        )
    top = settings.target == "top"
    target = int(logits.argmax()) if top else _number("target", settings.target, names)
    classes = logits.shape[1]
    other = settings.rather_than
    if other is not None and (target - _number("rather-than", other, names)) % classes == 0:
        raise OptionError(
            "--rather-than another class than the target",
            f"{other}, which is the target" + (" (the top class)" if top else ""),
            "Name the class to explain with --target.",
        )
    return target


def _number(option: str, text: str, names: tuple[str, ...]) -> int:
    """The number of a class that is given by its number or its name."""
    if text in names:
        return names.index(text)
    try:
        return int(text)
    except ValueError:
        or_top = " or top" if option == "target" else ""
        raise OptionError(
            f"--{option} to be a class number{or_top}, or a name from --classes", text, "Try 0."
        ) from None


def _compared(model: nn.Module, settings: Settings, names: tuple[str, ...]) -> nn.Module:
    """The model, or one of the differences to the class that it is compared with."""
    if settings.rather_than is None:
        return model
    other = _number("rather-than", settings.rather_than, names)
    changed = rather_than(model, other)
    if names and not isinstance(model, VideoModel):
        # Only a VideoModel knows the names by itself; their number is checked with the first clip.
        compared = names[other % len(names)]
        changed.class_names = tuple(f"{name} rather than {compared}" for name in names)
    return changed


def device_named(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"a device that is there as {name}", reason, "Try cpu.") from None
    return device
