"""How each operation that is not linear is held at the values that it has on a clip."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from temporal_attr._errors import FrameLogitsError
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


def hold_of(func: Callable[..., Any]) -> Hold | None:
    """How a function is held that may not be linear; None for all others."""
    name = getattr(func, "__name__", "")
    # What works in place has the name of what does not, and one underscore more.
    return _HOLDS.get(name) or _HOLDS.get(name.removesuffix("_"))


def _activation(
    func: Callable[..., Any], given: Arguments, followed: Followed, gate: bool = False
) -> Held | None:
    """A factor, (a(z) - a(0)) / z of the clip's z, and a(0)."""
    args, kwargs = given
    name = func.__name__
    in_place = kwargs.get("inplace", False) or (name.endswith("_") and not name.startswith("__"))
    z = args[0] if args else kwargs["input"]
    rest = args[1:]
    whole = z.detach().clone()
    at_zero = func(torch.zeros_like(whole), *rest, **_without_input(kwargs)).detach().clone()
    value = func(whole.clone(), *rest, **_without_input(kwargs)).detach()
    # Where z is 0, the shares cancel whatever the factor is.
    factor = torch.where(whole == 0, 0, (value - at_zero) / whole)

    def apply(args: Operands, kwargs: Options) -> Tensor:
        share = args[0] if args else kwargs["input"]
        out: Tensor = share * factor + at_zero
        return share.copy_(out) if in_place else out

    return Held(name, apply, "gate" if gate else "share")


def _gate(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    return _activation(func, given, followed, gate=True)


def _constant(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """What says how large or how much: attention weights, a standard deviation."""
    args, kwargs = pytree.tree_map_only(Tensor, lambda entry: entry.detach().clone(), given)
    whole = pytree.tree_map_only(Tensor, Tensor.detach, func(*args, **kwargs))
    return Held(func.__name__, lambda _args, _kwargs: whole, "constant")


def _product(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """A product of several factors: each in turn, the others held, an equal part of each.

    A factor that is a gate is held, unless all are.
    """
    leaves, structure = pytree.tree_flatten(given)
    places = [place for place, leaf in enumerate(leaves) if followed.has(leaf)]
    signals = [place for place in places if not followed.is_gate(leaves[place])] or places
    if len(places) < 2:
        return None
    wholes = {place: leaves[place].detach().clone() for place in places}
    in_place = func.__name__.endswith("_") and not func.__name__.startswith("__")
    # Into a tensor that is written to, only copies can be put in turn.
    plain = getattr(torch.Tensor, func.__name__.rstrip("_")) if in_place else func

    def apply(args: Operands, kwargs: Options) -> Tensor:
        shares = pytree.tree_leaves((args, kwargs))
        total: Any = 0
        for signal in signals:
            mixed = [wholes.get(place, share) for place, share in enumerate(shares)]
            mixed[signal] = shares[signal]
            own_args, own_kwargs = pytree.tree_unflatten(mixed, structure)
            total = total + plain(*own_args, **own_kwargs) / len(signals)
        result: Tensor = args[0].copy_(total) if in_place else total
        return result

    return Held(func.__name__, apply)


def _power(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """A power is a factor of its base; one that is infinite at zero says how large."""
    args, kwargs = given
    exponent = args[1] if len(args) > 1 else kwargs["exponent"]
    positive = not isinstance(exponent, Tensor) and exponent > 0
    return (_activation if positive else _constant)(func, given, followed)


def _quotient(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """The denominator is held."""
    args, kwargs = given
    reversed_ = func.__name__ in ("__rtruediv__", "__rdiv__", "reciprocal")
    if reversed_:
        return _constant(func, given, followed)
    below = args[1] if len(args) > 1 else kwargs["other"]
    if not followed.has(below):
        return None
    if not followed.has(args[0]):
        return _constant(func, given, followed)
    whole = below.detach().clone()

    def apply(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
        if len(args) > 1:
            return func(args[0], whole, *args[2:], **kwargs)
        return func(args[0], **{**kwargs, "other": whole})

    return Held(func.__name__, apply)


def _norm(axes: Callable[[Tensor, Any], tuple[int, ...]], centred: bool = True) -> Hold:
    """Layer, group and root-mean-square norms: the standard deviation is held.

    Args:
        axes: Which axes of the input, seen as its groups, are normalized.
        centred: Whether the mean is taken off.
    """

    def hold(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
        bound = _SIGNATURES[func.__name__].bind(*given[0], **given[1])
        bound.apply_defaults()
        call = bound.arguments
        x, groups = call["input"], call.get("num_groups")

        def grouped(entry: Tensor) -> Tensor:
            return entry if groups is None else entry.unflatten(1, (groups, -1))

        whole = grouped(x.detach())
        over = axes(whole, call)
        if centred:
            size = whole.var(over, correction=0, keepdim=True)
        else:
            size = whole.square().mean(over, keepdim=True)
        eps = call["eps"] if call["eps"] is not None else torch.finfo(x.dtype).eps
        scale = (size + eps).rsqrt()
        gain, shift = call.get("weight"), call.get("bias")
        shape = (-1, *(1,) * (x.ndim - 2)) if groups is not None else None

        def apply(args: Operands, kwargs: Options) -> Tensor:
            share = grouped(args[0] if args else kwargs["input"])
            if centred:
                share = share - share.mean(over, keepdim=True)
            out = (share * scale).reshape(x.shape)
            if gain is not None:
                out = out * (gain if shape is None else gain.reshape(shape))
            if shift is not None:
                out = out + (shift if shape is None else shift.reshape(shape))
            return out

        return Held(func.__name__, apply)

    return hold


def _layer_axes(_x: Tensor, call: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(range(-len(call["normalized_shape"]), 0))


def _group_axes(x: Tensor, _call: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(range(2, x.ndim))


def _of_length_one(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """`functional.normalize`: the length is held."""
    bound = _SIGNATURES["normalize"].bind(*given[0], **given[1])
    bound.apply_defaults()
    call = bound.arguments
    length = torch.linalg.vector_norm(
        call["input"].detach(), call["p"], call["dim"], keepdim=True
    ).clamp(min=call["eps"])
    return Held(func.__name__, lambda args, _: args[0] / length)


def _max_pool(axes: int) -> Hold:
    """Maxima of windows over the last axes: the entries that win are held."""

    def hold(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
        args, kwargs = given
        options = {**_without_input(kwargs), "return_indices": True}
        x = (args[0] if args else kwargs["input"]).detach()
        whole, won = getattr(F, f"{_POOLS[func.__name__]}{axes}d")(x, *args[1:], **options)

        def apply(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
            share = (args[0] if args else kwargs["input"]).flatten(-axes)
            taken = share.gather(-1, won.flatten(-axes)).reshape(whole.shape)
            both = func.__name__.endswith("_with_indices") or kwargs.get("return_indices", False)
            return (taken, won) if both else taken

        return Held(func.__name__, apply)

    return hold


def _extremum(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """The largest or smallest over an axis, or of two tensors: the entries that win are held."""
    args, kwargs = given
    name = func.__name__
    x = args[0].detach()
    other = args[1] if len(args) > 1 else kwargs.get("other")
    if isinstance(other, Tensor):
        first = x >= other if name in ("max", "maximum", "fmax") else x <= other
        return Held(name, lambda args, given: torch.where(first, args[0], _second(args, given)))
    axis = kwargs.get("dim", other)
    best = x.argmax if name in ("max", "amax") else x.argmin
    if axis is None or (isinstance(axis, (tuple, list)) and len(axis) != 1):
        raise FrameLogitsError(
            f"{name} over one axis in what follows the layer",
            "over several, whose winners cannot be held",
            "Name a later layer.",
        )
    axis = axis if isinstance(axis, int) else axis[0]
    keep = bool(kwargs.get("keepdim", args[2] if len(args) > 2 else False))
    won = best(dim=axis, keepdim=True)
    named = func(*args, **kwargs) if name in ("max", "min") else None

    def apply(args: Operands, _options: Options) -> Any:  # noqa: ANN401
        taken = args[0].gather(axis, won)
        taken = taken if keep else taken.squeeze(axis)
        return taken if named is None else type(named)((taken, named[1]))

    return Held(name, apply)


def _attention(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """Scaled dot-product attention: the weights are held, and the values are read with them."""
    args, kwargs = pytree.tree_map_only(Tensor, Tensor.detach, given)
    named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
    value = args[2] if len(args) > 2 else kwargs["value"]
    if not followed.has(given[0][2] if len(args) > 2 else given[1]["value"]):
        return _constant(func, given, followed)
    keys = value.shape[-2]
    # What attention reads of values that are one-hot are its weights.
    one_hot = torch.eye(keys, dtype=value.dtype, device=value.device).expand(
        *value.shape[:-2], keys, keys
    )
    named["value"] = one_hot
    rest = args[3:]
    weights = func(named.pop("query"), named.pop("key"), named.pop("value"), *rest, **named)
    groups = weights.shape[-3] // value.shape[-3] if value.ndim > 2 else 1

    def apply(args: Operands, kwargs: Options) -> Tensor:
        share = args[2] if len(args) > 2 else kwargs["value"]
        read: Tensor = weights @ (share if groups == 1 else share.repeat_interleave(groups, -3))
        return read

    return Held(func.__name__, apply)


def _multi_head(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """Multi-head attention: the weights are held; projections of values and output stay."""
    bound = _SIGNATURES["multi_head_attention_forward"].bind(*given[0], **given[1])
    bound.apply_defaults()
    call = dict(bound.arguments)
    if not followed.has(call["value"]):
        return _constant(func, given, followed)
    if call["static_v"] is not None or call["bias_v"] is not None or call["add_zero_attn"]:
        raise FrameLogitsError(
            "attention to the tokens themselves in what follows the layer",
            "multi-head attention with added or static keys and values",
            "Name a later layer.",
        )
    shown = {**call, "need_weights": True, "average_attn_weights": False}
    weights = pytree.tree_map_only(Tensor, Tensor.detach, func(**shown))[1]
    returned = None
    if call["need_weights"]:
        returned = weights.mean(-3) if call["average_attn_weights"] else weights
    size = call["embed_dim_to_check"]
    separate = call["use_separate_proj_weight"]
    matrix = call["v_proj_weight"] if separate else call["in_proj_weight"][2 * size :]
    bias = None if call["in_proj_bias"] is None else call["in_proj_bias"][2 * size :]

    def apply(args: Operands, kwargs: Options) -> tuple[Tensor, Tensor | None]:
        values = F.linear(args[2] if len(args) > 2 else kwargs["value"], matrix, bias)
        by_head = values.unflatten(-1, (call["num_heads"], -1)).movedim(0, -2)
        read = (weights @ by_head).movedim(-2, 0).flatten(-2)
        return F.linear(read, call["out_proj_weight"], call["out_proj_bias"]), returned

    return Held(func.__name__, apply)


def _refused(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    raise FrameLogitsError(
        "layers after the named one whose factors can be held at the clip's values",
        f"{func.__name__}, whose outputs depend on each other",
        "Name the layer that returns its outputs, or wrap the model as FrameRecurrent.",
    )


def _second(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
    return args[1] if len(args) > 1 else kwargs["other"]


def _without_input(kwargs: Options) -> Options:
    return {name: value for name, value in kwargs.items() if name not in ("input", "inplace")}


_SIGNATURES = {
    function.__name__: inspect.signature(function)
    for function in (F.layer_norm, F.group_norm, F.multi_head_attention_forward)
} | {
    "rms_norm": inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
            for name in ("input", "normalized_shape", "weight", "eps")
        ]
    ),
    "normalize": inspect.signature(F.normalize),
}

_POOLS = {
    f"{kind}_pool{axes}d{suffix}": f"{kind}_pool"
    for kind in ("max", "adaptive_max")
    for axes in (1, 2, 3)
    for suffix in ("", "_with_indices")
}


def _by_name() -> dict[str, Hold]:
    kinds: dict[Hold, str] = {
        _activation: "relu relu6 elu selu celu gelu silu mish hardswish hardtanh leaky_relu prelu "
        "rrelu softplus softsign tanh tanhshrink hardshrink softshrink logsigmoid threshold clamp "
        "clip clamp_min clamp_max abs __abs__ absolute erf sin cos sign square expm1 log1p atan",
        _gate: "sigmoid hardsigmoid",
        _constant: "softmax softmin log_softmax logsumexp exp log sqrt rsqrt std var norm "
        "vector_norm cumprod prod argmax argmin topk sort median quantile kthvalue one_hot",
        _product: "mul __mul__ __rmul__ multiply matmul __matmul__ __rmatmul__ mm bmm einsum dot "
        "outer baddbmm addmm addbmm addcmul linear bilinear conv1d conv2d conv3d",
        _power: "pow __pow__ float_power",
        _quotient: "div __truediv__ __rtruediv__ true_divide divide reciprocal",
        _norm(_layer_axes): "layer_norm",
        _norm(_layer_axes, centred=False): "rms_norm",
        _norm(_group_axes): "group_norm",
        _of_length_one: "normalize",
        _extremum: "max min amax amin maximum minimum fmax fmin",
        _attention: "scaled_dot_product_attention",
        _multi_head: "multi_head_attention_forward",
        _refused: "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell "
        "instance_norm scatter_reduce cummax cummin logcumsumexp",
    }
    table = {name: hold for hold, names in kinds.items() for name in names.split()}
    pools = {name: _max_pool(int(name.partition("pool")[2][0])) for name in _POOLS}
    return table | pools


_HOLDS = _by_name()
