"""What a run leaves in its folder: numbers, tensors and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from tqdm import tqdm

from temporal_attr import _files, views
from temporal_attr.attributions import PixelResult, Result
from temporal_attr.cli._output import Draft
from temporal_attr.cli._preprocessing import described
from temporal_attr.cli._settings import Settings
from temporal_attr.clips import Clip, Preprocessing

RECORD, CLIP, OVERLAY = "explained.json", "clip.safetensors", "overlay.webm"


def write(
    result: Result, clip: Clip, settings: Settings, prepare: Preprocessing, draft: Draft
) -> None:
    """Write the result, the clip, and a record to read, before the pictures, which take longer.

    `temporal_attr.load_result` gives the result back. The record holds what was asked for, and the
    numbers of the result as plain JSON.
    """
    result.save(draft.folder)
    for path in draft.folder.iterdir():
        draft.list(path.name)
    record = {
        "settings": {
            entry.name: _plain(getattr(settings, entry.name)) for entry in fields(settings)
        },
        "preprocessing": described(prepare),
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
    _files.write_text(draft.folder / RECORD, text + "\n")
    draft.list(RECORD)
    with draft.file(CLIP) as path:
        save_file({"clip": clip.tensor.cpu().contiguous()}, path)
    draft.worth_keeping = True


def draw(result: Result, clip: Clip, draft: Draft) -> None:
    """Draw the pictures that there are for a result."""
    for name, figure in tqdm(views.pictures(result, clip).items(), "drawing", delay=2):
        with draft.file(name) as path:
            figure().savefig(path, dpi=120)
    for name, make in _videos(result, clip).items():
        with draft.file(name) as path:
            make(path)


def _videos(result: Result, clip: Clip) -> dict[str, Callable[[Path], Any]]:
    if not isinstance(result, PixelResult):
        return {}
    return {OVERLAY: lambda path: views.overlay_video(result, clip, path)}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
