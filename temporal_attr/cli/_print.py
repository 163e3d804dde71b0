"""What the command line says: results on the output, all else on the error stream."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from temporal_attr._errors import printable


def tell(text: str) -> None:
    """Print what was found; escape codes in names do not reach the terminal."""
    print(printable(text))


def say(line: str) -> None:
    """Tell what is being done, in one line, whatever the names in it hold."""
    print(printable(f"{line} ...", keep=""), file=sys.stderr, flush=True)


def complain(line: str) -> None:
    """Tell what is wrong, or what the reader must know."""
    print(printable(f"temporal-attr: {line}"), file=sys.stderr, flush=True)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Have warnings said in one line each, without the place in the code that they come from."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        complain(str(message))

    # The filters stay as they are: only how a warning is shown is another.
    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before
