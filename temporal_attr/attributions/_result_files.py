"""The two files of a saved record: written whole or not at all, and checked when read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from temporal_attr._errors import ResultError
from temporal_attr._files import (
    alone_in,
    aside,
    digest,
    named_errors,
    not_writable,
    standing,
    sweep,
    sync,
    whole_file,
    write_text,
)
from temporal_attr.attributions._encoding import DAMAGED

FORMAT, FORMAT_VERSION = "temporal_attr result", 1
RECORD, TENSORS = "result.json", "tensors.safetensors"
BESIDE = f".{TENSORS}.next"
"""Where new tensors are until their record is there."""


def write_files(
    where: Path, record: dict[str, Any], tensors: dict[str, Tensor], overwrite: bool
) -> None:
    """Write a record and its tensors to a folder, which is made if need be.

    At every moment there is a whole result in it, if there was one before: the new tensors are
    written beside the old ones, the new record then takes the old one's place, and the tensors at
    last that of the old ones. Until then `read_files` finds them beside.

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
        with named_errors(where):
            where.mkdir(parents=True, exist_ok=True)
            with alone_in(where):
                # Somebody else may have written here meanwhile.
                require_free(where, overwrite)
                for name in (RECORD, BESIDE):
                    sweep(where, Path(name).stem)
                settle(where)
                _write(where, record, tensors)
    except SafetensorError as error:
        raise not_writable(where, str(error)) from None


def _write(where: Path, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    beside = where / BESIDE
    try:
        with whole_file(beside) as partial:
            save_file(tensors, partial, metadata={"written_by": FORMAT})
        head = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "versions": {name: version(name) for name in ("temporal-attr", "torch", "safetensors")},
            "sha256": digest(beside),
        }
        text = json.dumps({**head, **record}, indent=1, allow_nan=False)
        # From here on the new result is the one that the folder holds.
        write_text(where / RECORD, text + "\n")
    finally:
        settle(where)


def settle(where: Path) -> None:
    """Bring to an end what a process that was killed began to write.

    Args:
        where: The folder, to which nobody else writes now.
    """
    beside = where / BESIDE
    if not beside.is_file():
        return
    if _promised(where) == digest(beside):
        beside.replace(where / TENSORS)
        sync(where)
    else:
        beside.unlink()


def _promised(where: Path) -> str | None:
    """The digest of the tensors that the record in a folder describes."""
    try:
        promised = json.loads((where / RECORD).read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return promised if isinstance(promised, str) else None


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
    try:
        with named_reading(where):
            record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        got = f"a folder without {RECORD}"
        raise ResultError(
            f"a folder with a result at {where}", got, "Write one with save()."
        ) from None
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


def read_files(where: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record in a folder and its tensors, also while another result takes its place.

    Raises:
        ResultError: If there is none, or it is damaged.
    """
    while True:
        before = _state(where)
        try:
            here = standing(where)
            record = read_record(here)
            found = record, read_tensors(here, record["sha256"])
        except ResultError:
            if before == _state(where):
                raise
        else:
            if before == _state(where):
                return found


def _state(where: Path) -> list[object]:
    """What tells whether the files of a result were written anew, while they were read."""
    found: list[object] = []
    for path in (where, aside(where), *(where / name for name in (RECORD, BESIDE, TENSORS))):
        with suppress(OSError):
            stat = path.stat()
            found.append((path, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return found


def read_tensors(where: Path, promised: str) -> dict[str, Tensor]:
    """The tensors in a folder by name, if they are those that the record describes.

    Args:
        where: The folder.
        promised: The digest in the record.

    Raises:
        ResultError: If they are missing or others.
    """
    path = where / TENSORS
    # In this order: what is beside until the end is in its place afterwards.
    for candidate in (where / BESIDE, path):
        with suppress(FileNotFoundError), named_reading(where):
            if digest(candidate) == promised:
                # Copies, as the file's own pages would change with the file.
                return {name: tensor.clone() for name, tensor in load_file(candidate).items()}
    if not path.is_file():
        raise ResultError(f"the tensors of the result in {path}", "no file there", DAMAGED)
    got = "other bytes"
    raise ResultError(f"tensors in {path} as its {RECORD} describes them", got, DAMAGED)


@contextmanager
def named_reading(where: Path) -> Iterator[None]:
    """Say why a file of a folder cannot be read, where it is there."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ResultError(f"a result to read in {where}", reason, "Check the path.") from error
