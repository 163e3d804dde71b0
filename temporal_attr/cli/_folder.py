"""Many videos, one after another: a folder for each, and what they say together."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from temporal_attr import views
from temporal_attr._errors import (
    OptionError,
    ResultError,
    TargetError,
    TemporalAttrError,
    VideoError,
    printable,
)
from temporal_attr._files import takes_name
from temporal_attr.attributions import Result, load_result
from temporal_attr.cli._explain import (
    Ready,
    explain_one,
    finish,
    prepare,
    stop_if_asked,
)
from temporal_attr.cli._made_from import difference, is_same_video
from temporal_attr.cli._output import Collection, Manifest, collected
from temporal_attr.cli._print import say, tell
from temporal_attr.cli._settings import Settings
from temporal_attr.clips import VIDEO_SUFFIXES

TABLE, RECORD = "clips.csv", "clips.json"


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

    A video that cannot be explained is named and left out, and one that an earlier run finished is
    not explained again. Each that is done has its folder, and its row in the table, before the next
    one starts.
    """
    if settings.out.resolve() == folder.resolve():
        raise OptionError(
            "--out to be another folder than that of the videos", str(folder), "Try out."
        )
    videos = videos_in(folder, settings.out)
    with collected(settings.out, "folder") as collection:
        ready = prepare(settings)
        finished = {} if settings.overwrite else _finished(ready, settings.out, videos)
        run = _FolderRun(ready, settings, collection, finished)
        for number, (name, video) in enumerate(videos.items(), 1):
            tell(f"\n{_shown(name)} ({number} of {len(videos)})")
            run.explain(name, video)
        run.end(folder)
    finish(settings)


class _FolderRun:
    """What is known of the videos of a folder, one after another."""

    def __init__(
        self, ready: Ready, settings: Settings, collection: Collection, finished: Container[str]
    ) -> None:
        self._ready = ready
        self._settings = settings
        self._collection = collection
        self._finished = finished
        self._done: dict[str, Result] = {}
        self._rows: dict[str, dict[str, float]] = {}
        self._failed: list[str] = []

    def explain(self, name: str, video: Path) -> None:
        """Explain a video, or leave it out, and write the table anew."""
        out = self._settings.out / name
        try:
            _require_room(self._settings.out, name)
            if name in self._finished:
                tell("finished before; --overwrite explains it again")
                result: Result = load_result(out)
            else:
                result = explain_one(self._ready, self._settings, video, out).result
        except ResultError:
            raise  # what cannot be written cannot be written for the next one either
        except TemporalAttrError as error:
            if isinstance(error, (OptionError, TargetError)) and not self._done:
                raise  # of an option, and the first video had it: so will the others
            say(f"left out: {error}")
            self._failed.append(name)
            return
        self._done[name] = result
        if isinstance(result, Gathers):
            self._rows[name] = result.row()
            with self._collection.file(TABLE) as path:
                _write_table(path, self._rows)
        stop_if_asked(result)

    def end(self, folder: Path) -> None:
        """Write what the videos say together, if anything: numbers, a picture and text."""
        if not self._done:
            raise OptionError(
                f"a video that can be explained in {folder}",
                f"{len(self._failed)} that cannot",
                "See above.",
            )
        first = next(iter(self._done.values()))
        if isinstance(first, Gathers):
            self._write_together(
                first.gather(list(self._done.values()), [*map(_shown, self._done)])
            )
        if self._failed:
            left_out = ", ".join(map(_shown, self._failed))
            tell(f"left out, as they could not be explained: {left_out}")

    def _write_together(self, clips: Gathered) -> None:
        text = json.dumps(clips.to_dict(), indent=1, allow_nan=False)
        with self._collection.file(RECORD) as path:
            path.write_text(text + "\n", encoding="utf-8")
        for name, figure in views.pictures_of_set(clips).items():
            with self._collection.file(name) as path:
                figure().savefig(path, dpi=120)
        tell("\n" + clips.table())
        tell(clips.summary())


def _finished(ready: Ready, out: Path, videos: Mapping[str, Path]) -> set[str]:
    """The videos that an earlier run has explained to the end, as they are to be now.

    Raises:
        OptionError: If it has explained some otherwise.
    """
    found, otherwise = set(), []
    for name, video in videos.items():
        manifest = Manifest.read(out / name)
        if manifest is None or not manifest.complete:
            continue
        other = difference(manifest.made_from, ready.made_from)
        if other is None and not is_same_video(video, manifest.made_from.get("video", {})):
            other = "another video of that name"
        if other is None:
            found.add(name)
        else:
            otherwise.append(f"{_shown(name)} ({other})")
    if otherwise:
        more = f" and {len(otherwise) - 1} more" if len(otherwise) > 1 else ""
        raise OptionError(
            f"results in {out} that were made as is asked for now",
            f"{otherwise[0]}{more}",
            "Choose another folder, or pass --overwrite to explain them again.",
        )
    return found


def videos_in(folder: Path, out: Path, option: str = "--video-dir") -> dict[str, Path]:
    """The videos in a folder and the folders in it, by their way from there.

    Files whose names do not end like those of videos are named on the error stream, and so are
    folders that this program wrote: the videos in them are pictures of results.

    Args:
        folder: Where they are.
        out: Where results go, which may be inside.
        option: By which the folder was named.

    Raises:
        OptionError: If there are none.
    """
    if not folder.is_dir():
        raise OptionError(f"{option} to be a folder", str(folder), "Name one that is there.")
    found: dict[str, Path] = {}
    skipped: list[str] = []
    for path in sorted(_below(folder, out.resolve(), set())):
        name = str(path.relative_to(folder))
        if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
            found[name] = path
        else:
            skipped.append(name)
    if skipped:
        more = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        names = ", ".join(map(_shown, skipped[:10]))
        say(f"skipped, which are not called like videos: {names}{more}")
    if not found:
        raise OptionError(
            f"videos ({', '.join(VIDEO_SUFFIXES)}) in {folder}", "none", "Name another folder."
        )
    return found


def _below(folder: Path, out: Path, seen: set[Path]) -> Iterator[Path]:
    """The files in a folder and the folders in it, and those folders that hold results."""
    seen.add(folder.resolve())
    for path in folder.iterdir():
        if not path.is_dir() or path.resolve() == out or Manifest.read(path) is not None:
            yield path
        # A link may lead back to where it is.
        elif path.resolve() not in seen:
            yield from _below(path, out, seen)


def _write_table(path: Path, rows: Mapping[str, Mapping[str, float]]) -> None:
    """The clips' numbers, under a line of headings."""
    headings = ["clip", *next(iter(rows.values()))]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows([_shown(name), *row.values()] for name, row in rows.items())


def _shown(name: str) -> str:
    """A name in one line, of which no line or escape is made, nor a byte that is no text."""
    return printable(name, keep="")


def _require_room(out: Path, name: str) -> None:
    """Raise before the work if the folder of a video cannot have its name.

    Raises:
        VideoError: With how long the name is.
    """
    if not takes_name(out, name):
        raise VideoError(
            f"a name short enough for a folder of results in {out}",
            f"one of {len(os.fsencode(name))} bytes, to which some thirty are added meanwhile",
            "Rename the video.",
        )
