"""The names of torch functions, the same for all their forms, and what kinds there are."""

from __future__ import annotations

import functools
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
    "clip": "clamp",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
}
CONSTANTS = frozenset(
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
        "requires_grad",
        "full_like",
        "empty_like",
        "rand_like",
        "randn_like",
        "has_names",
        "register_hook",
        "retain_grad",
        "any",
        "all",
        "isnan",
        "isfinite",
        "isinf",
        "argmax",
        "argmin",
        "argsort",
        "bucketize",
        "count_nonzero",
        "eq",
        "equal",
        "allclose",
        "ge",
        "gt",
        "isclose",
        "isposinf",
        "isneginf",
        "le",
        "logical_and",
        "logical_not",
        "logical_or",
        "logical_xor",
        "lt",
        "ne",
        "nonzero",
        "searchsorted",
        "sign",
        "signbit",
    }
)
"""Functions whose result is a constant: they ask about a tensor, or make another like it."""

SCALES = frozenset(
    {
        "linalg_norm",
        "linalg_vector_norm",
        "norm",
        "reciprocal",
        "rsqrt",
        "std",
        "vector_norm",
        "var",
    }
)
"""Functions of norms written out, whose results are held constant: they scale, they do not add."""

PROBABILITIES = frozenset({"log_softmax", "sigmoid", "softmax"})
"""Functions that make probabilities of logits, if they stand at the very end of a model."""

GATES = frozenset({"sigmoid", "hardsigmoid", "erf"})
"""Functions whose output, times something, is a gate: of a GELU written out, `(1 + erf(x)) / 2`."""

AFFINE = frozenset({"add", "div", "mul", "rsub", "sub"})
MONOTONE = AFFINE | {
    "batch_norm",
    "clamp",
    "clamp_max",
    "clamp_min",
    "dropout",
    "hardtanh",
    "leaky_relu",
    "neg",
    "relu",
    "relu6",
}
"""Functions of one data operand that rise or fall with every value of it, in any one place."""

TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
OWN = frozenset({"class_difference"})
"""Functions of this library that the engine meets as they are."""

LAYERS = ("conv1d", "conv2d", "conv3d", *TRANSPOSED, "linear")
"""Functions of an input and a weight."""

FILLING = {
    "fill": 1,
    "index_fill": 3,
    "masked_fill": 2,
    "pad": 3,
    "pad_sequence": 2,
    "tril": None,
    "triu": None,
    "zero": None,
}
"""Structural functions that put a number beside the data, and the place of it in their call."""

PRODUCTS = ("bmm", "einsum", "matmul", "mm")
"""Functions of two operands, one of which may be a weight."""

COMBINING = frozenset(
    {
        "cat",
        "column_stack",
        "copy",
        "dstack",
        "hstack",
        "pad_sequence",
        "setitem",
        "stack",
        "vstack",
        "where",
    }
)
"""Structural functions of several tensors; of the others' arguments only the first is moved."""

STRUCTURAL = frozenset(
    {
        *COMBINING,
        "adaptive_max_pool1d",
        "adaptive_max_pool1d_with_indices",
        "adaptive_max_pool2d",
        "adaptive_max_pool2d_with_indices",
        "adaptive_max_pool3d",
        "adaptive_max_pool3d_with_indices",
        "adjoint",
        "amax",
        "amin",
        "atleast_1d",
        "atleast_2d",
        "atleast_3d",
        "bfloat16",
        "broadcast_to",
        "channel_shuffle",
        "chunk",
        "clone",
        "contiguous",
        "cpu",
        "cuda",
        "cummax",
        "cummin",
        "detach",
        "diagonal",
        "double",
        "dsplit",
        "expand",
        "expand_as",
        "fill",
        "flatten",
        "flip",
        "fliplr",
        "flipud",
        "float",
        "gather",
        "get",
        "getitem",
        "half",
        "hsplit",
        "index_fill",
        "index_select",
        "kthvalue",
        "masked_fill",
        "masked_select",
        "max",
        "max_pool1d",
        "max_pool1d_with_indices",
        "max_pool2d",
        "max_pool2d_with_indices",
        "max_pool3d",
        "max_pool3d_with_indices",
        "max_unpool1d",
        "max_unpool2d",
        "max_unpool3d",
        "min",
        "moveaxis",
        "movedim",
        "msort",
        "narrow",
        "pack_padded_sequence",
        "pad",
        "pad_packed_sequence",
        "permute",
        "pixel_shuffle",
        "pixel_unshuffle",
        "positive",
        "ravel",
        "repeat",
        "repeat_interleave",
        "reshape",
        "reshape_as",
        "roll",
        "rot90",
        "select",
        "sort",
        "split",
        "split_with_sizes",
        "squeeze",
        "swapaxes",
        "swapdims",
        "t",
        "take",
        "take_along_dim",
        "tensor_split",
        "tile",
        "to",
        "topk",
        "transpose",
        "tril",
        "triu",
        "type",
        "type_as",
        "unbind",
        "unflatten",
        "unfold",
        "unsafe_chunk",
        "unsafe_split",
        "unsqueeze",
        "view",
        "view_as",
        "vsplit",
        "zero",
    }
)
"""Operations that move values about: their vector-Jacobian products move relevance alike.

What they put beside the data (a border, a constant part) takes the relevance that goes there.
"""

_NUMBERS = frozenset({"__bool__", "__complex__", "__float__", "__index__", "__int__"})
"""Forms of `item`, whose names would be those of conversions."""


def plain_name(func: Callable[..., Any] | str) -> tuple[str, bool]:
    """A function's name without what tells its forms apart, and whether it works in place."""
    return _plain(getattr(func, "__name__", None) or str(func))


@functools.cache
def _plain(name: str) -> tuple[str, bool]:
    if name in _NUMBERS:
        return "item", False
    in_place = name.endswith("_") and not name.endswith("__")
    augmented = name.startswith("__i") and name[2:].strip("_") in _ALIASES
    plain = name.strip("_")
    return _ALIASES.get(plain, plain), in_place or augmented
