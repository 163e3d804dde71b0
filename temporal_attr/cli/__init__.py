"""The command line: `temporal-attr explain VIDEO` and `temporal-attr demo`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from temporal_attr._errors import TemporalAttrError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; those of the process by default.

    Returns:
        0 when done, 2 when something is wrong with what was asked, 130 when stopped by Ctrl-C.
    """
    # FFmpeg and OpenCV write their own notes about damaged files; ours say what to do.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = vars(_parser(given).parse_args(given))
    run: Callable[..., None] = options.pop("run")
    try:
        run(**options)
    except TemporalAttrError as error:
        print(f"temporal-attr: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("temporal-attr: stopped; what was written so far is kept", file=sys.stderr)
        return 130
    return 0


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
    demo = commands.add_parser(
        "demo", help="explain what two trained models see in a clip that is drawn here"
    )
    demo.set_defaults(run=_run_demo)
    demo.add_argument("--out", type=Path, default=Path("temporal_attr_demo"), help="output folder")
    return parser


# These import what is slow to import; --help should not wait for it.
def _run_explain(**parsed: object) -> None:
    from temporal_attr.cli._arguments import split  # noqa: PLC0415
    from temporal_attr.cli._explain import explain_video  # noqa: PLC0415
    from temporal_attr.cli._folder import explain_folder  # noqa: PLC0415
    from temporal_attr.cli._settings import Settings  # noqa: PLC0415

    own, of_method = split(parsed)
    settings = Settings(**own, options=of_method)
    if settings.video is None and settings.video_dir is not None:
        explain_folder(settings, settings.video_dir)
    else:
        explain_video(settings)


def _run_demo(out: Path) -> None:
    from temporal_attr.cli._demo import run_demo  # noqa: PLC0415

    run_demo(out)
