"""Many videos, one after another: a folder for each, and what they say together."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from temporal_attr import views
from temporal_attr._errors import OptionError, TargetError, TemporalAttrError
from temporal_attr.attributions import Result
from temporal_attr.cli._explain import (
    Ready,
    explain_one,
    finish,
    prepare,
    say,
    stop_if_asked,
)
from temporal_attr.cli._settings import Settings

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
TABLE, RECORD, PICTURE = "clips.csv", "clips.json", "clips.png"


@runtime_checkable
class Gathered(Protocol):
    """What several clips say together."""

    def table(self) -> str:
        """One row a clip, as text."""

    def summary(self) -> str:
        """The means, as text."""

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, ready for JSON."""


@runtime_checkable
class Gathers(Protocol):
    """A result that can be put together with those of other clips; most cannot."""

    @classmethod
    def gather(cls, results: Sequence[Any], names: Sequence[str]) -> Gathered:
        """Put the results of several clips together."""

    def row(self) -> dict[str, float]:
        """The numbers of the clip, by their headings in a table."""


def explain_folder(settings: Settings, folder: Path) -> None:
    """Explain every video of a folder, as `temporal-attr explain --video-dir` does.

    A video that cannot be explained is named and left out. Each that is done has its folder, and
    its row in the table, before the next one starts.
    """
    videos = _videos(folder)
    if settings.out.resolve() == folder.resolve():
        raise OptionError(
            "--out to be another folder than that of the videos", str(folder), "Try out."
        )
    ready = prepare(settings)
    for name in (TABLE, RECORD, PICTURE):
        (settings.out / name).unlink(missing_ok=True)
    done, failed = _explain_each(ready, settings, videos)
    if not done:
        raise OptionError(
            f"a video that can be explained in {folder}", f"{len(failed)} that cannot", "See above."
        )
    _write_together(done, settings.out)
    if failed:
        print(f"left out, as they could not be explained: {', '.join(failed)}")
    finish(settings)


def _explain_each(
    ready: Ready, settings: Settings, videos: Sequence[Path]
) -> tuple[dict[str, Result], list[str]]:
    """The results by the names of their videos, and the videos that were left out."""
    done: dict[str, Result] = {}
    failed: list[str] = []
    for number, video in enumerate(videos, 1):
        print(f"\n{video.name} ({number} of {len(videos)})")
        try:
            result = explain_one(ready, settings, video, settings.out / video.name).result
        except (OptionError, TargetError):
            raise  # the same for every video
        except TemporalAttrError as error:
            say(f"left out: {error}")
            failed.append(video.name)
            continue
        done[video.name] = result
        if isinstance(result, Gathers):
            _append_row(settings.out / TABLE, video.name, result)
        stop_if_asked(result)
    return done, failed


def _videos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OptionError("--video-dir to be a folder", str(folder), "Name one that is there.")
    videos = sorted(
        path for path in folder.iterdir() if path.is_file() and path.suffix.lower() in SUFFIXES
    )
    if not videos:
        raise OptionError(
            f"videos ({', '.join(SUFFIXES)}) in {folder}", "none", "Name another folder."
        )
    return videos


def _append_row(table: Path, name: str, result: Gathers) -> None:
    """A clip's numbers, under a line of headings."""
    row, fresh = result.row(), not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            writer.writerow(["clip", *row])
        writer.writerow([name, *row.values()])


def _write_together(done: Mapping[str, Result], out: Path) -> None:
    """What the clips say together, if anything: numbers, a picture and text."""
    first = next(iter(done.values()))
    if not isinstance(first, Gathers):
        return
    clips = first.gather(list(done.values()), list(done))
    text = json.dumps(clips.to_dict(), indent=1, allow_nan=False)
    (out / RECORD).write_text(text + "\n", encoding="utf-8")
    for name, figure in views.pictures_of_set(clips).items():
        figure().savefig(out / name, dpi=120)
    print("\n" + clips.table())
    print(clips.summary())
