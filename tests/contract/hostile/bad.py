"""Bad values by kind, and what a parameter's annotation lets it take of them.

A value is never right, right if it does what another value does, or may be taken or refused by
name. The annotation is the contract: what is taken though its annotation does not say so is wrong.
"""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import torch
from jaxtyping import AbstractArray
from torch import Tensor, nn

NEVER, FREE = "never", "free"


@dataclass(frozen=True)
class Bad:
    """A value to try.

    Attributes:
        name: Of the kind of value.
        value: The value.
        right: `NEVER`; `FREE`; or the arguments' value that it must do the same as, in a tuple.
    """

    name: str
    value: object
    right: object


def atoms(hint):
    """What an annotation takes, as a set of words and types."""
    if hint is typing.Any or hint is inspect.Parameter.empty or hint is object:
        return {"any"}
    if hint is None or hint is type(None):
        return {"none"}
    if isinstance(hint, typing.TypeVar):
        return {"any"}
    origin = typing.get_origin(hint)
    if origin is typing.Union or origin is types.UnionType:
        return set().union(*map(atoms, typing.get_args(hint)))
    if origin is typing.Literal:
        return {"literal", *({"none"} if None in typing.get_args(hint) else ())}
    return _plain(hint, origin)


def _plain(hint, origin):
    kind = origin or hint
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return {"tensor" if hint.array_type is Tensor else "array", *_axes(hint)}
    if kind is Callable or kind is typing.Callable:
        return {"callable"}
    if kind in (bool, int, float, str):
        return {kind.__name__}
    if inspect.isclass(kind):
        if issubclass(kind, Path):
            return {"path"}
        if issubclass(kind, str):
            return {"str"}
        if kind is Tensor:
            return {"tensor", "any axes", "float dtype", "int dtype", "bool dtype", "complex"}
        if issubclass(kind, nn.Module):
            return {"module"}
        if issubclass(kind, Mapping) or kind is dict:
            return {"mapping"}
        if issubclass(kind, Collection) or kind in (Sequence, Iterable, list, tuple):
            return {"sequence", *_entries(hint)}
        return {f"of {kind.__name__}"}
    return {"any"}


def _entries(hint):
    """Words for what a sequence may hold: anything, or other sequences, which may be empty."""
    parts = typing.get_args(hint)
    if typing.Any in parts:
        yield "of any"
    if any("sequence" in atoms(part) for part in parts if part is not ...):
        yield "of sequences"


def _axes(hint):
    words = {"float dtype": "float", "int dtype": ("int", "uint"), "bool dtype": "bool"}
    if isinstance(hint.dtypes, list | tuple):
        words = {
            word: start
            for word, start in words.items()
            if any(str(one).startswith(start) for one in hint.dtypes)
        }
    return {*words, *(("any axes",) if hint.index_variadic is not None else ())}


def values_for(name, hint, base, may_be_nan=False):
    """The bad values of a parameter.

    Args:
        name: Of the parameter.
        hint: Its annotation.
        base: The value of the valid call, or its default.
        may_be_nan: Whether its number may be NaN or infinite: what is not defined, in a record.
    """
    takes = atoms(hint)
    found = [*_things(takes, base), *_numbers(name, takes, base, may_be_nan), *_texts(takes)]
    found += _containers(takes, base) + _tensors(takes, base)
    return [one for one in found if one is not None]


def _may(takes, *words):
    return FREE if takes & {"any", *words} else NEVER


def _things(takes, base):
    classes = (nn.Linear, int) if "any" not in takes else ()
    return [
        Bad("None", None, _may(takes, "none")),
        Bad("object()", object(), _may(takes)),
        *(Bad(f"class {kind.__name__}", kind, NEVER) for kind in classes),
        # What a user's own function raises is the user's.
        None if "callable" in takes else Bad("a function", _function, _may(takes)),
        None if "callable" in takes else Bad("a module", _module(), _may(takes, "module")),
        Bad("Ellipsis", ..., _may(takes)),
        Bad("bytes", b"abc", _may(takes)),
    ]


def _function(*_):
    return None


@cache
def _module():
    return nn.Linear(2, 2).eval()


def _numbers(name, takes, base, may_be_nan):
    nan = FREE if "any" in takes or (may_be_nan and "float" in takes) else NEVER
    seed = name == "seed"
    real, whole = takes & {"float", "int", "any"}, takes & {"int", "any"}
    number = FREE if real else NEVER
    values = [
        Bad("True", True, _may(takes, "bool")),
        Bad("False", False, _may(takes, "bool")),
        Bad("NaN", float("nan"), nan),
        Bad("inf", float("inf"), nan),
        Bad("-inf", float("-inf"), nan),
        Bad("complex", 1 + 2j, _may(takes)),
        Bad("2.5", 2.5, _may(takes, "float")),
        Bad("numpy 2.5", np.float32(2.5), _may(takes, "float")),
        Bad("-1", -1, NEVER if seed else number),
        Bad("0", 0, number),
        Bad("1", 1, number),
        Bad("2**32", 2**32, number),
        Bad("2**40", 2**40, number),
        Bad("2**63", 2**63, number),
        Bad("10**400", 10**400, number),
        Bad("-2**40", -(2**40), NEVER if seed else number),
        Bad("-0.5", -0.5, _may(takes, "float")),
        Bad("1/3", Fraction(1, 3), _may(takes, "float")),
        Bad("a decimal", Decimal("0.5"), _may(takes, "float")),
        Bad("1e300", 1e300, _may(takes, "float")),
        Bad("1e-320", 1e-320, _may(takes, "float")),
        Bad("numpy NaN", np.float32("nan"), nan),
        Bad("numpy True", np.bool_(True), _may(takes, "bool")),
    ]
    if isinstance(base, int) and not isinstance(base, bool) and whole:
        values.append(Bad("a numpy integer", np.int64(base), (base,)))
    if isinstance(base, float) and real:
        values.append(Bad("a numpy float", np.float64(base), (base,)))
    return values


def _texts(takes):
    right = _may(takes, "str", "path")
    return [
        Bad("text", "nonsense", right),
        Bad("'False'", "False", right),
        Bad("'3'", "3", right),
        Bad("''", "", right),
        Bad("text of $", "$x_1$ \\frac", right),
        Bad("half a character", "a\udc80", right),
        Bad("NumPy's text", np.str_("a"), right),
        Bad("control characters", "a\x1b[31mb\nc\x00", right),
    ]


def _containers(takes, base):
    sequence = _may(takes, "sequence")
    values = [
        Bad("[]", [], sequence),
        Bad("()", (), sequence),
        Bad("{}", {}, _may(takes, "mapping")),
        Bad("[None]", [None], _may(takes, "of any")),
        Bad("[object()]", [object()], _may(takes, "of any")),
        Bad("[[]]", [[]], _may(takes, "of any", "of sequences")),
        Bad("{1: 2}", {1: 2}, _may(takes, "mapping")),
        Bad("a range", range(3), sequence),
        Bad("[0.5, None]", [0.5, None], _may(takes, "of any", "sequence")),
        Bad("a set", {1}, _may(takes, "sequence")),
        Bad("a generator", (one for one in ()), _may(takes, "sequence")),
    ]
    if base is not None and not isinstance(base, str | list | tuple | dict):
        values.append(Bad("itself in a list", [base], sequence))
    if isinstance(base, tuple) and base:
        values.append(Bad("one fewer", base[:-1], FREE))
        values.append(Bad("one more", base + base[-1:], FREE))
        if isinstance(base[0], int | float):
            values.append(Bad("NaN among them", (float("nan"), *base[1:]), NEVER))
            values.append(Bad("inf among them", (float("inf"), *base[1:]), NEVER))
            values.append(Bad("True among them", (True, *base[1:]), NEVER))
            values.append(Bad("text among them", ("1", *base[1:]), NEVER))
            values.append(Bad("-1 among them", (-1, *base[1:]), FREE))
            kind = np.int64 if isinstance(base[0], int) else np.float64
            values.append(Bad("of numpy", tuple(map(kind, base)), (base,)))
    return values


def _tensors(takes, base):
    any_tensor = _may(takes, "tensor")
    if not isinstance(base, Tensor):
        found = [
            Bad("a tensor", torch.rand(2, 3), any_tensor),
            Bad("an array", np.zeros((2, 3)), _may(takes, "array")),
            Bad("a tensor of one number", torch.tensor(1), any_tensor),
            Bad("an array of one number", np.array(1), _may(takes, "array")),
        ]
        if isinstance(base, np.ndarray):
            found += [
                Bad("an array of objects", np.array([object(), None]), NEVER),
                Bad("an array of text", np.array(["a", "b"]), NEVER),
                Bad("a complex array", base + 1j, NEVER),
                Bad("an empty array", base[:0], FREE),
            ]
        return found
    return _of_tensor(takes, base)


def _of_tensor(takes, whole):
    base = whole.detach()
    is_float = base.is_floating_point()
    axes = FREE if takes & {"any", "any axes"} else NEVER
    floats = _may(takes, "float dtype", "tensor" if "any axes" in takes else "any")
    found = [
        Bad("an array", base.numpy(), _may(takes, "array")),
        Bad("a list", base.tolist(), _may(takes, "sequence")),
        Bad("complex", base.to(torch.complex64), _may(takes, "complex")),
        Bad("meta", base.to("meta"), NEVER),
        Bad("sparse", base.to_sparse(), NEVER),
        Bad(
            "nested",
            torch.nested.nested_tensor(list(base)) if base.ndim else None,
            NEVER,
        ),
        Bad("one axis fewer", base[0] if base.ndim else base, axes if base.ndim else FREE),
        Bad("one axis more", base[None], axes),
        Bad("no element", base[:0] if base.ndim else base, FREE),
        Bad("a scalar", base.flatten()[0], axes),
        Bad("other length", torch.cat([base, base]) if base.ndim else base, FREE),
        Bad("a parameter", nn.Parameter(base) if is_float else base, FREE),
        Bad(
            "a view that is not contiguous",
            whole.mT.contiguous().mT if base.ndim > 1 else whole,
            # A leaf of a graph is no longer the leaf when it is another tensor.
            FREE if whole.requires_grad else (base,),
        ),
    ]
    if not is_float:
        return [
            *found,
            Bad("float dtype", base.float(), floats),
            Bad("int32", base.int(), FREE),
            Bad("int8", base.to(torch.int8), FREE),
            Bad("negative", -1 - base.long(), FREE),
            Bad("large", base.long() + 2**40, FREE),
        ]
    whole = "int dtype" in takes or "any" in takes
    return [
        *found,
        Bad("bool dtype", base > 0, FREE if "bool dtype" in takes or "any" in takes else NEVER),
        Bad("int dtype", base.long(), FREE if whole else NEVER),
        Bad("uint8", (base * 255).to(torch.uint8), FREE if whole else NEVER),
        Bad("quantised", torch.quantize_per_tensor(base.float(), 0.1, 0, torch.quint8), NEVER),
        Bad("float8", base.to(torch.float8_e4m3fn), NEVER),
        Bad("bfloat16", base.bfloat16(), FREE),
        Bad("float64", base.double(), FREE),
        # To look through all pixels costs time: methods and measures do, and say what they allow.
        Bad("NaN", base * float("nan"), FREE),
        Bad("inf", base + float("inf"), FREE),
        Bad("negative", -1 - base, FREE),
        Bad("huge", base * 1e30, FREE),
    ]
