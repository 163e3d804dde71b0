"""The command line: `temporal-attr explain VIDEO`, `temporal-attr compare` and `demo`."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from temporal_attr._errors import TemporalAttrError
from temporal_attr.cli._print import complain, warnings_as_lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        0 when done, 2 when something is wrong with what was asked or nothing can be written, 130
        when stopped by Ctrl-C, 143 when stopped by SIGTERM.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = vars(_parser(given).parse_args(given))
    run: Callable[..., None] = options.pop("run")
    with warnings_as_lines(), _stopped_by_sigterm() as terminated:
        try:
            run(**options)
            sys.stdout.flush()
        except BrokenPipeError:
            _let_go_of_output()
            complain("the program that read the output has ended; what was written is whole")
            return 2
        except TemporalAttrError as error:
            complain(str(error))
            return 2
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            _let_go_of_output()
            complain(f"{error.strerror}; what was written is whole")
            return 2
        except KeyboardInterrupt:
            complain("stopped; what was written so far is kept")
            return 128 + (signal.SIGTERM if terminated else signal.SIGINT)
    return 0


_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Why printing may fail; what is written to folders is told by name."""


def _let_go_of_output() -> None:
    """Print to nowhere from now on, or Python fails once more when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _stopped_by_sigterm() -> Iterator[list[int]]:
    """Let SIGTERM stop a run as Ctrl-C does; the list says whether it has."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread may say what a signal does
        return

    def stop(number: int, frame: object) -> None:
        received.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser(given: Sequence[str]) -> argparse.ArgumentParser:
    from temporal_attr import __version__  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="temporal-attr", description="What does a video classifier get from time?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    explain = commands.add_parser(
        "explain",
        help="explain a model's prediction for a video",
        usage="temporal-attr explain VIDEO --model MODEL --out FOLDER [--method METHOD] [options]",
        argument_default=argparse.SUPPRESS,
        # An option of a new method must not make a short form of an old one ambiguous.
        allow_abbrev=False,
    )
    explain.set_defaults(run=_run_explain)
    # The options of methods are read from their classes, which takes seconds to import.
    if next((word for word in given if not word.startswith("-")), None) == "explain":
        from temporal_attr.cli._arguments import add_arguments  # noqa: PLC0415

        add_arguments(explain, given)
    compare = commands.add_parser(
        "compare",
        help="compare attribution methods on videos, or on planted ones whose truth is known",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    compare.set_defaults(run=_run_compare)
    if next((word for word in given if not word.startswith("-")), None) == "compare":
        from temporal_attr.cli._compare import add_compare_arguments  # noqa: PLC0415

        add_compare_arguments(compare)
    demo = commands.add_parser(
        "demo", help="explain what two trained models see in a clip that is drawn here"
    )
    demo.set_defaults(run=_run_demo)
    demo.add_argument("--out", type=Path, default=Path("temporal_attr_demo"), help="output folder")
    return parser


# These import what is slow to import; --help should not wait for it.
def _run_explain(**parsed: object) -> None:
    from temporal_attr.cli._arguments import split  # noqa: PLC0415
    from temporal_attr.cli._explain import estimate_video, explain_video  # noqa: PLC0415
    from temporal_attr.cli._folder import explain_folder  # noqa: PLC0415
    from temporal_attr.cli._settings import Settings  # noqa: PLC0415

    own, of_method = split(parsed)
    settings = Settings(**own, options=of_method)
    if settings.estimate:
        estimate_video(settings)
    elif settings.video is None and settings.video_dir is not None:
        explain_folder(settings, settings.video_dir)
    else:
        explain_video(settings)


def _run_compare(**parsed: object) -> None:
    from temporal_attr.cli._compare import run_compare  # noqa: PLC0415

    run_compare(**parsed)


def _run_demo(out: Path) -> None:
    from temporal_attr.cli._demo import run_demo  # noqa: PLC0415

    run_demo(out)
