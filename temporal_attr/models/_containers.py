"""What a network comes in: containers that hand the clip on to it and its output back."""

from __future__ import annotations

import copy
import inspect
import sys
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError, UnsupportedModelError
from temporal_attr._memory import is_out_of_memory
from temporal_attr.models._base import VideoModel
from temporal_attr.models._outputs import logits_of
from temporal_attr.models.trials._trials import difference, tolerance

_HELD = (
    ("torch.nn.parallel", "DataParallel", "module"),
    ("torch.nn.parallel", "DistributedDataParallel", "module"),
    ("torch._dynamo", "OptimizedModule", "_orig_mod"),
)
"""Containers that run a network otherwise, such as on several devices, and change no number: where
their class is, its name, and what it calls the network. A module that was never imported (that of
`torch.compile` is not, before its first use) has no instances."""

_SHAPES = ((1, 2, 3, 4, 5), (1, 3, 2, 4, 5), (2, 3, 4, 5))
"""Of what is handed to a container to see what it does with it: clips with time before and after
the channels, and frames. A forward that tells them apart must do nothing with any of them."""


def unwrapped(module: nn.Module, clip: Tensor | None = None) -> tuple[nn.Module, tuple[str, ...]]:
    """The network inside containers that change no number, and what was taken off.

    Taken off are `DataParallel`, `DistributedDataParallel`, what `torch.compile` returns, and any
    module whose forward hands its one argument to one of its children and returns what that gives:
    Lightning modules, `torch.optim.swa_utils.AveragedModel`, modules of one's own. The last is seen
    by running the forward of a copy with recorders in place of the children, so it costs nothing;
    one that does more (scales, swaps axes, applies a softmax) is a network of its own and stays.

    Args:
        module: Any; it is not changed.
        clip: In the module's own layout. With it, the network's output is compared with that of the
            module: two forward passes.

    Returns:
        The network, the module itself if it is in no container; and a sentence for each container,
        the outermost first.

    Raises:
        UnsupportedModelError: If a container does more than run the network: it has hooks of its
            own, or holds a part of the weights only.
        ModelError: If the outputs for the clip differ.

    Example:
        >>> network = nn.Linear(2, 2)
        >>> inside, notes = unwrapped(nn.DataParallel(nn.Sequential(network)))
        >>> inside is network, notes[0]
        (True, 'DataParallel was taken off: it only runs its `module`')
    """
    network, notes = module, []
    while (name := _held_name(network)) is not None:
        _require_no_hooks(network)
        notes.append(f"{type(network).__name__} was taken off: it only runs its `{name}`")
        network = getattr(network, name)
    if clip is not None and notes:
        _require_same_output(module, network, clip)
    return network, tuple(notes)


def known_container(module: nn.Module) -> str | None:
    """What a container of PyTorch's own calls the network that it runs; None for other modules.

    Raises:
        UnsupportedModelError: If it holds a part of the weights only.

    Example:
        >>> known_container(nn.DataParallel(nn.Linear(2, 2))), known_container(nn.Linear(2, 2))
        ('module', None)
    """
    for place, name, held in _HELD:
        kind = getattr(sys.modules.get(place), name, None)
        if kind is not None and isinstance(module, kind):
            return held
    if any(kind.__name__ == "FullyShardedDataParallel" for kind in type(module).__mro__):
        raise UnsupportedModelError(
            "a network with all of its weights",
            "FullyShardedDataParallel, which holds a part of them on each device",
            "Load the gathered state dict into a network of its own, and wrap that.",
        )
    return None


def _held_name(module: nn.Module) -> str | None:
    """What a container calls the network that it runs; None if it is no container."""
    if isinstance(module, (VideoModel, torch.jit.ScriptModule)):
        return None
    return known_container(module) or _handed_on_to(module)


def _require_no_hooks(module: nn.Module) -> None:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    if any(hooks) or module._backward_pre_hooks:
        raise UnsupportedModelError(
            f"a {type(module).__name__} that only runs the network inside it",
            "one with hooks of its own, which may change what it gives",
            "Remove them, or put them on the network inside; or wrap that network.",
        )


class _Recorder(nn.Module):
    """Stands in for a child: notes what it is called with, and returns what can be known again."""

    def __init__(self, output: object) -> None:
        super().__init__()
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
        self.output = output
        self.training = False

    def forward(self, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever is handed on
        """Note a call."""
        self.calls.append((args, kwargs))
        return self.output


class _HasLogits:
    """An output of the transformers library, of which a container may return the logits alone."""

    def __init__(self) -> None:
        self.logits = torch.zeros(1, 2)

    def __getitem__(self, name: str) -> object:
        return getattr(self, name)


def _handed_on_to(module: nn.Module) -> str | None:
    """The child that a module's forward hands its input to and whose output it returns, if any."""
    # A forward of its own, as some libraries put on an instance, is bound to the instance.
    if not module._modules or "forward" in vars(module):
        return None
    found = {_seen(module, shape) for shape in _SHAPES} - {_RAISED}
    return found.pop() if len(found) == 1 else None


_RAISED = ""
"""In place of a name: the forward ended in an error, which says nothing of other shapes."""


def _seen(module: nn.Module, shape: tuple[int, ...]) -> str | None:
    """The one child that gets an input of a shape and nothing else, and gives the output."""
    for output in (torch.zeros(1, 2), _HasLogits()):
        recorders = {name: _Recorder(output) for name in module._modules}
        given = torch.zeros(shape, dtype=_dtype(module))
        try:
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                got = _run_copy(module, recorders, given)
        except Exception as error:
            # Whatever somebody's forward does with recorders: then it does more than to hand on.
            if is_out_of_memory(error):
                raise
            continue
        made = output if isinstance(output, Tensor) else output.logits
        if given._version or made._version:
            return None  # it wrote to one of them
        called = [(name, call) for name, one in recorders.items() for call in one.calls]
        if len(called) != 1 or not (got is output or got is made):
            return None
        name, (args, kwargs) = called[0]
        # By a keyword it would be another argument than the first, which the network gets later.
        handed = [*args, *kwargs.values()]
        first = not kwargs or _first_parameter(module._modules[name]) in kwargs
        return name if len(handed) == 1 and handed[0] is given and first else None
    return _RAISED


def _dtype(module: nn.Module) -> torch.dtype:
    weights = (one.dtype for one in module.parameters() if one.is_floating_point())
    return next(weights, torch.float32)


def _first_parameter(module: nn.Module | None) -> str | None:
    names = () if module is None else inspect.signature(module.forward).parameters
    return next(iter(names), None)


def _run_copy(module: nn.Module, children: dict[str, _Recorder], given: Tensor) -> object:
    """The output of a module's forward in a copy, of which nothing is the module's own."""
    clone = object.__new__(type(module))
    for name, value in vars(module).items():
        # What a forward keeps, such as a list of features, it keeps in the copy.
        own = isinstance(value, (dict, list, set)) and not isinstance(value, nn.Module)
        clone.__dict__[name] = copy.copy(value) if own else value
    clone.__dict__["_modules"] = dict(children)
    clone.__dict__["_buffers"] = {
        name: None if one is None else one.clone() for name, one in module._buffers.items()
    }
    return clone.forward(given)


@torch.no_grad()
def _require_same_output(module: nn.Module, network: nn.Module, clip: Tensor) -> None:
    expected, given = (logits_of(one(clip.clone())) for one in (module, network))
    if difference(given, expected) > tolerance(expected):
        raise ModelError(
            f"a {type(module).__name__} that gives what the {type(network).__name__} in it gives",
            "another output for the clip",
            "Wrap the one whose output you mean: the network inside, or a module of your own "
            "around the whole.",
        )
