"""A network's modules copied shallowly, so that a run can be led otherwise without touching it."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from temporal_attr._errors import ModelError, UnsupportedModelError

_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class ModuleCopies:
    """Shallow copies of all modules of a network: other objects, the same weights and functions.

    What is put on a copy, such as a hook or a `forward` of its own, is not on the network. A copy
    is made anew for each run, so that weights that were replaced in between are the new ones.

    Attributes:
        root: The copy of the network.

    Args:
        network: Whose modules are copied.
        substitutes: Modules that stand in place of the network's own, by their path.
        own_buffers: Whether buffers are copied too, so that what is written to them, such as the
            statistics of batch norm in training mode, is not the network's.

    Raises:
        ModelError: If the network has no submodule of such a path.
        UnsupportedModelError: If the network is scripted, which cannot be copied so.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 2), nn.Softmax(-1))
        >>> copies = ModuleCopies(network, {"1": nn.Identity()})
        >>> copies.root[0].weight is network[0].weight, copies.root[1], network[1]
        (True, Identity(), Softmax(dim=-1))
    """

    def __init__(
        self,
        network: nn.Module,
        substitutes: Mapping[str, nn.Module] | None = None,
        own_buffers: bool = False,
    ) -> None:
        self._network = network
        self._own_buffers = own_buffers
        self._replaced = {
            id(submodule(network, path)): part for path, part in (substitutes or {}).items()
        }
        self._copies: dict[int, nn.Module] = {}
        self.root = self._copy(network)
        for copy in self._copies.values():
            self._rebind(copy)

    def named(self) -> list[tuple[str, nn.Module]]:
        """Each path of the network's modules, and the copy of the module there."""
        found = [(name, self._copies.get(id(part))) for name, part in self._network.named_modules()]
        return [(name, copy) for name, copy in found if copy is not None]

    def at(self, path: str) -> nn.Module:
        """The copy of the module at a path.

        Raises:
            ModelError: If there is none, or it is within a substitute.
        """
        copy = self._copies.get(id(submodule(self._network, path)))
        if copy is None:
            raise ModelError(
                f"a submodule {path!r} that runs", "one that is substituted", "Name another layer."
            )
        return copy

    def _copy(self, module: nn.Module) -> nn.Module:
        if id(module) in self._replaced:
            return self._replaced[id(module)]
        if id(module) in self._copies:
            return self._copies[id(module)]
        _require_not_scripted(module)
        copy: nn.Module = object.__new__(type(module))
        state = dict(vars(module))
        for name in _HOOKS:
            state[name] = OrderedDict(state[name])
        # Of its own, so that what a forward assigns to them stays with the copy.
        state["_parameters"] = dict(state["_parameters"])
        state["_buffers"] = {
            name: held.clone() if self._own_buffers and held is not None else held
            for name, held in state["_buffers"].items()
        }
        # Compiled by itself, a module would run as it was.
        state["_compiled_call_impl"] = None
        copy.__dict__ = state
        # Before its children, as a module may hold one that holds it.
        self._copies[id(module)] = copy
        children = vars(module)["_modules"].items()
        state["_modules"] = {
            name: None if part is None else self._copy(part) for name, part in children
        }
        return copy

    def _rebind(self, copy: nn.Module) -> None:
        """Have what a module keeps besides its submodules refer to the copies.

        That are bound methods, such as a `forward` put on it, and modules in plain lists or dicts.
        """
        for name, held in vars(copy).items():
            if name != "_modules":
                vars(copy)[name] = self._with_copies(held)

    def _with_copies(self, held: Any) -> Any:  # noqa: ANN401 - whatever a module keeps
        """The same with copies in place of modules; itself, if there are none in it."""
        if isinstance(held, nn.Module):
            return self._copies.get(id(held), held)
        if isinstance(held, MethodType) and id(held.__self__) in self._copies:
            return MethodType(held.__func__, self._copies[id(held.__self__)])
        if type(held) in (list, tuple):
            entries = [self._with_copies(entry) for entry in held]
            return held if all(map(operator.is_, entries, held)) else type(held)(entries)
        if type(held) is dict:
            mapped = {name: self._with_copies(entry) for name, entry in held.items()}
            return held if all(mapped[name] is held[name] for name in held) else mapped
        return held


@dataclass(frozen=True, eq=False)
class Network:
    """A network, and how a video is handed to it.

    Attributes:
        module: The network.
        substitutes: See `ModuleCopies`.
        keyword: What it calls the video, where that is not its first argument.
        listed: Whether it takes a list of pathways, and the video as the only one.
        own_buffers: See `ModuleCopies`.

    Example:
        >>> network = Network(nn.Linear(2, 2), keyword="input")
        >>> network.call(network.copies(), torch.zeros(1, 2)).shape
        torch.Size([1, 2])
    """

    module: nn.Module
    substitutes: Mapping[str, nn.Module] = field(default_factory=dict)
    keyword: str | None = None
    listed: bool = False
    own_buffers: bool = False

    def copies(self) -> ModuleCopies:
        """Copies of its modules, for one run."""
        return ModuleCopies(self.module, self.substitutes, self.own_buffers)

    def call(self, copies: ModuleCopies, video: Tensor) -> Any:  # noqa: ANN401
        """What copies return for a video."""
        return self._handed(copies.root, video)

    def __call__(self, video: Tensor) -> Any:  # noqa: ANN401 - whatever a network returns
        """What the network returns for a video: its own call, unless something is substituted."""
        if self.substitutes:
            return self.call(self.copies(), video)
        return self._handed(self.module, video)

    def _handed(self, module: nn.Module, video: Tensor) -> Any:  # noqa: ANN401
        given = [video] if self.listed else video
        return module(given) if self.keyword is None else module(**{self.keyword: given})


def submodule(network: nn.Module, path: str) -> nn.Module:
    """The module at a path of a network.

    Raises:
        ModelError: If there is none, with those that are near.

    Example:
        >>> submodule(nn.Sequential(nn.ReLU()), "0")
        ReLU()
        >>> submodule(nn.Sequential(nn.ReLU()), "relu")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected a submodule 'relu' of Sequential, got ...
    """
    _require_not_scripted(network)
    try:
        return network.get_submodule(path)
    except AttributeError:
        pass
    above, known = path, network
    while "." in above:
        above = above.rpartition(".")[0]
        try:
            known = network.get_submodule(above)
            break
        except AttributeError:
            continue
    else:
        above = ""
    names = ", ".join(name for name, _ in known.named_children())
    raise ModelError(
        f"a submodule {path!r} of {type(network).__name__}",
        f"submodules {names or 'none'}{f' in {above!r}' if above else ''}",
        "Name one as in model.named_modules().",
    )


def first_path(network: nn.Module, path: str) -> str:
    """The first path of the module that is at a path: one that is shared has several.

    Example:
        >>> layer = nn.ReLU()
        >>> first_path(nn.Sequential(layer, nn.Sequential(layer)), "1.0")
        '0'
    """
    wanted = submodule(network, path)
    return next((name for name, part in network.named_modules() if part is wanted), path)


def _require_not_scripted(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise UnsupportedModelError(
            "a network of Python modules, whose layers can be named",
            f"{type(module).__name__}, which is scripted or traced",
            "Use the network as it was before torch.jit; gradients and masking take a scripted "
            "one as a function of clips.",
        )


def runs_as(copy: nn.Module, forward: Callable[..., Any]) -> None:
    """Have a copy run another function in place of its `forward`."""
    vars(copy)["forward"] = forward


def without_hooks(copy: nn.Module) -> None:
    """Have a copy run none of the hooks of the module that it is of."""
    for name in _HOOKS:
        vars(copy)[name] = OrderedDict()
