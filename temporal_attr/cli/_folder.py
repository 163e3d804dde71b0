"""Many videos, one after another: a folder for each, and what they say together."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from temporal_attr import views
from temporal_attr._errors import OptionError, VideoError
from temporal_attr.attributions import Result, ShuffleSet
from temporal_attr.cli._explain import Settings, explain_one, prepare, say

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
TABLE, RECORD, PICTURE = "clips.csv", "clips.json", "clips.png"


def explain_folder(settings: Settings, folder: Path) -> None:
    """Explain every video of a folder, as `temporal-attr explain --video-dir` does.

    A video that cannot be read is named and left out. The table of all is written anew after each
    video, so that a run that is stopped leaves those that are done.
    """
    videos = _videos(folder)
    ready = prepare(settings)
    for name in (TABLE, RECORD, PICTURE):
        (settings.out / name).unlink(missing_ok=True)
    done: dict[str, Result] = {}
    failed: list[str] = []
    for number, video in enumerate(videos, 1):
        print(f"\n{video.name} ({number} of {len(videos)})")
        try:
            explained = explain_one(ready, settings, video, settings.out / video.name)
        except VideoError as error:
            say(f"left out: {error}")
            failed.append(video.name)
            continue
        done[video.name] = explained.result
        if ready.method.gather is not None:
            _write_table(ready.method.gather(list(done.values()), list(done)), settings.out)
    if not done:
        raise OptionError(
            f"a video that can be read in {folder}", f"{len(failed)} that cannot", "See above."
        )
    if ready.method.gather is not None:
        together = ready.method.gather(list(done.values()), list(done))
        views.clip_overview(together).savefig(settings.out / PICTURE, dpi=120)
        print("\n" + together.table())
        print(together.summary())
    if failed:
        print(f"left out, as they could not be read: {', '.join(failed)}")
    print(f"written to {settings.out}")


def _videos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise OptionError("--video-dir to be a folder", str(folder), "Name one that is there.")
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not videos:
        raise OptionError(
            f"videos ({', '.join(SUFFIXES)}) in {folder}", "none", "Name another folder."
        )
    return videos


def _write_table(clips: ShuffleSet, out: Path) -> None:
    """One row a clip, with the ends of each interval; and all numbers as JSON."""
    columns = [f"{name}{end}" for name in clips.values for end in ("", "_low", "_high")]
    with (out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", *columns])
        for place, name in enumerate(clips.names):
            cells = [
                number
                for measure in clips.values
                for number in (
                    clips.values[measure][place].item(),
                    *clips.intervals[measure][place].tolist(),
                )
            ]
            writer.writerow([name, *cells])
    text = json.dumps(clips.to_dict(), indent=1, allow_nan=False)
    (out / RECORD).write_text(text + "\n", encoding="utf-8")
