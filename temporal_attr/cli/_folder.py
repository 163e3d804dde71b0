"""Many videos, one after another: a folder for each, and what they say together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from temporal_attr import views
from temporal_attr._errors import OptionError, TargetError, TemporalAttrError
from temporal_attr.attributions import Result, ShuffleProbeResult, ShuffleSet
from temporal_attr.cli._explain import Settings, explain_one, finish, prepare, say, stop_if_asked

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
TABLE, RECORD, PICTURE = "clips.csv", "clips.json", "clips.png"


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
        if isinstance(result, ShuffleProbeResult):
            _append_row(settings.out / TABLE, video.name, result)
        stop_if_asked(result)
    if not done:
        raise OptionError(
            f"a video that can be explained in {folder}", f"{len(failed)} that cannot", "See above."
        )
    if ready.method.gather is not None:
        _write_together(ready.method.gather(list(done.values()), list(done)), settings.out)
    if failed:
        print(f"left out, as they could not be explained: {', '.join(failed)}")
    finish(settings)


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


def _append_row(table: Path, name: str, result: ShuffleProbeResult) -> None:
    """A clip's numbers with the ends of their intervals, under a line of headings."""
    fresh = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if fresh:
            ends = ("", "_low", "_high")
            writer.writerow(["clip", *(f"{one}{end}" for one in result.intervals for end in ends)])
        found = [result.interval(one) for one in result.intervals]
        writer.writerow([name, *(x for one in found for x in (one.value, one.low, one.high))])


def _write_together(clips: ShuffleSet, out: Path) -> None:
    """What the clips say together: numbers, a picture and text."""
    text = json.dumps(clips.to_dict(), indent=1, allow_nan=False)
    (out / RECORD).write_text(text + "\n", encoding="utf-8")
    views.clip_overview(clips, "probability_fall").savefig(out / PICTURE, dpi=120)
    print("\n" + clips.table())
    print(clips.summary())
