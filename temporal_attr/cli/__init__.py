"""The command line: `temporal-attr explain VIDEO` and `temporal-attr demo`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from temporal_attr._errors import TemporalAttrError

METHODS = ("contrastive-lrp", "lrp", "shuffle-probe", "temporal-gradient", "tsr")


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
    options = vars(_parser().parse_args(arguments))
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


def _parser() -> argparse.ArgumentParser:
    from temporal_attr import __version__  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="temporal-attr", description="What does a video classifier get from time?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    explain = commands.add_parser("explain", help="explain a model's prediction for a video")
    explain.set_defaults(run=_run_explain)
    explain.add_argument("video", type=Path, nargs="?", help="the video file")
    explain.add_argument(
        "--video-dir",
        type=Path,
        help="a folder of videos instead of one: each is explained in a folder of its own, and "
        "shuffle-probe adds a table with a row for each, their means, and a picture",
    )
    explain.add_argument(
        "--model",
        required=True,
        help="zoo:NAME (a trained reference model), torchvision:NAME, timm:NAME, or "
        "package.module:factory, a function without arguments that returns a model (a VideoModel, "
        "one that wrap() recognises, or any module from clips to logits)",
    )
    explain.add_argument("--out", type=Path, required=True, help="folder to write to")
    explain.add_argument("--weights", type=Path, help="state dict: .safetensors or torch.save")
    explain.add_argument(
        "--classes",
        type=Path,
        help="text file, one class name a line; torchvision "
        "and timm models are built with that many classes",
    )
    explain.add_argument("--method", choices=METHODS, default="temporal-gradient")
    explain.add_argument("--target", default="top", help="class number or name, or top (default)")
    explain.add_argument("--frames", type=int, default=16, help="how many (default: 16)")
    explain.add_argument("--sampling", choices=("uniform", "dense"), default="uniform")
    explain.add_argument("--stride", type=int, default=1, help="for dense sampling")
    explain.add_argument("--start", type=int, default=0, help="for dense sampling")
    explain.add_argument("--device", default="cpu", help="such as cuda (default: cpu)")
    explain.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of random weights, without --weights, of shuffles, and of methods that draw",
    )
    _add_method_options(explain)
    demo = commands.add_parser(
        "demo", help="explain what two trained models see in a clip that is drawn here"
    )
    demo.set_defaults(run=_run_demo)
    demo.add_argument("--out", type=Path, default=Path("temporal_attr_demo"), help="output folder")
    return parser


def _add_method_options(explain: argparse.ArgumentParser) -> None:
    """Options that only some methods read; None where they are not given."""
    group = explain.add_argument_group("options of methods")
    group.add_argument("--objective", help="of temporal-gradient (default: logit)")
    group.add_argument("--memory", help="path of temporal-gradient (default: auto)")
    group.add_argument(
        "--chunk-size",
        type=int,
        help="of temporal-gradient: frames at a time, on the framewise path; of contrastive-lrp: "
        "timesteps at a time; of shuffle-probe and tsr: frames at a time",
    )
    group.add_argument(
        "--sigma", type=float, help="of contrastive-lrp: share of a row in a range (default: 0.975)"
    )
    group.add_argument(
        "--contrastive",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="of contrastive-lrp: whether to subtract what speaks against the class (default: yes)",
    )
    group.add_argument("--shuffles", type=int, help="of shuffle-probe: orders (default: 20)")
    group.add_argument(
        "--shuffling",
        help="of shuffle-probe: full (default), reversal, block:LENGTH or local:RADIUS",
    )
    group.add_argument(
        "--flow",
        choices=("farneback", "dis", "none"),
        help="of shuffle-probe: the optical flow (default: farneback)",
    )
    group.add_argument(
        "--window",
        type=int,
        help="of shuffle-probe: also in windows of so many frames, half of them overlapping; of "
        "tsr: frames that are hidden at once (default: 1)",
    )
    _add_tsr_options(explain)


def _add_tsr_options(explain: argparse.ArgumentParser) -> None:
    """Options of tsr alone."""
    group = explain.add_argument_group("options of tsr, temporal saliency rescaling")
    group.add_argument(
        "--base",
        help="the method that is rescaled: temporal-gradient (default), lrp, or of Captum saliency,"
        " input-x-gradient, integrated-gradients or gradient-shap (the last two from a clip of "
        "zeros, and the last with random numbers of --seed)",
    )
    group.add_argument(
        "--steps",
        help="one, which hides frames, or two, which then hides parts of them (default: two with "
        "--features, otherwise one)",
    )
    group.add_argument(
        "--features",
        help="parts that are hidden in the second step: pixel, block:SIDE, block:HEIGHTxWIDTH, "
        "superpixel or supervoxel; one attribution each, so pixel (the default) takes long",
    )
    group.add_argument(
        "--hide",
        help="what stands where something is hidden: a number, in input values of the model "
        "(default: 0), mean, blur or neighbour",
    )
    group.add_argument("--threshold", type=float, help="keep frames whose relevance is as large")
    group.add_argument(
        "--quantile", type=float, help="keep frames from this quantile of the relevance on"
    )
    group.add_argument(
        "--normalize",
        action="store_true",
        default=None,
        help="scale the relevance of frames and of parts from 0 to 1, as the authors' code does",
    )


# These import what is slow to import; a wrong option or --help should not wait for it.
def _run_explain(**options: object) -> None:
    from temporal_attr.cli._explain import Settings, explain_video  # noqa: PLC0415
    from temporal_attr.cli._folder import explain_folder  # noqa: PLC0415

    settings = Settings(**options)  # type: ignore[arg-type]
    if settings.video is None and settings.video_dir is not None:
        explain_folder(settings, settings.video_dir)
    else:
        explain_video(settings)


def _run_demo(out: Path) -> None:
    from temporal_attr.cli._demo import run_demo  # noqa: PLC0415

    run_demo(out)
