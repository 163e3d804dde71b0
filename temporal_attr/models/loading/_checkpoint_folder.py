"""Checkpoint folders of the transformers library, read from the disk alone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from temporal_attr._errors import ModelError, WeightsWarning
from temporal_attr._seeding import seeded_weights
from temporal_attr.clips import IDENTITY, Normalization, Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._wrap import wrap
from temporal_attr.models.libraries._transformers import is_known, not_known

_PROCESSORS = ("video_preprocessor_config.json", "preprocessor_config.json")
"""Files of a processor of videos, or else of images."""

_OF_SEVERAL = "processor_config.json"
"""A file of several processors, by these names."""

_PARTS = ("video_processor", "image_processor")

_INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""By Pillow's numbers, which the library writes down."""


def load_transformers(folder: str | Path, attn_implementation: str | None = None) -> VideoModel:
    """Wrap a classifier of the transformers library from a folder on this machine.

    The folder is what `save_pretrained` leaves: `config.json`, weights as `.safetensors`, and of
    the processor `video_preprocessor_config.json` or `preprocessor_config.json`, from which size,
    crop, mean and standard deviation are read. Nothing is downloaded, and no code of the folder is
    run. Weights are in float32, whatever they were saved in.

    Args:
        folder: Of the checkpoint.
        attn_implementation: `"eager"` or `"sdpa"`; None for what the library takes.

    Returns:
        A `VideoModel` in evaluation mode, as `wrap` gives it: with the names of the classes that
        the configuration has, and its number of frames as `clip_frames`. Without a processor's file
        its `preprocessing` is None.

    Raises:
        ModelError: If the folder or a file of it is not there or cannot be read, or the weights are
            not all of the model's.
        UnsupportedModelError: If the checkpoint is of no classifier, or of an unknown family.

    Warns:
        WeightsWarning: If the folder has weights that the model has no use for.

    Example:
        >>> load_transformers("checkpoints/none")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a checkpoint folder with config.json at ...
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        got = "a folder without one" if folder.is_dir() else "no folder there"
        remedy = "Give the folder that model.save_pretrained(folder) wrote; nothing is downloaded."
        raise ModelError(f"a checkpoint folder with config.json at {folder}", got, remedy)
    if not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"weights as .safetensors in {folder}",
            "none",
            "Write them with model.save_pretrained(folder).",
        )
    preprocessing = read_preprocessing(folder)
    network = _network(folder, attn_implementation)
    return wrap(network.eval(), preprocessing)


def _network(folder: Path, attn_implementation: str | None) -> nn.Module:
    """The model with its weights.

    Raises:
        ModelError: If they do not make it up.
    """
    library = _library()
    offline = {"local_files_only": True, "trust_remote_code": False}
    with _quiet(library), _named(folder):
        config = library.AutoConfig.from_pretrained(folder, **offline)
    name = (config.architectures or ["a model without a name"])[0]
    kind = getattr(library, name, None)
    if kind is None or not is_known(kind):
        raise not_known(kind, name)
    # Weights that are not in the files would be drawn.
    with _quiet(library), _named(folder), seeded_weights(0):
        network, found = kind.from_pretrained(
            folder,
            config=config,
            attn_implementation=attn_implementation,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            local_files_only=True,
        )
    _require_whole(folder, name, found)
    model: nn.Module = network
    return model


def _library() -> Any:  # noqa: ANN401 - a module
    try:
        return import_module("transformers")
    except ModuleNotFoundError:
        raise ModelError(
            "the transformers library to be installed",
            "no such module",
            "Install it: pip install 'temporal-attr[models]'.",
        ) from None


def _require_whole(folder: Path, name: str, found: Mapping[str, Any]) -> None:
    """Raise unless all weights of the model were in the files."""
    absent = sorted(found.get("missing_keys", ()))
    if absent:
        shown = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        raise ModelError(
            f"all weights of {name} in {folder}",
            f"none for {shown}",
            "Give a checkpoint that was trained as a classifier.",
        )
    beside = sorted(found.get("unexpected_keys", ()))
    if beside:
        text = f"{folder}: {name} has no use for {len(beside)} weights, such as {beside[0]}"
        warnings.warn(text, WeightsWarning, stacklevel=4)


@contextmanager
def _named(folder: Path) -> Iterator[None]:
    """Name the folder in errors of the library, which are of every kind."""
    try:
        yield
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"a checkpoint of the transformers library in {folder}",
            f"{type(error).__name__} ({lines[0][:200] if lines else 'no more is said'})",
            "Check its files; transformers.AutoConfig.from_pretrained(folder) reads the first.",
        ) from error


@contextmanager
def _quiet(library: Any) -> Iterator[None]:  # noqa: ANN401 - a module
    """Without the library's bars and warnings, which are told as errors here."""
    log = library.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def read_preprocessing(folder: Path) -> Preprocessing | None:
    """What a processor's file in a checkpoint folder does to frames; None without such a file.

    Raises:
        ModelError: If the file cannot be read, or asks for what is not known.
    """
    for name in (*_PROCESSORS, _OF_SEVERAL):
        path = folder / name
        if not path.is_file():
            continue
        settings = _read(path)
        if name == _OF_SEVERAL:
            parts = [settings[part] for part in _PARTS if isinstance(settings.get(part), dict)]
            if not parts:
                continue
            settings = parts[0]
        try:
            return _preprocessing(settings)
        except (KeyError, TypeError, ValueError) as error:
            wrong = f"{type(error).__name__}: {error}"
            raise ModelError(
                f"size, crop_size, image_mean and image_std in {path}",
                f"what cannot be taken from it ({wrong})",
                "Correct it, or wrap the model by hand with a Preprocessing of your own.",
            ) from error
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"JSON in {path}", f"{error}", "Check the file.") from error
    if not isinstance(settings, dict):
        raise ModelError(f"an object in {path}", type(settings).__name__, "Check the file.")
    return settings


def _preprocessing(settings: Mapping[str, Any]) -> Preprocessing:
    """The processor's arithmetic, as resize, crop, and one affine map of pixels in [0, 1]."""
    interpolation = settings.get("resample", 2)
    if interpolation not in _INTERPOLATIONS:
        raise ValueError(f"resample {interpolation}, not one of {sorted(_INTERPOLATIONS)}")
    resizes = settings.get("do_resize", "size" in settings)
    crops = settings.get("do_center_crop", False)
    return Preprocessing(
        resize=_size(settings["size"]) if resizes else None,
        crop=_pair(settings["crop_size"]) if crops else None,
        normalization=_normalization(settings),
        interpolation=_INTERPOLATIONS[interpolation],  # type: ignore[arg-type]
        antialias=True,
    )


def _normalization(settings: Mapping[str, Any]) -> Normalization:
    """As one step: `(pixel * 255 * factor - offset - mean) / std`."""
    factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1
    scale = 255 * factor
    # ViViT's video processor subtracts 1 without saying so in its file.
    of_vivit = str(settings.get("video_processor_type", "")).startswith("Vivit")
    offset = 1.0 if settings.get("offset", of_vivit) else 0.0
    mean, std = IDENTITY.mean, IDENTITY.std
    if settings.get("do_normalize", True):
        mean, std = _row(settings["image_mean"]), _row(settings["image_std"])
    return Normalization(
        tuple((offset + one) / scale for one in mean), tuple(one / scale for one in std)
    )


def _row(numbers: Any) -> tuple[float, ...]:  # noqa: ANN401 - as the file has it
    row = [numbers] * 3 if isinstance(numbers, (int, float)) else numbers
    return tuple(float(number) for number in row)


def _size(size: Any) -> int | tuple[int, int]:  # noqa: ANN401 - as the file has it
    if isinstance(size, int):
        return size
    if set(size) == {"shortest_edge"}:
        return int(size["shortest_edge"])
    return _pair(size)


def _pair(size: Any) -> tuple[int, int]:  # noqa: ANN401 - as the file has it
    return (size, size) if isinstance(size, int) else (int(size["height"]), int(size["width"]))
