"""What `temporal-attr explain` can be asked for: its own options, and those of the methods."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from temporal_attr.attributions import VideoMethod
from temporal_attr.cli._methods import gathers, methods
from temporal_attr.cli._options import Option, options_of
from temporal_attr.cli._settings import FRAMES, Settings

OF_METHOD = "of method: "
"""Before the names of methods' options, which may be called like one of the command's own."""


def add_arguments(parser: argparse.ArgumentParser, given: Sequence[str]) -> None:
    """Fill the parser of `explain`.

    Args:
        parser: The parser.
        given: What was given; where a method is among it, the help is of that method's options.
    """
    known = methods()
    _add_input(parser, known)
    _add_output(parser)
    add_sampling(parser)
    add_preprocessing(parser)
    parser.add_argument("--method", choices=known, help=_questions(known))
    chosen = _method_of(given)
    shown = {chosen: known[chosen]} if chosen in known else known
    title = f"options of {chosen}" if chosen in known else "options of methods"
    group = parser.add_argument_group(title)
    for name, takers in _by_name(known).items():
        says = {slug: option for slug, option in takers.items() if slug in shown}
        text = _help(says, len(shown) > 1) if says else argparse.SUPPRESS
        _add_option(group, f"{OF_METHOD}{name}", next(iter((says or takers).values())), text)


def split(parsed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str | bool]]:
    """What was given for options of the command, and for options of methods, by their names."""
    of_method = {
        name.removeprefix(OF_METHOD): value
        for name, value in parsed.items()
        if name.startswith(OF_METHOD)
    }
    own = {name: value for name, value in parsed.items() if not name.startswith(OF_METHOD)}
    return own, of_method


def _add_input(parser: argparse.ArgumentParser, known: Mapping[str, type[VideoMethod]]) -> None:
    gathering = ", ".join(slug for slug, method in known.items() if gathers(method))
    parser.add_argument("video", type=Path, nargs="?", default=None, help="the video file")
    parser.add_argument(
        "--video-dir",
        type=Path,
        help="a folder of videos instead of one, with the folders in it: each is explained in a "
        "folder of its own, those that are done already are not done again, and "
        f"some methods ({gathering}) add a table with a row for each, their means, and a picture",
    )
    add_model(parser)
    parser.add_argument(
        "--target", help=f"class number or name, or top (default: {Settings.target})"
    )
    parser.add_argument(
        "--rather-than",
        metavar="CLASS",
        help="class number or name: explain why the target rather than this one, by the difference "
        "of their outputs (contrastive-lrp-temporal takes it with --no-contrastive)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="of random weights, without --weights, and of methods that draw random numbers "
        f"(default: {Settings.seed})",
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Which model it is, and where it runs."""
    parser.add_argument(
        "--model",
        required=True,
        help="zoo:NAME (a trained reference model), torchvision:NAME, timm:NAME, "
        "transformers:FOLDER (a checkpoint on this machine, with config.json and safetensors), or "
        "package.module:factory, a function without arguments that returns a model (a VideoModel, "
        "one that wrap() recognises, or any module from clips to logits)",
    )
    parser.add_argument("--weights", type=Path, help="state dict: .safetensors or torch.save")
    parser.add_argument(
        "--classes",
        type=Path,
        help="text file, one class name a line; torchvision and timm models are built with that "
        "many classes",
    )
    parser.add_argument("--device", help=f"such as cuda (default: {Settings.device})")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder to write to: a new or an empty one, or one with an earlier result, which is "
        "replaced as a whole once the new one is there; one with anything else is refused",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="with --video-dir: explain finished videos again",
    )
    parser.add_argument(
        "--estimate",
        action="store_true",
        help="say what one video will cost, from a few passes, and stop: nothing is written",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """Which frames of a video are taken."""
    parser.add_argument(
        "--frames",
        type=int,
        help=f"how many (default: as many as the model is made for, or else {FRAMES})",
    )
    parser.add_argument(
        "--sampling",
        choices=("uniform", "dense"),
        help=f"over the whole video, or one after another (default: {Settings.sampling})",
    )
    parser.add_argument("--stride", type=int, help="for dense sampling (default: 1)")
    parser.add_argument("--start", type=int, help="for dense sampling (default: 0)")


def add_preprocessing(parser: argparse.ArgumentParser) -> None:
    """What is done to frames."""
    group = parser.add_argument_group(
        "preprocessing", "in place of the model's own, or where it knows none"
    )
    group.add_argument(
        "--resize",
        metavar="SIDE|HEIGHTxWIDTH|none",
        help="size of the short side, or of both; none leaves the video's own",
    )
    group.add_argument(
        "--crop", metavar="SIDE|HEIGHTxWIDTH|none", help="what is cut from the centre afterwards"
    )
    group.add_argument(
        "--mean",
        metavar="NUMBER|R,G,B",
        help="subtracted from pixels in [0, 1]; one number is for every channel",
    )
    group.add_argument("--std", metavar="NUMBER|R,G,B", help="divided by; likewise")


def _questions(known: Mapping[str, type[VideoMethod]]) -> str:
    said = (f"{slug}: {method.traits.question}" for slug, method in known.items())
    return _escaped(f"the question (default: {Settings.method}). {' '.join(said)}")


def _method_of(given: Sequence[str]) -> str | None:
    """The method that is asked for, before anything else is read."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--method")
    try:
        method: str | None = first.parse_known_args(list(given))[0].method
    except argparse.ArgumentError:
        return None  # --method without a name, which the whole parser reports
    return method


def _by_name(known: Mapping[str, type[VideoMethod]]) -> dict[str, dict[str, Option]]:
    """Each option once, with what the methods that take it say of it."""
    found: dict[str, dict[str, Option]] = {}
    for slug, method in known.items():
        for name, option in options_of(method).items():
            found.setdefault(name, {})[slug] = option
    return dict(sorted(found.items()))


def _add_option(
    group: argparse._ArgumentGroup,
    name: str,
    option: Option,
    text: str,
) -> None:
    """An option, whose text is read once the method is known."""
    forms = "|".join(option.kind.forms)
    if option.kind.switch and forms:
        group.add_argument(option.flag, dest=name, action=_SwitchOrValue, metavar=forms, help=text)
    elif option.kind.switch:
        group.add_argument(option.flag, dest=name, action=argparse.BooleanOptionalAction, help=text)
    else:
        group.add_argument(option.flag, dest=name, metavar=forms, help=text)


class _SwitchOrValue(argparse.BooleanOptionalAction):
    """`--x`, `--x=VALUE` or `--no-x`."""

    def __init__(self, *names: Any, metavar: str, **options: Any) -> None:  # noqa: ANN401 - argparse's
        super().__init__(*names, **options)
        self.nargs, self.metavar = "?", metavar

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ANN401
        option_string: str | None = None,
    ) -> None:
        off = option_string is not None and option_string.startswith("--no-")
        if off and values is not None:
            parser.error(f"{option_string} takes no value, got {values}")
        setattr(namespace, self.dest, not off if values is None else values)


def _help(says: Mapping[str, Option], name_them: bool) -> str:
    """What the methods say of an option; those that say the same, together."""
    takers: dict[str, list[str]] = {}
    for slug, option in says.items():
        takers.setdefault(f"{option.text}{_default(option)}", []).append(slug)
    if not name_them:
        return _escaped(" ".join(takers))
    return _escaped(" ".join(f"{', '.join(slugs)}: {text}" for text, slugs in takers.items()))


def _default(option: Option) -> str:
    """The default, where the text does not tell it."""
    if option.default is None or option.default == () or "default" in option.text:
        return ""
    shown = option.default
    if isinstance(shown, bool):
        shown = "yes" if shown else "no"
    return f" (default: {shown})"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
