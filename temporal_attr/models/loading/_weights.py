"""Weights from a file, into the model that they are of."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError, WeightsWarning
from temporal_attr.models._base import VideoModel
from temporal_attr.models.loading._names import Fit, renamed, selected
from temporal_attr.models.loading._reading import PARTS, first_line, read_parts


def load_weights(model: nn.Module, path: Path) -> None:
    """Load weights into a model, or into the one that it wraps, whichever has their names.

    Nothing but tensors and plain values is read from the file; no code of it runs.

    Args:
        model: A model, or a `VideoModel` around one.
        path: A `.safetensors` file; or one of `torch.save`, a state dict or a training checkpoint
            that has it under any name. Where several fit, such as weights and their average, one of
            `PARTS` is taken. Names may begin with anything that all names of the model's weights
            begin with there, such as what a module that holds the model calls it.

    Raises:
        ModelError: If the file cannot be read, holds something else, or does not fit, or several
            weights in it do and it is not said which are meant; nothing is loaded then.

    Warns:
        WeightsWarning: If something was removed from the names, something was left out, or one of
            several parts chosen.
    """
    kind = type(model).__name__
    modules, parts = _modules(model), read_parts(path)
    fits = {
        name: fit
        for name, state in parts.items()
        if (fit := _exact(modules, state, path)) is not None
    }
    chosen = _chosen(fits, path)
    if chosen is None:
        every = (
            fit for state in parts.values() for module in modules for fit in renamed(module, state)
        )
        best = max(every, key=lambda fit: fit.shared)
    else:
        best = fits[chosen]
    _require_fit(best, path, kind)
    # What torch checks beyond names and shapes.
    try:
        best.module.load_state_dict(best.state)
    except (RuntimeError, TypeError) as error:
        raise _misfit(kind, path, first_line(error)) from None
    said = [*_of_parts(chosen, fits), *best.says()]
    if said:
        warnings.warn(f"{path}: {'; '.join(said)}", WeightsWarning, stacklevel=3)


def _exact(modules: list[nn.Module], state: dict[str, Tensor], path: Path) -> Fit | None:
    """The weights by the names and shapes of the model, if they can be found there.

    Raises:
        ModelError: If there are several by other names.
    """
    for module in modules:
        for fit in renamed(module, state):
            if fit.is_exact:
                return fit
    found = [fit for module in modules for fit in selected(module, state)]
    if len(found) > 1 and not all(_same(found[0], fit) for fit in found):
        raise _ambiguous(path, [fit.removed[-1] for fit in found])
    return found[0] if found else None


def _same(one: Fit, other: Fit) -> bool:
    """Whether two parts of a file have the same numbers."""
    pairs = ((weight, other.state.get(name)) for name, weight in one.state.items())
    return all(
        two is not None and first.dtype == two.dtype and torch.equal(first, two)
        for first, two in pairs
    )


def _chosen(fits: dict[str, Fit], path: Path) -> str | None:
    """The part to take: the usual one, or the only one; None where none fits.

    Raises:
        ModelError: If there are several, none of them usual.
    """
    names = list(fits)
    if not names:
        return None
    if names[0] in ("", *PARTS) or all(_same(fits[names[0]], fits[name]) for name in names):
        return names[0]
    raise _ambiguous(path, names)


def _of_parts(chosen: str | None, fits: dict[str, Fit]) -> list[str]:
    """What is to be said of where in the file the weights were."""
    if len(fits) > 1:
        return [f"of its parts {', '.join(fits)} the first was taken"]
    return [f"the weights under {chosen!r} were taken"] if chosen not in ("", *PARTS) else []


def _ambiguous(path: Path, names: list[str]) -> ModelError:
    return ModelError(
        "weights of one model",
        f"{path} with several that fit: {', '.join(names[:4])}{', ...' * (len(names) > 4)}",
        "Save the ones that you mean by themselves, with torch.save(state_dict, path).",
    )


def _modules(model: nn.Module) -> list[nn.Module]:
    """The model, and, of a wrapper, the part that holds all its weights: the model that it wraps.

    A part beside which there are others is none, or they would keep their random weights.
    """
    parts = model.children() if isinstance(model, VideoModel) else ()
    count = len(model.state_dict())
    return [model, *(part for part in parts if len(part.state_dict()) == count)]


def _require_fit(fit: Fit, path: Path, kind: str) -> None:
    """Raise unless names, shapes and numbers are those of the module."""
    expected = fit.module.state_dict()
    missing, unexpected = fit.misnamed()
    others = fit.missized() + _odd_values(expected, fit.state)
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
