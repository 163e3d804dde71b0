"""Copies of a model whose parameters are drawn anew, module by module."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from temporal_attr._errors import ClipError, ModelError, OptionError
from temporal_attr._memory import is_out_of_memory
from temporal_attr._require import require_seed
from temporal_attr._seeding import seeded
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._again import logits_of_clip
from temporal_attr.evaluation._case import Model, require_clips


def parameter_modules(model: Model, clip: ClipTensor) -> tuple[str, ...]:
    """Which modules of a model have parameters of their own, from the output towards the input.

    They are ordered by when the model first uses one of their parameters, seen in one forward pass
    of a copy of it. A module whose parameters are not seen in use (in TorchScript, or of a part
    that is not run) is placed after the one that is registered before it.

    Args:
        model: A `VideoModel` or another module, in evaluation mode.
        clip: `(1, time, channel, height, width)`.

    Returns:
        Their names, as `named_modules()` has them; "" is the model itself.

    Raises:
        ModelError: If the model is no module with parameters in floating point, cannot be copied,
            or a copy of it computes with the original's parameters, as where a function holds them.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> parameter_modules(model, torch.rand(1, 5, 3, 16, 16))[:2]
        ('classifier', 'recurrent')
    """
    own = require_parameters(model)
    require_clips(clip)
    dtype = next(own.parameters()).dtype
    if clip.dtype != dtype:
        raise ClipError(
            f"a clip of {dtype}, as the model's parameters are",
            f"{clip.dtype}",
            "Convert it: clip.to(dtype).",
        )
    twin = copied(own)
    uses = _Uses()
    with uses:
        logits_of_clip(twin, clip)
    for name, parameter in own.named_parameters():
        if id(parameter) in uses.first:
            raise ModelError(
                "a model whose copy computes with parameters of its own",
                f"a copy that still computes with the model's {name}",
                "Let no function hold a part of the model: make the parts modules of it.",
            )
    times: list[float] = []
    names: list[str] = []
    for name, part in twin.named_modules():
        parameters = list(part.parameters(recurse=False))
        if not parameters:
            continue
        seen = [uses.first[id(one)] for one in parameters if id(one) in uses.first]
        before = times[-1] if times else -1.0
        times.append(min(seen, default=before))
        names.append(name)
    order = np.argsort(np.array(times), kind="stable")
    return tuple(names[place] for place in reversed(order.tolist()))


def randomized(model: Model, modules: Sequence[str], seed: int = 0) -> nn.Module:
    """A copy of a model in which the parameters of some modules are drawn anew.

    Only parameters of the modules themselves are: not those of the modules inside them, and no
    buffers, so that norms keep their running statistics. A module with `reset_parameters`, which
    initialises it as PyTorch does, draws by it. Other parameters are drawn from a normal
    distribution with the mean and the standard deviation that each has; one whose entries are all
    equal stays as it is. What is drawn for a module depends on the seed and its name alone.

    Args:
        model: A `VideoModel` or another module.
        modules: Their names; see `parameter_modules`.
        seed: Of what is drawn; random states of the caller stay as they are.

    Returns:
        The copy; the model is not changed.

    Raises:
        OptionError: If the model has no such module.
        ModelError: If the model is no module with parameters, or cannot be copied.

    Example:
        >>> layer = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
        >>> other = randomized(layer, ["1"])
        >>> [torch.equal(other[at].weight, layer[at].weight) for at in (0, 1)]
        [True, False]
    """
    require_seed(seed)
    other = copied(require_parameters(model))
    parts = dict(other.named_modules())
    for name in modules:
        if name not in parts:
            raise OptionError(
                f"modules of {type(model).__name__}", repr(name), "See its named_modules()."
            )
        entropy = (seed, crc32(name.encode()))
        _initialize(parts[name], int(np.random.SeedSequence(entropy).generate_state(1)[0]))
    return other


def require_parameters(model: Model) -> nn.Module:
    """The model itself, if it is a module with parameters in floating point.

    Raises:
        ModelError: If it is not.
    """
    if isinstance(model, nn.Module) and any(one.is_floating_point() for one in model.parameters()):
        return model
    kind = getattr(model, "__name__", type(model).__name__)
    raise ModelError(
        "a model whose parameters can be drawn anew",
        f"{kind}, which has none that are known",
        "Give the network itself, or wrap(network), in place of a function that calls it.",
    )


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model that shares no parameter with it.

    Raises:
        ModelError: If there can be none.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> copied(layer).weight is layer.weight
        False
    """
    remedy = (
        "Parameters are drawn anew in a copy, so that yours stay. Take off what copy.deepcopy "
        "refuses, such as the hooks of weight_norm (torch.nn.utils.remove_weight_norm), or leave "
        "this metric out."
    )
    try:
        other = copy.deepcopy(model)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise ModelError(
            "a model that can be copied", f"{type(error).__name__} ({error})", remedy
        ) from error
    theirs = {id(one) for one in model.parameters()}
    shared = [name for name, one in other.named_parameters() if id(one) in theirs]
    if shared:
        raise ModelError(
            "a model whose copy has parameters of its own", f"one that shares {shared[0]}", remedy
        )
    return other


class _Uses(TorchFunctionMode):
    """Notes when each tensor is first handed to a function, by its id."""

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[int, int] = {}
        self._calls = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        named = kwargs or {}
        self._calls += 1
        for parameter in _parameters(args, named.values()):
            self.first.setdefault(id(parameter), self._calls)
        return func(*args, **named)


def _parameters(*groups: Iterable[Any]) -> Iterable[nn.Parameter]:
    """Those among arguments, and in lists of them, as recurrent layers hand them over."""
    for group in groups:
        for entry in group:
            if isinstance(entry, nn.Parameter):
                yield entry
            elif isinstance(entry, (list, tuple)):
                yield from _parameters(entry)


def _initialize(part: nn.Module, seed: int) -> None:
    """Draw the parameters of a module itself anew, in place."""
    own = [one for one in part.parameters(recurse=False) if one.is_floating_point()]
    with torch.no_grad(), seeded(seed):
        if not _resets_itself(part):
            for parameter in own:
                parameter.copy_(_like(parameter))
            return
        ids = {id(one) for one in own}
        others = [one for one in (*part.parameters(), *part.buffers()) if id(one) not in ids]
        kept = [(one, one.clone()) for one in others]
        part.reset_parameters()  # type: ignore[operator]  # which _resets_itself looked at
        for one, before in kept:
            one.copy_(before)


def _resets_itself(part: nn.Module) -> bool:
    """Whether a module has `reset_parameters`, without arguments."""
    reset = getattr(part, "reset_parameters", None)
    if not callable(reset):
        return False
    return all(
        one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        for one in inspect.signature(reset).parameters.values()
    )


def _like(parameter: Tensor) -> Tensor:
    """Normal numbers with the mean and the standard deviation of a parameter."""
    values = parameter.double()
    noise = torch.randn(parameter.shape, dtype=torch.float64).to(parameter.device)
    return values.mean() + noise * values.std(correction=0)
