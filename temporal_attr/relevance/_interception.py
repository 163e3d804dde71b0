"""A torch function as the mode meets it, before anything is known of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

from temporal_attr.relevance._calls import NoRuleError
from temporal_attr.relevance._functions import plain_name


@dataclass(frozen=True)
class Intercepted:
    """A torch function that a model calls.

    Attributes:
        func: The function.
        args: As it was called.
        kwargs: As it was called.
        name: The same for all forms of the function.
        in_place: Whether this form works in place.
        tensors: All tensors among its arguments, in order.
    """

    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str
    in_place: bool
    tensors: tuple[Tensor, ...]

    @classmethod
    def of(
        cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Intercepted:
        """Read name and tensors off a call."""
        name, in_place = plain_name(func)
        tensors = tuple(_tensors_in((*args, *kwargs.values())))
        return cls(func, args, kwargs, name, in_place, tensors)

    def with_tensors(self, replaced: Callable[[Tensor], Tensor]) -> Intercepted:
        """The same call, of what is to stand in place of each tensor."""
        tensors = [replaced(tensor) for tensor in self.tensors]
        if all(new is old for new, old in zip(tensors, self.tensors, strict=True)):
            return self
        args, kwargs = tree_map_only(Tensor, replaced, (self.args, self.kwargs))
        return Intercepted.of(self.func, args, kwargs)

    @property
    def overwrites(self) -> bool:
        """Whether the first argument is overwritten with the output."""
        return self.in_place or bool(self.kwargs.get("inplace"))

    def run(self) -> Any:  # noqa: ANN401
        """What the function does on its own."""
        return self.func(*self.args, **self.kwargs)

    def out_of_place(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        """The function and keywords that compute the same without overwriting anything."""
        kwargs = {**self.kwargs, "inplace": False} if self.kwargs.get("inplace") else self.kwargs
        if not self.in_place:
            return self.func, kwargs
        for home in (torch.Tensor, torch, torch.nn.functional):
            if hasattr(home, self.name):
                return getattr(home, self.name), kwargs
        raise NoRuleError(f"{self.name}_")


def _tensors_in(arguments: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors among arguments, in lists and the like too; several times faster than pytree."""
    for entry in arguments:
        if isinstance(entry, Tensor):
            yield entry
        elif isinstance(entry, (list, tuple)):
            yield from _tensors_in(entry)
        elif isinstance(entry, dict):
            yield from _tensors_in(entry.values())
