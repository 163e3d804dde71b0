"""Models by name, and weights from files."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError, OptionError, UnsupportedModelError
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._wrap import checked_names, wrap


def load_model(
    name: str,
    weights: Path | None = None,
    classes: int | None = None,
    seed: int = 0,
    class_names: Sequence[str] | Path = (),
) -> nn.Module:
    """Build a model by name, load its weights, and wrap it.

    Args:
        name: `torchvision:NAME` or `timm:NAME`, or `package.module:factory`, a function without
            arguments that returns a model (the current folder is searched first).
        weights: State dict, `.safetensors` or a file of `torch.save` that holds tensors only;
            without it the weights are random.
        classes: Number of classes, for torchvision and timm; by default that of `class_names`, or
            else of their own weights.
        seed: Of random weights; the global random state is left as it was.
        class_names: What the classes are called, in their order, or a text file with one a line.
            A `VideoModel` that a factory returns keeps its own without them.

    Returns:
        A `VideoModel` in evaluation mode; or the factory's own module, if `wrap` does not know it,
        which has no place for `class_names`.

    Raises:
        ModelError: If there is no such model, or the weights do not fit.
        OptionError: If the names are not one for each of `classes`, or cannot be read.

    Example:
        >>> model = load_model("torchvision:mc3_18", class_names=["walk", "run", "jump"])
        >>> model.frames_per_step, model.class_names, model.model.fc.out_features
        (1, ('walk', 'run', 'jump'), 3)
    """
    names = _names(class_names, classes)
    classes = len(names) or None if classes is None else classes
    library, _, rest = name.partition(":")
    if not rest or not library:
        raise OptionError(
            "a model as torchvision:NAME, timm:NAME or package.module:factory",
            repr(name),
            "Put a colon between the two parts.",
        )
    with torch.random.fork_rng(devices=[]):
        # Of the CPU only: torch.manual_seed would seed the generators of all devices.
        torch.default_generator.manual_seed(seed)
        if library == "torchvision":
            model, preprocessing = _from_torchvision(rest, classes)
        elif library == "timm":
            model, preprocessing = _from_timm(rest, classes), None
        else:
            model, preprocessing = _from_factory(library, rest), None
    if weights is not None:
        _load_weights(model, weights)
    model.eval()
    try:
        wrapped = wrap(model, preprocessing)
    except UnsupportedModelError:
        # A user's own model may take canonical clips itself; a library's certainly does not.
        if library in ("torchvision", "timm"):
            raise
        return model
    wrapped.class_names = names or wrapped.class_names
    return wrapped


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
    if not path.is_file():
        raise OptionError(f"a text file of class names at {path}", "no file there", "Check it.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise OptionError(
            f"UTF-8 text in {path}", "another encoding", "Save the class names as UTF-8."
        ) from None
    names = [line.strip() for line in lines if line.strip()]
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


def _from_factory(module_name: str, factory_name: str) -> nn.Module:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        factory = getattr(_library(module_name), factory_name, None)
        if not callable(factory):
            raise ModelError(
                f"a function {factory_name} in {module_name}", "nothing of that name", "Check it."
            )
        model = factory()
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


def _load_weights(model: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"a file of weights at {path}", "no file there", "Check the path.")
    state = _read_state(path)
    try:
        # A wrapper names the parts of the model it holds anew; weights of either fit.
        held = getattr(model, "model", None) if isinstance(model, VideoModel) else None
        bare = isinstance(held, nn.Module) and set(state) == set(held.state_dict())
        (held if bare and held is not None else model).load_state_dict(state)
    except RuntimeError as error:
        problems = [line.strip().rstrip(".")[:160] for line in str(error).splitlines()[1:4]]
        raise ModelError(
            f"weights of {type(model).__name__}",
            f"{path}, which does not fit: {' '.join(problems)}",
            "Use the matching model, and --classes for another number of classes; or load the "
            "weights inside the factory, before it wraps the model.",
        ) from None


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError  # noqa: PLC0415
        from safetensors.torch import load_file  # noqa: PLC0415

        unreadable: tuple[type[Exception], ...] = (SafetensorError,)
        read: Any = load_file
    else:
        unreadable = (pickle.UnpicklingError, RuntimeError, EOFError)
        read = _read_pickle
    try:
        state = read(path)
    except unreadable as error:
        raise _not_weights(path, f"what cannot be read ({str(error).splitlines()[0]})") from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _not_weights(path, f"a {type(state).__name__} of other things")
    weights: dict[str, Tensor] = state
    return weights


def _not_weights(path: Path, got: str) -> ModelError:
    return ModelError(
        f"a state dict of tensors in {path}",
        got,
        "Save one with safetensors, or with torch.save(model.state_dict()).",
    )


def _read_pickle(path: Path) -> Any:  # noqa: ANN401
    return torch.load(path, map_location="cpu", weights_only=True)
