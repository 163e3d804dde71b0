"""What a run leaves in its folder: numbers, tensors and pictures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tqdm import tqdm

from temporal_attr import views
from temporal_attr._errors import OptionError
from temporal_attr.attributions import PixelResult, Result
from temporal_attr.cli._settings import Settings
from temporal_attr.clips import Clip

RECORD, CLIP, OVERLAY = "explained.json", "clip.safetensors", "overlay.webm"


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


def write(result: Result, clip: Clip, settings: Settings, out: Path) -> None:
    """Write the result, the clip, and a record to read, before the pictures, which take longer.

    `temporal_attr.load_result` gives the result back. The record holds what was asked for, and the
    numbers of the result as plain JSON.
    """
    result.save(out, overwrite=True)
    # Only now that there is a result do the pictures of an earlier run give way.
    for name in _pictures_of_earlier_run(out):
        (out / name).unlink(missing_ok=True)
    record = {
        "settings": {
            entry.name: _plain(getattr(settings, entry.name)) for entry in fields(settings)
        },
        "clip": {
            "source": clip.source,
            "fps": clip.fps,
            "indices": list(clip.indices),
            "timestamps": list(clip.timestamps),
        },
        "top_classes": result.top_classes(),
        "pictures": [*views.pictures(result, clip), *_videos(result, clip)],
        "result": result.to_dict(),
    }
    text = json.dumps(record, indent=1, allow_nan=False)
    (out / RECORD).write_text(text + "\n", encoding="utf-8")
    save_file({"clip": clip.tensor.cpu().contiguous()}, out / CLIP)


def draw(result: Result, clip: Clip, out: Path) -> None:
    """Draw the pictures that there are for a result."""
    for name, figure in tqdm(views.pictures(result, clip).items(), "drawing", delay=2):
        figure().savefig(out / name, dpi=120)
    for name, make in _videos(result, clip).items():
        make(out / name)


def _videos(result: Result, clip: Clip) -> dict[str, Callable[[Path], Any]]:
    if not isinstance(result, PixelResult):
        return {}
    return {OVERLAY: lambda path: views.overlay_video(result, clip, path)}


def _pictures_of_earlier_run(out: Path) -> list[str]:
    """What the record in a folder names; nothing else of the reader's is touched."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
        return [Path(name).name for name in record["pictures"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
