"""Whose files a folder holds, and how a run takes its place there: as a whole, or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError

from temporal_attr import _files
from temporal_attr._errors import ResultError
from temporal_attr._files import LOCK

MANIFEST = "manifest.json"
FORMAT, FORMAT_VERSION = "temporal_attr output", 1

Kind = Literal["explain", "folder", "demo"]
"""What a folder is of: one video, a folder of videos, or the demo."""


@dataclass(frozen=True)
class Stamp:
    """What a file was when it was written."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """The stamp of a file as it is."""
        return cls(path.stat().st_size, _files.digest(path))


@dataclass
class Manifest:
    """Which files of a folder are ours; `manifest.json`.

    Attributes:
        kind: What the folder is of.
        made_from: What the run was asked for, as far as its numbers depend on it.
        complete: Whether the run came to its end.
        files: By name, what a file may be: one thing, or two while the second is being written.
    """

    kind: Kind
    made_from: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = False
    files: dict[str, list[Stamp]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder; None if it has none that this version knows."""
        try:
            found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            if (found["format"], found["format_version"]) != (FORMAT, FORMAT_VERSION):
                return None
            files = {
                str(name): [Stamp(**stamp) for stamp in stamps]
                for name, stamps in found["files"].items()
            }
            return cls(found["kind"], dict(found["made_from"]), bool(found["complete"]), files)
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def write(self, folder: Path) -> None:
        """Put it into a folder."""
        text = json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)})
        _files.write_text(folder / MANIFEST, text + "\n")


def files_of_others(folder: Path, thorough: bool = True) -> list[str]:
    """The files in a folder, and in the folders in it, that no manifest lists.

    Args:
        folder: Where to look.
        thorough: Whether a file of ours that was changed is somebody else's, too; otherwise sizes
            alone are compared.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        where = Path(parent)
        manifest = Manifest.read(where)
        links = [name for name in folders if (where / name).is_symlink()]
        for name in sorted([*names, *links]):
            if name != LOCK and not _is_ours(where / name, manifest, thorough):
                found.append(str((where / name).relative_to(folder)))
    return found


def _is_ours(path: Path, manifest: Manifest | None, thorough: bool) -> bool:
    if manifest is None or path.is_symlink():
        return False
    stamps = manifest.files.get(path.name, [])
    if path.name == MANIFEST or not stamps:
        return path.name == MANIFEST
    size = path.stat().st_size
    of_size = [stamp for stamp in stamps if stamp.bytes == size]
    return bool(of_size) and (not thorough or Stamp.of(path) in of_size)


def require_ours(
    folder: Path, kind: Kind, shown: Path | None = None, thorough: bool = True
) -> None:
    """Raise if a folder holds anything that no run of ours of this kind has written.

    Args:
        folder: Where to look.
        kind: What the folder is of, or is to be of.
        shown: What the folder is called; it may have been moved aside.
        thorough: As for `files_of_others`.

    Raises:
        ResultError: With the names.
    """
    found = files_of_others(folder, thorough)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ResultError(
            f"an empty folder, or one that holds an earlier result only, at {shown}",
            f"{', '.join(found[:5])}{more}, not as listed in a {MANIFEST} of this program",
            "Choose another folder, or move these files away; nothing was changed.",
        )
    manifest = Manifest.read(folder)
    if manifest is not None and manifest.kind != kind:
        what = {"explain": "one video", "folder": "a folder of videos", "demo": "the demo"}
        raise ResultError(
            f"an empty folder, or an earlier result of {what[kind]}, at {shown}",
            f"one of {what.get(manifest.kind, 'something else')}",
            "Choose another folder.",
        )


class Draft:
    """A folder that is being filled, and the manifest of what is in it.

    Attributes:
        folder: Where to write.
        manifest: What is in it so far.
        worth_keeping: Whether a run that is stopped now has something to keep.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest
        self.worth_keeping = False

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A place to write a file to, which is listed once it is whole."""
        with _files.whole_file(self.folder / name) as partial:
            yield partial
        self.list(name)

    def list(self, name: str) -> None:
        """List a file that is whole."""
        self.manifest.files[name] = [Stamp.of(self.folder / name)]

    def drop_unlisted(self) -> None:
        """Delete what was not finished."""
        for path in self.folder.iterdir():
            if path.name not in self.manifest.files:
                path.unlink()


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Have a place for the folder of one run, which nobody else writes to meanwhile.

    What a run that was killed left behind is brought to an end or deleted.

    Raises:
        ResultError: If another run writes there, the place holds anything that is not ours, or no
            folder can be put there.
    """
    place = out.resolve()
    with ExitStack() as stack:
        with named(out):
            place.parent.mkdir(parents=True, exist_ok=True)
            _require_replaceable(place, out)
            lock = place.with_name(f".{place.name}{LOCK}")
            stack.enter_context(_files.held(lock, f"the folder {out}"))
            _settle(place)
            _files.sweep(place.parent, place.name)
            require_ours(place, "explain", out)
        yield


def _settle(place: Path) -> None:
    """Bring to an end what was interrupted, if what stands aside is ours."""
    if Manifest.read(_files.aside(place)) is not None:
        _files.settle(place)


def _require_replaceable(place: Path, out: Path) -> None:
    """Raise if the folder at a place cannot be moved."""
    expected = f"a folder that can be replaced as a whole at {out}"
    remedy = f"Choose one in it, such as {out / 'explained'}."
    if place.exists() and not place.is_dir():
        raise _files.not_writable(out, "a file")
    here = Path.cwd()
    if place in (here, *here.parents):
        raise ResultError(expected, "the one that this program runs in", remedy)
    if os.path.ismount(place):
        raise ResultError(expected, "the root of a disk or volume", remedy)
    # A folder may be there and refuse a file; better known before the work than after it.
    with tempfile.TemporaryFile(dir=place.parent):
        pass


@contextmanager
def placed(out: Path, kind: Kind, made_from: Mapping[str, Any]) -> Iterator[Draft]:
    """A draft that takes a place as a whole when it is finished.

    A run that is stopped or fails on the way leaves the earlier result; where there is none that
    came to its end, what is worth keeping takes the place, marked as not complete.
    """
    place = out.resolve()
    manifest = Manifest(kind, made_from)
    stopped: BaseException | None = None
    with named(out):
        place.parent.mkdir(parents=True, exist_ok=True)
        with _files.whole_folder(place, lambda old: require_ours(old, kind, out)) as fresh:
            draft = Draft(fresh, manifest)
            try:
                yield draft
            except BaseException as error:
                earlier = Manifest.read(place)
                if not draft.worth_keeping or (earlier is not None and earlier.complete):
                    raise
                stopped = error
                manifest.complete = False
                draft.drop_unlisted()
            manifest.write(fresh)
    if stopped is not None:
        raise stopped


class Collection:
    """A folder of results, each a folder that is replaced as a whole, and of files about all.

    Attributes:
        folder: Where it is.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        self.folder = folder
        self._manifest = Manifest.read(folder) or Manifest(kind)

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A place to write a file to; the earlier one stays until the new one is whole.

        The manifest lists both before the one takes the place of the other.
        """
        path = self.folder / name
        with named(self.folder), _files.whole_file(path) as partial:
            yield partial
            if path.exists() and not _is_ours(path, self._manifest, thorough=True):
                raise ResultError(
                    f"{path} as it was written", "another file", "Move it away; it was not changed."
                )
            earlier = [Stamp.of(path)] if path.exists() else []
            self._manifest.files[name] = [*earlier, Stamp.of(partial)]
            self.write()

    def write(self) -> None:
        """Put the manifest into the folder."""
        self._manifest.write(self.folder)


@contextmanager
def collected(folder: Path, kind: Kind) -> Iterator[Collection]:
    """Have a folder of results, which nobody else writes to meanwhile.

    Raises:
        ResultError: As for `claimed`.
    """
    with ExitStack() as stack:
        with named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(_files.held(folder / LOCK, f"the folder {folder}"))
            _settle_below(folder)
            require_ours(folder, kind, folder, thorough=False)
            collection = Collection(folder, kind)
            collection.write()
        yield collection


def _settle_below(folder: Path) -> None:
    """Bring to an end or delete what a run that was killed left, wherever in a folder."""
    for parent, folders, _ in os.walk(folder):
        where = Path(parent)
        for name in folders:
            if name.startswith(".") and name.endswith(".old"):
                _settle(where / name[1:-4])
        _files.sweep(where)
        folders[:] = [name for name in folders if (where / name).is_dir()]


@contextmanager
def named(place: Path) -> Iterator[None]:
    """Say what went wrong with a place that is written to.

    Raises:
        ResultError: With the reason.
    """
    try:
        with _files.named_errors(place):
            yield
    except SafetensorError as error:
        raise _files.not_writable(place, str(error)) from None
