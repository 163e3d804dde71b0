"""Models by name, and weights from files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from temporal_attr._activation import Activation, require_activation
from temporal_attr._errors import (
    ModelError,
    OptionError,
    TemporalAttrError,
    UnsupportedModelError,
    printable,
)
from temporal_attr._require import require_size
from temporal_attr._seeding import seeded_weights
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._wrap import checked_names, wrap
from temporal_attr.models.loading._checkpoint_folder import load_transformers
from temporal_attr.models.loading._weights import load_weights


def load_model(
    name: str,
    weights: Path | None = None,
    classes: int | None = None,
    seed: int = 0,
    class_names: Sequence[str] | Path = (),
    activation: Activation | None = None,
) -> nn.Module:
    """Build a model by name, load its weights, and wrap it.

    Args:
        name: `torchvision:NAME` or `timm:NAME`; `transformers:FOLDER`, see `load_transformers`; or
            `package.module:factory`, a function without arguments that returns a model (the current
            folder is searched first).
        weights: `.safetensors`, or a file of `torch.save`: a state dict, or a training checkpoint
            that has one under any name (`state_dict`, `model_state_dict`, `model` or `model_state`
            where several fit). Of the model itself or of the one that it wraps; names may begin
            with what DataParallel (`module.`), torch.compile (`_orig_mod.`), a Lightning module or
            anything else that holds the model put there. Nothing but tensors and plain values is
            read. Without it the weights are random.
        classes: Number of classes, for torchvision and timm; by default that of `class_names`, or
            else of their own weights.
        seed: Of random weights; the global random state is left as it was.
        class_names: What the classes are called, in their order, or a text file with one a line.
            A `VideoModel` that a factory returns keeps its own without them.
        activation: What turns the model's outputs into probabilities; a `VideoModel` that a factory
            returns keeps its own without it.

    Returns:
        A `VideoModel` in evaluation mode; or the factory's own module, if `wrap` does not know it,
        which has no place for `class_names`.

    Raises:
        ModelError: If there is no such model, or the weights do not fit.
        OptionError: If the number of classes is out of range; the names are not one for each of
            `classes`, or cannot be read; or an activation is given for a factory's own module,
            which cannot carry it.

    Warns:
        WeightsWarning: If something was removed from the names of the weights, one of several parts
            of the file was chosen, or names of it were left out.

    Example:
        >>> model = load_model("torchvision:mc3_18", class_names=["walk", "run", "jump"])
        >>> model.frames_per_step, model.class_names, model.model.fc.out_features
        (1, ('walk', 'run', 'jump'), 3)
    """
    require_activation(activation)
    if classes is not None:
        require_size("classes", classes, 1)
    names = _names(class_names, classes)
    classes = len(names) or None if classes is None else classes
    library, _, rest = name.partition(":")
    if not rest or not library:
        raise OptionError(
            "a model as torchvision:NAME, timm:NAME, transformers:FOLDER or package.module:factory",
            repr(name),
            "Put a colon between the two parts.",
        )
    if library == "transformers":
        return _named_anew(_from_transformers(rest, weights, classes), names, activation)
    with seeded_weights(seed):
        if library == "torchvision":
            model, preprocessing = _from_torchvision(rest, classes)
        elif library == "timm":
            model, preprocessing = _from_timm(rest, classes), None
        else:
            model, preprocessing = _from_factory(library, rest), None
    if weights is not None:
        load_weights(model, weights)
    model.eval()
    try:
        wrapped = wrap(model, preprocessing)
    except UnsupportedModelError:
        # A user's own model may take canonical clips itself; a library's certainly does not.
        if library in ("torchvision", "timm"):
            raise
        return _own_module(model, activation)
    return _named_anew(wrapped, names, activation)


def _named_anew(
    model: VideoModel, names: tuple[str, ...], activation: Activation | None
) -> VideoModel:
    """The model with names and activation that are given in place of its own."""
    model.class_names = names or model.class_names
    model.activation = activation or model.activation
    return model


def _own_module(model: nn.Module, activation: Activation | None) -> nn.Module:
    """A factory's own module, which cannot carry an activation."""
    if activation is not None:
        raise OptionError(
            "a VideoModel, or one that wrap() knows, with an activation",
            f"a {type(model).__name__}",
            "Give it to the method: TemporalGradient(model, activation=...).",
        )
    return model


def _names(class_names: Sequence[str] | Path, classes: int | None) -> tuple[str, ...]:
    """The names, from a file if they stand in one; as many as classes, where that is known."""
    given = _read_names(class_names) if isinstance(class_names, Path) else class_names
    names = checked_names(given)
    if names and classes is not None and len(names) != classes:
        raise OptionError(
            f"a name for each of {classes} classes", f"{len(names)}", "Leave one of them out."
        )
    return names


def class_names(path: Path | None) -> list[str]:
    """The names in a text file, one a line; none without a file.

    Example:
        >>> class_names(None)
        []
    """
    return [] if path is None else _read_names(path)


def _read_names(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise OptionError(
            f"UTF-8 text in {path}", "another encoding", "Save the class names as UTF-8."
        ) from None
    except (OSError, ValueError) as error:
        # ValueError: a path that no file can have.
        got = "no file there" if not isinstance(error, PermissionError) else "no right to read it"
        got = "a folder there" if isinstance(error, IsADirectoryError) else got
        raise OptionError(f"a text file of class names at {path}", got, "Check it.") from None
    # They reach the terminal in every summary.
    names = [printable(line.strip()) for line in lines if line.strip()]
    if not names:
        raise OptionError(f"class names in {path}", "an empty file", "Write one name a line.")
    return names


def _from_torchvision(name: str, classes: int | None) -> tuple[nn.Module, Preprocessing]:
    models = _library("torchvision.models")
    if name not in models.list_models():
        raise ModelError(
            "the name of a torchvision model, such as r3d_18 or resnet18",
            repr(name),
            "See torchvision.models.list_models().",
        )
    transforms = models.get_model_weights(name).DEFAULT.transforms()
    try:
        preprocessing = Preprocessing.from_torchvision(transforms)
    except OptionError:
        raise UnsupportedModelError(
            "a torchvision classifier", repr(name), "Detection and segmentation are not supported."
        ) from None
    options = {} if classes is None else {"num_classes": classes}
    return models.get_model(name, weights=None, **options), preprocessing


def _from_timm(name: str, classes: int | None) -> nn.Module:
    timm = _library("timm")
    if not timm.is_model(name):
        raise ModelError(
            "the name of a timm model, such as resnet18", repr(name), "See timm.list_models()."
        )
    options = {} if classes is None else {"num_classes": classes}
    model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model


def _from_transformers(folder: str, weights: Path | None, classes: int | None) -> VideoModel:
    if weights is not None:
        raise OptionError(
            "a checkpoint folder, which has weights of its own, without others",
            str(weights),
            "Leave one of them out.",
        )
    model = load_transformers(folder)
    own = len(model.class_names)
    if own and classes not in (None, own):
        raise OptionError(
            f"a name for each of the {own} classes of {folder}", f"{classes}", "Leave them out."
        )
    return model


def _from_factory(module_name: str, factory_name: str) -> nn.Module:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        factory = getattr(_library(module_name), factory_name, None)
        if not callable(factory):
            raise ModelError(
                f"a function {factory_name} in {module_name}", "nothing of that name", "Check it."
            )
        try:
            model = factory()
        except TemporalAttrError:
            raise
        except Exception as error:
            raise ModelError(
                f"{module_name}:{factory_name}() to return a torch.nn.Module",
                f"{type(error).__name__}: {error}",
                "Name a function without arguments that builds the model.",
            ) from error
    finally:
        sys.path.remove(here)
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"{module_name}:{factory_name}() to return a torch.nn.Module",
            type(model).__name__,
            "Return the model itself.",
        )
    return model


def _library(name: str) -> Any:  # noqa: ANN401 - a module
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # An import that fails inside the user's module is theirs to see.
        if error.name is None or not name.startswith(error.name):
            raise
        raise ModelError(
            f"the module {name} to be installed",
            "no such module",
            "Install it (torchvision and timm: pip install 'temporal-attr[models]').",
        ) from None
