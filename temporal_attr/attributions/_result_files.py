"""The two files of a saved record: written whole or not at all, and checked when read."""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from temporal_attr._errors import ResultError
from temporal_attr.attributions._encoding import DAMAGED

FORMAT, FORMAT_VERSION = "temporal_attr result", 1
RECORD, TENSORS = "result.json", "tensors.safetensors"


def write_files(
    where: Path, record: dict[str, Any], tensors: dict[str, Tensor], overwrite: bool
) -> None:
    """Write a record and its tensors to a folder, which is made if need be.

    Args:
        where: The folder.
        record: What strict JSON has.
        tensors: By name.
        overwrite: Replace a result that is there already.

    Raises:
        ResultError: If something else, or a result, is there, or it cannot be written to.
    """
    require_free(where, overwrite)
    try:
        where.mkdir(parents=True, exist_ok=True)
        _write(where / RECORD, where / TENSORS, record, tensors)
    except (OSError, SafetensorError) as error:
        raise ResultError(
            f"a folder to write to at {where}", str(error), "Choose another, or make room."
        ) from None
    finally:
        for name in (RECORD, TENSORS):
            # Without hiding what went wrong: mostly there is nothing to remove.
            with suppress(OSError):
                _partial(where / name).unlink()


def _write(path: Path, weights: Path, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    for name in (path, weights):
        # What lies there is of a run that was killed, or somebody's link to another file.
        _partial(name).unlink(missing_ok=True)
    save_file(tensors, _partial(weights), metadata={"written_by": FORMAT})
    head = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "versions": {name: version(name) for name in ("temporal-attr", "torch", "safetensors")},
        "sha256": _digest(_partial(weights)),
    }
    text = json.dumps({**head, **record}, indent=1, allow_nan=False)
    _partial(path).write_text(text + "\n", encoding="utf-8")
    # What is listed is whole: an old record goes before its tensors, the new one comes after them.
    path.unlink(missing_ok=True)
    _partial(weights).replace(weights)
    _partial(path).replace(path)


def _partial(path: Path) -> Path:
    return path.with_name(f".{path.name}.partial")


def _digest(path: Path) -> str:
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def require_free(where: Path, overwrite: bool) -> None:
    """Raise unless `save` can write here without loss of anything but an old result.

    Args:
        where: The folder that is to be written to.
        overwrite: Whether an old result may go.

    Raises:
        ResultError: If it cannot.
    """
    if where.exists() and not where.is_dir():
        raise ResultError(f"a folder at {where}", "a file", "Choose another place.")
    record, weights = where / RECORD, where / TENSORS
    foreign = [
        path.name
        for path, is_ours in ((record, _is_our_record), (weights, _are_our_tensors))
        if path.exists() and not is_ours(path)
    ]
    if foreign:
        raise ResultError(
            f"a folder without files of others at {where}",
            f"{' and '.join(foreign)}, not written by save()",
            "Choose another folder; nothing was written.",
        )
    if record.exists() and not overwrite:
        raise ResultError(
            f"a folder without a result at {where}",
            "one that holds a result",
            "Choose another, or pass overwrite=True.",
        )


def _is_our_record(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT


def _are_our_tensors(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return (file.metadata() or {}).get("written_by") == FORMAT
    except (OSError, SafetensorError):
        return False


def read_record(where: Path) -> dict[str, Any]:
    """What the record in a folder says, if it is one of ours and of this version.

    Raises:
        ResultError: If it is not.
    """
    path = where / RECORD
    if not where.is_dir():
        got = "a file" if where.exists() else "nothing there"
        raise ResultError(f"a folder with a result at {where}", got, "Check the path.")
    if not path.is_file():
        got = f"a folder without {RECORD}"
        raise ResultError(f"a folder with a result at {where}", got, "Write one with save().")
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise ResultError(f"strict JSON in {path}", f"something else ({error})", DAMAGED) from None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        got = "a JSON file of something else"
        raise ResultError(f"a result of temporal_attr in {path}", got, "Load what save() wrote.")
    if record.get("format_version") != FORMAT_VERSION:
        writer = record.get("versions", {}).get("temporal-attr", "an unknown version")
        raise ResultError(
            f"a result of format version {FORMAT_VERSION} in {path}",
            f"version {record.get('format_version')}, written by temporal-attr {writer}",
            "Load it with that version of the library, or explain again.",
        )
    missing = [name for name in ("type", "module", "sha256", "fields") if name not in record]
    if missing:
        raise ResultError(f"a result in {path}", f"one without {', '.join(missing)}", DAMAGED)
    return record


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not JSON")


def read_tensors(where: Path, digest: str) -> dict[str, Tensor]:
    """The tensors in a folder by name, if they are those that the record describes.

    Raises:
        ResultError: If they are missing or others.
    """
    path = where / TENSORS
    if not path.is_file():
        raise ResultError(f"the tensors of the result in {path}", "no file there", DAMAGED)
    if _digest(path) != digest:
        got = "other bytes"
        raise ResultError(f"tensors in {path} as its {RECORD} describes them", got, DAMAGED)
    # Copies, as the file's own pages would change with the file.
    return {name: tensor.clone() for name, tensor in load_file(path).items()}
