"""`temporal-attr compare`: methods beside each other, on videos or on what was planted."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from torch import nn

from temporal_attr import views
from temporal_attr._errors import OptionError, TemporalAttrError
from temporal_attr._files import write_text
from temporal_attr.cli._arguments import add_model, add_preprocessing, add_sampling
from temporal_attr.cli._explain import device_named, model_and_names
from temporal_attr.cli._folder import videos_in
from temporal_attr.cli._preprocessing import preprocessing_for
from temporal_attr.cli._print import say, tell
from temporal_attr.cli._settings import FRAMES, Settings
from temporal_attr.clips import load_clip
from temporal_attr.evaluation import (
    CHANCE,
    Comparison,
    Example,
    Suite,
    metric_names,
    planted_clips,
)
from temporal_attr.evaluation._named import metrics_of
from temporal_attr.evaluation.suite._compared import compared
from temporal_attr.evaluation.suite._rows import require_ours
from temporal_attr.models import VideoModel
from temporal_attr.synthetic import TASKS, PlantedVideo, Task
from temporal_attr.zoo import pretrained_card

OF_PLANTED = ("auprc-pixels", "abpc-frames", "abpc-tubes")
OF_VIDEOS = ("abpc-frames", "leave-one-out-frames")
"""Metrics where none is named."""

SUMMARY = "summary.txt"
_SEED = 20_261
"""Of planted videos: none that a model of the zoo was trained on."""


@dataclass(frozen=True)
class CompareSettings:
    """What `compare` was asked for; the names are those of its options.

    Attributes:
        methods: Slugs, with commas between them; likewise `metrics`.
        planted: The name of a task; None for videos.
        clips: How many planted ones.
        seed: Of all that is drawn, other than planted videos.
    """

    methods: str
    out: Path
    videos: Path | None = None
    planted: str | None = None
    clips: int = 20
    metrics: str | None = None
    budget: int | None = None
    seed: int = 0


def add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `compare`."""
    add_model(parser)
    parser.add_argument(
        "--methods",
        required=True,
        metavar="A,B,...",
        help=f"slugs of methods, and levels of chance ({', '.join(CHANCE)})",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--videos", type=Path, metavar="DIR", help="a folder of videos")
    which.add_argument(
        "--planted",
        choices=TASKS,
        help="videos drawn here, whose deciding frames and pixels are known, as far as the model "
        "gets them right",
    )
    parser.add_argument(
        "--clips", type=int, help=f"with --planted: how many (default: {CompareSettings.clips})"
    )
    parser.add_argument(
        "--metrics",
        metavar="A,B,...",
        help=f"(default: {','.join(OF_PLANTED)}, or with --videos {','.join(OF_VIDEOS)}) of "
        + ", ".join(metric_names()),
    )
    parser.add_argument(
        "--budget",
        type=int,
        help="evaluations for each explanation, as far as a method's options allow",
    )
    parser.add_argument("--seed", type=int, help="(default: 0)")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder to write to: a new or an empty one, or that of an earlier comparison, which "
        "goes on where it was",
    )
    add_sampling(parser)
    add_preprocessing(parser)


def run_compare(**parsed: Any) -> None:  # noqa: ANN401 - of argparse
    """Compare methods, and write the table, a summary and pictures."""
    own = {entry.name for entry in fields(CompareSettings)}
    settings = CompareSettings(**{name: parsed[name] for name in own & parsed.keys()})
    # Both take `seed` and `out`.
    shared = {name: value for name, value in parsed.items() if name not in own - {"seed", "out"}}
    explaining = Settings(None, **shared)
    if settings.planted is None and "clips" in parsed:
        raise OptionError("--clips with --planted", "--videos", "Leave it out.")
    # Before anything that takes long.
    require_ours(settings.out)
    methods = _names(settings.methods)
    default = OF_VIDEOS if settings.planted is None else OF_PLANTED
    metrics = default if settings.metrics is None else tuple(_names(settings.metrics))
    compared(methods, settings.budget)
    metrics_of(metrics)
    device = device_named(explaining.device)
    network, _ = model_and_names(explaining)
    preprocessing_for(network, explaining)
    model = network.to(device).eval()
    clips = _planted(settings, explaining, model) or _videos(settings, explaining, model)
    suite = Suite(
        {explaining.model: model}, methods, clips, metrics, settings.budget, settings.seed
    )
    say(f"comparing {len(methods)} methods on {len(clips)} clips")
    comparison = suite.run(settings.out, on_stop="keep")
    _write(comparison, settings.out)
    if not comparison.complete:
        raise KeyboardInterrupt


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _planted(
    settings: CompareSettings, explaining: Settings, model: nn.Module
) -> Sequence[PlantedVideo]:
    if settings.planted is None:
        return ()
    task = _task(settings.planted, explaining, model)
    found = planted_clips(task, model, settings.clips, _SEED)
    say(f"the model gets {found.accuracy:.0%} of {found.drawn} planted videos right")
    # Twice the error of guessing: what a model that knows nothing gets right by luck.
    chance = 1 / found.classes
    lucky = chance + 2 * (chance * (1 - chance) / found.drawn) ** 0.5
    if found.accuracy < max(0.5, lucky):
        say(
            f"of {found.classes} classes that need not be more than luck: what was planted may not "
            "be what it sees"
        )
    return found.videos


def _task(name: str, explaining: Settings, model: nn.Module) -> Task:
    """The task as the model was trained on it, if that is known, or of the size that it takes."""
    library, _, checkpoint = explaining.model.partition(":")
    card = pretrained_card(checkpoint) if library == "zoo" else None
    options: dict[str, Any] = {}
    if card is not None and card.task == name:
        options |= card.task_options
    if card is not None and "size" in card.options:
        options["size"] = card.options["size"]
    frames = explaining.frames
    if frames is None and isinstance(model, VideoModel):
        frames = model.clip_frames
    if frames is not None:
        options["frames"] = frames
    return TASKS[name](**options)


def _videos(settings: CompareSettings, explaining: Settings, model: nn.Module) -> Sequence[Example]:
    assert settings.videos is not None
    known = isinstance(model, VideoModel) and model.clip_frames
    frames = explaining.frames or known or FRAMES
    given = {"stride": explaining.stride, "start": explaining.start}
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    preprocessing = preprocessing_for(model, explaining)
    found = []
    for name, path in videos_in(settings.videos, settings.out, "--videos").items():
        try:
            clip = load_clip(
                path, frames, explaining.sampling, preprocessing=preprocessing, **options
            )
        except OptionError:
            raise
        except TemporalAttrError as error:
            say(f"left out: {error}")
            continue
        found.append(Example(clip.tensor, name=name))
    if not found:
        raise OptionError(f"a video in {settings.videos} that can be read", "none", "See above.")
    return found


def _write(comparison: Comparison, out: Path) -> None:
    comparison.save(out)
    write_text(out / SUMMARY, comparison.summary() + "\n")
    say("drawing the pictures")
    for name, figure in views.pictures_of_comparison(comparison).items():
        figure().savefig(out / name, dpi=120)
    tell(comparison.summary())
    tell(f"written to {out}")
