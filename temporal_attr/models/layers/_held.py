"""An operation that is held at the values that it has on a clip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from torch import Tensor
from torch.utils import _pytree as pytree

from temporal_attr.models.layers._followed import Followed

Operands: TypeAlias = tuple[Any, ...]
Options: TypeAlias = dict[str, Any]
Arguments: TypeAlias = tuple[Operands, Options]


@dataclass(frozen=True, eq=False)
class Held:
    """An operation at a clip's values.

    Attributes:
        name: Of the function.
        apply: What it makes of a timestep's share, given the same arguments.
        result: `"share"` is one of that timestep; `"gate"` likewise, and held where it multiplies
            another; `"constant"` is the same for all.
    """

    name: str
    apply: Callable[[Operands, Options], Any]
    result: Literal["share", "gate", "constant"] = "share"


Hold: TypeAlias = Callable[[Callable[..., Any], Arguments, Followed], "Held | None"]
"""From a function, its arguments on the clip and what depends on the features: the function held;
None where it is linear in them."""


def constant(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """What says how large or how much: attention weights, a standard deviation."""
    args, kwargs = pytree.tree_map_only(Tensor, lambda entry: entry.detach().clone(), given)
    whole = pytree.tree_map_only(Tensor, Tensor.detach, func(*args, **kwargs))

    def apply(_args: Operands, _kwargs: Options) -> Any:  # noqa: ANN401
        # Copies, because what follows may work on them in place.
        return pytree.tree_map_only(Tensor, Tensor.clone, whole)

    return Held(func.__name__, apply, "constant")


def second(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
    return args[1] if len(args) > 1 else kwargs["other"]


def without_input(kwargs: Options) -> Options:
    return {name: value for name, value in kwargs.items() if name not in ("input", "inplace")}
