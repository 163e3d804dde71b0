"""What a file of weights holds, with no code of it run."""

from __future__ import annotations

import pickle
import struct
import threading
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from temporal_attr._errors import ModelError

PARTS = ("state_dict", "model_state_dict", "model", "model_state")
"""Where a training checkpoint usually has the weights, beside what else it keeps: the first of
these that fits."""

_DEEPEST = 3
"""How many dicts deep weights are looked for in a file."""

Part: TypeAlias = tuple[str, dict[str, Tensor]]
"""Where in a file weights are, such as "ema.module", and they themselves."""

_UNREADABLE: tuple[type[Exception], ...] = (
    pickle.UnpicklingError,
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a file raises that is damaged, or of another kind, wherever the damage is."""


def read_parts(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts in a file by their places in it, the usual ones first; at least one.

    Raises:
        ModelError: If there is none.
    """
    found = _read(path)
    parts = dict(_state_dicts(found))
    if parts:
        usual = [name for name in PARTS if name in parts]
        return {name: parts[name] for name in dict.fromkeys([*usual, *parts])}
    # What is said is of where the weights should be.
    while isinstance(found, dict) and any(isinstance(found.get(name), dict) for name in PARTS):
        found = next(found[name] for name in PARTS if isinstance(found.get(name), dict))
    if not isinstance(found, dict):
        raise _not_weights(path, f"a {type(found).__name__}")
    if not found:
        raise _not_weights(path, "an empty dict")
    name, entry = next(
        (str(name), entry)
        for name, entry in found.items()
        if not (isinstance(name, str) and isinstance(entry, Tensor))
    )
    raise _not_weights(path, f"a dict with a {type(entry).__name__} as {name[:60]!r}")


def _state_dicts(found: Any, place: str = "", depth: int = 0) -> Iterator[Part]:  # noqa: ANN401
    """Each dict of tensors by name, and the keys that lead to it."""
    if not isinstance(found, dict) or not found or depth > _DEEPEST:
        return
    if not all(isinstance(name, str) for name in found):
        return
    if all(isinstance(entry, Tensor) for entry in found.values()):
        yield place, found
        return
    for name, entry in found.items():
        yield from _state_dicts(entry, f"{place}.{name}" if place else name, depth + 1)


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """What a file holds, with no code of it run."""
    try:
        if not path.is_file():
            got = "a folder there" if path.is_dir() else "no file there"
            raise ModelError(f"a file of weights at {path}", got, "Check the path.")
        if path.stat().st_size == 0:
            raise _not_weights(path, "an empty file")
        if path.suffix == ".safetensors":
            return _read_safetensors(path)
        with _plain_arguments():
            return torch.load(path, map_location="cpu", weights_only=True)
    except ModelError:
        raise
    except _UNREADABLE as error:
        raise _not_weights(path, f"what cannot be read ({first_line(error)})") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise _not_weights(path, f"what cannot be read ({first_line(error)})") from None
    return state


def _scalar(dtype: Any, data: Any = b"") -> Any:  # noqa: ANN401 - whatever the file has
    """A number of NumPy from its bytes; of anything but numbers, nothing."""
    plain = isinstance(dtype, np.dtype) and dtype.kind in "biuf" and isinstance(data, bytes)
    return np.frombuffer(data, dtype)[0] if plain else None


_PLAIN: list[Any] = [
    Namespace,
    # In place of the class that earlier versions of Lightning keep a model's options in.
    (OrderedDict, "lightning.fabric.utilities.data.AttributeDict"),
    (OrderedDict, "lightning_fabric.utilities.data.AttributeDict"),
    (OrderedDict, "pytorch_lightning.utilities.parsing.AttributeDict"),
    # Numbers of NumPy, such as the best accuracy so far, under the names of both its versions.
    (_scalar, "numpy._core.multiarray.scalar"),
    (_scalar, "numpy.core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"),
]
"""Bags of plain values, and numbers."""

_SAFE_GLOBALS = threading.Lock()


@contextmanager
def _plain_arguments() -> Iterator[None]:
    """Let torch.load read the arguments and numbers that training scripts keep beside the weights.

    torchvision's and Lightning's do. To make one of these runs no code of the file.
    """
    serialization = torch.serialization
    with _SAFE_GLOBALS:
        before: Sequence[Any] = serialization.get_safe_globals()
        serialization.add_safe_globals(_PLAIN)
        try:
            yield
        finally:
            serialization.clear_safe_globals()
            serialization.add_safe_globals(list(before))


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _not_weights(path: Path, got: str) -> ModelError:
    return ModelError(
        f"a state dict of tensors in {path}",
        got,
        "Save one with safetensors, or with torch.save(model.state_dict()).",
    )
