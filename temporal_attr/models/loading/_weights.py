"""Weights from a file, into the model that they are of."""

from __future__ import annotations

import pickle
import struct
import threading
import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError, WeightsWarning
from temporal_attr.models._base import VideoModel

PARTS = ("state_dict", "model_state_dict", "model")
"""Where a training checkpoint has the weights, beside what else it keeps: the first of these."""

PREFIXES = ("module.", "model.")
"""What DataParallel and wrapping modules put before the name of every weight."""

COMPILED = "_orig_mod."
"""What torch.compile puts before the names of the module that it compiled, a part or the whole."""

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


@dataclass(frozen=True)
class _Fit:
    """Weights by the names that some module has for them.

    Attributes:
        module: The model, or the one that a wrapper holds.
        state: The weights, renamed.
        removed: What was removed from their names.
    """

    module: nn.Module
    state: dict[str, Tensor]
    removed: tuple[str, ...]

    @property
    def shared(self) -> int:
        """How many names the two have in common."""
        return len(self.module.state_dict().keys() & self.state.keys())


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model, or into the one that it wraps, whichever has their names.

    Nothing but tensors and plain values is read from the file; no code of it runs.

    Args:
        model: A model, or a `VideoModel` around one.
        path: A `.safetensors` file; or one of `torch.save`, a state dict or a training checkpoint
            that has it under one of `PARTS`.

    Raises:
        ModelError: If the file cannot be read, holds something else, or does not fit; nothing is
            loaded then.

    Warns:
        WeightsWarning: If something was removed from the names, or one of several parts chosen.
    """
    state, chosen = _read_state(path)
    fits = [fit for module in _modules(model) for fit in _renamed(module, state)]
    best = max(fits, key=lambda fit: fit.shared)
    _require_fit(best, path, type(model).__name__)
    # What torch checks beyond names and shapes.
    try:
        best.module.load_state_dict(best.state)
    except (RuntimeError, TypeError) as error:
        raise _misfit(type(model).__name__, path, _first_line(error)) from None
    said = [f"{text!r} was removed from the names" for text in best.removed]
    if said or chosen:
        warnings.warn(f"{path}: {'; '.join([*chosen, *said])}", WeightsWarning, stacklevel=3)


def _modules(model: nn.Module) -> list[nn.Module]:
    """The model, and, of a wrapper, the part that holds all its weights: the model that it wraps.

    A part beside which there are others is none, or they would keep their random weights.
    """
    parts = model.children() if isinstance(model, VideoModel) else ()
    count = len(model.state_dict())
    return [model, *(part for part in parts if len(part.state_dict()) == count)]


def _renamed(module: nn.Module, state: dict[str, Tensor]) -> Iterator[_Fit]:
    """The weights as they are named, and with one prefix after another removed from all names."""
    removed: tuple[str, ...] = ()
    yield _Fit(module, state, removed)
    plain = {name.replace(COMPILED, ""): weight for name, weight in state.items()}
    if plain.keys() != state.keys() and len(plain) == len(state):
        state, removed = plain, (COMPILED,)
        yield _Fit(module, state, removed)
    while prefix := _common_prefix(state):
        state = {name.removeprefix(prefix): weight for name, weight in state.items()}
        removed = (*removed, prefix)
        yield _Fit(module, state, removed)


def _common_prefix(state: dict[str, Tensor]) -> str:
    """One of `PREFIXES` that all names begin with, or nothing."""
    fitting = (prefix for prefix in PREFIXES if all(name.startswith(prefix) for name in state))
    return next(fitting, "") if state else ""


def _require_fit(fit: _Fit, path: Path, kind: str) -> None:
    """Raise unless names and shapes are those of the module."""
    expected = fit.module.state_dict()
    # Batch norms of old checkpoints do not count their batches, which PyTorch forgives.
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    missing = expected.keys() - fit.state.keys() - counters
    unexpected = fit.state.keys() - expected.keys()
    others = [
        f"size mismatch for {name}: {tuple(fit.state[name].shape)} in place of {tuple(own.shape)}"
        for name, own in expected.items()
        if isinstance(own, Tensor) and name in fit.state and fit.state[name].shape != own.shape
    ]
    others += _odd_values(expected, fit.state)
    problems = others[:3] + [f"{len(others) - 3} more that do not fit"] * (len(others) > 3)
    if missing:
        problems.append(f"{len(missing)} of {len(expected)} missing ({_some(missing)})")
    if unexpected:
        problems.append(f"{len(unexpected)} of other names ({_some(unexpected)})")
    if problems:
        raise _misfit(kind, path, "; ".join(problems))


def _odd_values(expected: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    """What would be loaded, but is of another kind of number, or holds what is no number.

    PyTorch converts without a word, and drops imaginary parts.
    """
    problems = []
    for name, own in expected.items():
        given = state.get(name)
        if given is None or not isinstance(own, Tensor) or given.shape != own.shape:
            continue
        # A byte has too few digits for the weights of any model that is not made for it.
        short = given.is_floating_point() and given.element_size() < 2
        if _number_kind(given) != _number_kind(own) or (short and given.dtype != own.dtype):
            problems.append(f"{name} of {given.dtype} in place of {own.dtype}")
        # A mask that a model keeps among its weights has infinite values of its own.
        elif (
            given.is_floating_point()
            and not short
            and not bool(given.isfinite().all())
            and bool(own.is_meta or own.isfinite().all())
        ):
            problems.append(f"{name} with NaN or infinite values")
    return problems


def _number_kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex"
    if tensor.is_floating_point():
        return "floating"
    return "bool" if tensor.dtype == torch.bool else "whole"


def _some(names: set[str], shown: int = 3) -> str:
    """The first names, cut short."""
    texts = [name[:60] for name in sorted(names)[:shown]]
    return ", ".join(texts + ["..."] * (len(names) > shown))


def _misfit(kind: str, path: Path, problem: str) -> ModelError:
    return ModelError(
        f"weights of {kind}",
        f"{path}, which does not fit: {problem}",
        "Use the matching model, and --classes for another number of classes; or load the "
        "weights inside the factory, before it wraps the model.",
    )


def _read_state(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The state dict in a file, and what is to be said of where in it that was."""
    found = _read(path)
    chosen: list[str] = []
    parts = [
        part for part in PARTS if isinstance(found, dict) and isinstance(found.get(part), dict)
    ]
    if parts:
        found = found[parts[0]]
        if len(parts) > 1:
            chosen.append(f"of its parts {', '.join(parts)} the first was taken")
    if not isinstance(found, dict):
        raise _not_weights(path, f"a {type(found).__name__}")
    if not found:
        raise _not_weights(path, "an empty dict")
    for name, weight in found.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor):
            raise _not_weights(path, f"a dict with a {type(weight).__name__} as {str(name)[:60]!r}")
    return found, chosen


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
        raise _not_weights(path, f"what cannot be read ({_first_line(error)})") from None


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        state: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise _not_weights(path, f"what cannot be read ({_first_line(error)})") from None
    return state


_SAFE_GLOBALS = threading.Lock()


@contextmanager
def _plain_arguments() -> Iterator[None]:
    """Let torch.load read the arguments that training scripts keep beside the weights.

    torchvision's do. A Namespace is a bag of plain values; to make one runs no code of the file.
    """
    serialization = torch.serialization
    with _SAFE_GLOBALS:
        before: Sequence[Any] = serialization.get_safe_globals()
        serialization.add_safe_globals([Namespace])
        try:
            yield
        finally:
            serialization.clear_safe_globals()
            serialization.add_safe_globals(list(before))


def _first_line(error: Exception) -> str:
    """What an error says, in short."""
    lines = str(error).strip().splitlines()
    return lines[0][:160] if lines else type(error).__name__


def _not_weights(path: Path, got: str) -> ModelError:
    return ModelError(
        f"a state dict of tensors in {path}",
        got,
        "Save one with safetensors, or with torch.save(model.state_dict()).",
    )
