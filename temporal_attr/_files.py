"""Files and folders that are there whole or not at all, and who may write to them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, ENAMETOOLONG, ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP
from hashlib import sha256
from pathlib import Path
from secrets import token_hex

from temporal_attr._errors import ResultError, TemporalAttrError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes from writing to one folder there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
"""What a folder that is written to holds meanwhile."""

_NO_LOCKS = (ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP)
_UNFINISHED = re.compile(r"\..+\.tmp-\d+-[0-9a-f]{8}(\.\w+)?")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside a file's own, to write to; it takes the file's place when all went well.

    What lay there before stays until then, and stays for good after an exception, which leaves
    nothing new. The name has the file's suffix, by which many libraries tell the format.

    Args:
        path: Of the file; a link there is replaced, and what it leads to left alone.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with whole_file(folder / "a.txt") as partial:
        ...     _ = partial.write_text("text")
        ...     list(folder.glob("a.txt"))
        []
        >>> [file.name for file in folder.iterdir()]
        ['a.txt']
    """
    partial = _unfinished(path, path.suffix)
    try:
        yield partial
        sync(partial)
        partial.replace(path)
    except BaseException:
        # Without hiding what went wrong.
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


@contextmanager
def whole_folder(place: Path, require_ours: Callable[[Path], None]) -> Iterator[Path]:
    """A fresh folder beside a place, which takes that place as a whole when all went well.

    What stands there is moved aside (`aside`), the new one is moved in, and the old one deleted.
    A process that is killed between the two moves leaves the old one aside: `standing` finds it
    there, and `settle` moves it back. An exception leaves the old one in its place, and no new one;
    where the old one turned out to hold something else, the new one stays beside it.

    Args:
        place: Of the folder; its parent is there.
        require_ours: Raises if a folder that is to be deleted holds anything of somebody else's;
            asked when nobody can put anything into it any more.
    """
    fresh = _unfinished(place)
    try:
        fresh.mkdir()
        yield fresh
        sync(fresh)
        _exchange(fresh, place, require_ours)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _exchange(fresh: Path, place: Path, require_ours: Callable[[Path], None]) -> None:
    old = aside(place)
    if old.exists():
        raise FileExistsError(EEXIST, f"{old} is in the way")
    try:
        if place.exists():
            place.rename(old)
            require_ours(old)
        fresh.rename(place)
    except TemporalAttrError as error:
        # Both are somebody's work: neither goes.
        kept = place.with_name(f"{place.name}-{os.getpid()}")
        fresh.rename(kept)
        remedy = f"The new result is in {kept}, and all else as it was."
        raise ResultError(error.expected, error.got, remedy) from None
    finally:
        settle(place)
        sync(place.parent)


def aside(place: Path) -> Path:
    """Where a folder stands for the moment in which another takes its place."""
    # The folder that one is in, or the one above, has a name only in full.
    whole = Path(os.path.abspath(place))  # noqa: PTH100
    return whole.parent / f".{whole.name}.old"


def standing(place: Path) -> Path:
    """Where the folder of a place is found, also while another is taking its place."""
    return aside(place) if not place.exists() and aside(place).is_dir() else place


def settle(place: Path) -> None:
    """Bring to an end what was interrupted while a folder took a place."""
    old = aside(place)
    if old.is_dir() and not old.is_symlink():
        if place.exists():
            shutil.rmtree(old)
        else:
            old.rename(place)


def sweep(folder: Path, name: str = "") -> None:
    """Delete what processes that were killed left unfinished in a folder.

    Args:
        folder: Which no other process writes to now.
        name: Of the file or folder that was written; all by default.
    """
    for path in list(folder.iterdir()):
        if is_unfinished(path) and path.name.startswith(f".{name}.tmp-" if name else "."):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def is_unfinished(path: Path) -> bool:
    """Whether a name is one of those that files and folders have until they are whole."""
    return _UNFINISHED.fullmatch(path.name) is not None


def _unfinished(path: Path, suffix: str = "") -> Path:
    name = path.name.removesuffix(suffix)
    return path.with_name(f".{name}.tmp-{os.getpid()}-{token_hex(4)}{suffix}")


def takes_name(folder: Path, name: str) -> bool:
    """Whether a folder can hold another of that name, or way, also until that one is whole.

    Args:
        folder: That is there.
        name: Of the other, with those of the folders between.
    """
    long_ways = [_unfinished(folder / part) for part in Path(name).parts]
    # A file in it, by the longest name that is usual here.
    long_ways.append(_unfinished(folder / name) / ("x" * 64))
    for way in long_ways:
        try:
            way.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno == ENAMETOOLONG:
                return False
            raise
    return True


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk before anything else is done."""
    if os.name == "nt" and path.is_dir():
        return  # Windows has no such thing for folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    found = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other thread or process is writing to a folder, and keep others waiting."""
    descriptor = _locked(folder / LOCK, wait=True)
    assert descriptor is not None
    with _until_unlocked(folder / LOCK, descriptor):
        yield


@contextmanager
def held(lock: Path, what: str) -> Iterator[None]:
    """Be the only one that holds a lock file, which is gone afterwards.

    A process that is killed leaves the file, but holds it no longer. Where the file system has no
    locks, and on Windows, nobody is kept away.

    Args:
        lock: The file.
        what: It stands for, as an error names it.

    Raises:
        ResultError: If another process, or another thread, holds it.
    """
    descriptor = _locked(lock, wait=False)
    if descriptor is None:
        holder = lock.read_text(encoding="ascii", errors="replace").strip() or "unknown"
        raise ResultError(
            f"{what} to itself",
            f"another run that writes to it (process {holder})",
            "Wait until that one has ended, or choose another folder.",
        )
    with _until_unlocked(lock, descriptor):
        yield


@contextmanager
def _until_unlocked(lock: Path, descriptor: int) -> Iterator[None]:
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        # Gone before it is let go, or another run could hold a file that a third does not find.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _locked(lock: Path, wait: bool) -> int | None:
    """The open lock file, or None if another holds it."""
    while True:
        # To be written to: a lock of a file that is only read is none on network file systems.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return descriptor
        os.close(descriptor)  # its holder deleted it in between


@contextmanager
def named_errors(place: Path) -> Iterator[None]:
    """Say what went wrong with a place that is written to: full, read-only, gone or no folder.

    Raises:
        ResultError: With the operating system's reason.
    """
    try:
        yield
    except OSError as error:
        if isinstance(error, TemporalAttrError):
            raise
        raise not_writable(place, error.strerror or str(error)) from error


def not_writable(place: Path, reason: str) -> ResultError:
    """What to raise where nothing can be written."""
    return ResultError(f"a folder to write to at {place}", reason, "Choose another, or make room.")
