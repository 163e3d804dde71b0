"""The names of torch functions, the same for all their forms, and what kinds there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_ALIASES = {
    "radd": "add",
    "rmul": "mul",
    "iadd": "add",
    "imul": "mul",
    "isub": "sub",
    "truediv": "div",
    "itruediv": "div",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "true_divide": "div",
    "concatenate": "cat",
    "concat": "cat",
}
QUERIES = frozenset(
    {
        "dim",
        "size",
        "numel",
        "is_floating_point",
        "stride",
        "len",
        "ndimension",
        "is_contiguous",
        "storage_offset",
        "data_ptr",
        "element_size",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "zeros_like",
        "ones_like",
        "is_complex",
        "get_device",
        "type",
        "requires_grad_",
        "has_names",
        "register_hook",
        "retain_grad",
        "any",
        "all",
        "isnan",
        "isfinite",
    }
)
"""Functions that ask about a tensor, or make a constant like it."""

GATES = frozenset({"sigmoid", "hardsigmoid", "erf"})
"""Functions whose output, times something, is a gate: of a GELU written out, `(1 + erf(x)) / 2`."""

STRUCTURAL = frozenset(
    {
        "adaptive_max_pool1d",
        "adaptive_max_pool2d",
        "adaptive_max_pool3d",
        "amax",
        "cat",
        "chunk",
        "clone",
        "contiguous",
        "detach",
        "expand",
        "expand_as",
        "flatten",
        "flip",
        "float",
        "double",
        "gather",
        "get",
        "getitem",
        "index_select",
        "max",
        "max_pool1d",
        "max_pool2d",
        "max_pool3d",
        "movedim",
        "narrow",
        "pad",
        "permute",
        "repeat",
        "reshape",
        "roll",
        "select",
        "setitem",
        "split",
        "squeeze",
        "stack",
        "swapaxes",
        "t",
        "tensor_split",
        "to",
        "transpose",
        "type_as",
        "unbind",
        "unflatten",
        "unsqueeze",
        "view",
        "view_as",
    }
)
"""Operations that move values about: autograd's own way back takes relevance along."""


def plain_name(func: Callable[..., Any]) -> tuple[str, bool]:
    """A function's name without what tells its forms apart, and whether it works in place."""
    name = getattr(func, "__name__", str(func))
    in_place = name.endswith("_") and not name.endswith("__")
    augmented = name.startswith("__i") and name[2:].strip("_") in _ALIASES
    plain = name.strip("_")
    return _ALIASES.get(plain, plain), in_place or augmented
