"""What the numbers of a result depend on: by it, a folder run knows what it has done already."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr import _files
from temporal_attr.cli._settings import Settings
from temporal_attr.clips import Preprocessing

_SETTINGS = (
    "method", "target", "rather_than", "frames", "sampling", "stride", "start", "seed", "options",
)  # fmt: skip


def made_from(
    settings: Settings, model: nn.Module, names: tuple[str, ...], prepare: Preprocessing
) -> dict[str, Any]:
    """What the numbers of every video depend on, ready for JSON.

    Args:
        settings: What was asked for.
        model: With its weights.
        names: Of its classes.
        prepare: What frames go through first.
    """
    return {
        "version": version("temporal-attr"),
        "model": settings.model,
        "weights": weights_digest(model),
        "class names": list(names),
        "preprocessing": repr(prepare),
        **{name: _plain(getattr(settings, name)) for name in _SETTINGS},
    }


def weights_digest(model: nn.Module) -> str:
    """The SHA-256 of all weights and their names.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = weights_digest(layer)
        >>> _ = nn.init.zeros_(layer.weight)
        >>> weights_digest(layer) == before
        False
    """
    found = sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        if isinstance(value, Tensor):
            bytes_ = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            found.update(bytes_.numpy().data)
    return found.hexdigest()


def video_stamp(video: Path) -> dict[str, Any]:
    """What tells whether a file is still the same."""
    stat = video.stat()
    return {
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "sha256": _files.digest(video),
    }


def is_same_video(video: Path, stamp: Mapping[str, Any]) -> bool:
    """Whether a file is the one that a stamp is of; read only if its date is another."""
    stat = video.stat()
    if stat.st_size != stamp.get("bytes"):
        return False
    if stat.st_mtime_ns == stamp.get("modified_ns"):
        return True
    return _files.digest(video) == stamp.get("sha256")


def difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first thing that was other then, in words; None if all is the same.

    Example:
        >>> difference({"frames": 8}, {"frames": 6})
        'frames 8, now 6'
    """
    for name in now:
        if earlier.get(name) != now[name]:
            if name == "weights":
                return "other weights"
            return f"{name} {earlier.get(name)}, now {now[name]}"
    return None


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value
