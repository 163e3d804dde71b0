"""How norms, maxima and attention are held at the values that they have on a clip."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils import _pytree as pytree

from temporal_attr._errors import FrameLogitsError
from temporal_attr.models.layers._followed import Followed
from temporal_attr.models.layers._held import (
    Arguments,
    Held,
    Hold,
    Operands,
    Options,
    constant,
    second,
    without_input,
)


def norm(axes: Callable[[Tensor, Any], tuple[int, ...]], centred: bool = True) -> Hold:
    """Layer, group, instance and root-mean-square norms: the standard deviation is held.

    Args:
        axes: Which axes of the input, seen as its groups, are normalized.
        centred: Whether the mean is taken off.
    """

    def hold(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
        bound = _SIGNATURES[func.__name__].bind(*given[0], **given[1])
        bound.apply_defaults()
        call = bound.arguments
        if not call.get("use_input_stats", True):
            return None  # an instance norm with running statistics is affine
        x = call["input"]
        # In an instance norm each channel is a group.
        groups = x.shape[1] if "use_input_stats" in call else call.get("num_groups")

        def grouped(entry: Tensor) -> Tensor:
            return entry if groups is None else entry.unflatten(1, (groups, -1))

        whole = grouped(x.detach())
        over = axes(whole, call)
        size = whole.var(over, correction=0, keepdim=True) if centred else _mean_square(whole, over)
        eps = call["eps"] if call["eps"] is not None else torch.finfo(x.dtype).eps
        scale = (size + eps).rsqrt()
        by_channel = (-1, *(1,) * (x.ndim - 2))
        gain, shift = (
            one if one is None or groups is None else one.reshape(by_channel)
            for one in (call.get("weight"), call.get("bias"))
        )

        def apply(args: Operands, kwargs: Options) -> Tensor:
            share = grouped(args[0] if args else kwargs["input"])
            if centred:
                share = share - share.mean(over, keepdim=True)
            out = (share * scale).reshape(x.shape)
            out = out if gain is None else out * gain
            return out if shift is None else out + shift

        return Held(func.__name__, apply)

    return hold


def _mean_square(x: Tensor, over: tuple[int, ...]) -> Tensor:
    return x.square().mean(over, keepdim=True)


def layer_axes(_x: Tensor, call: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(range(-len(call["normalized_shape"]), 0))


def group_axes(x: Tensor, _call: Any) -> tuple[int, ...]:  # noqa: ANN401
    return tuple(range(2, x.ndim))


def of_length_one(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """`functional.normalize`: the length is held."""
    bound = _SIGNATURES["normalize"].bind(*given[0], **given[1])
    bound.apply_defaults()
    call = bound.arguments
    length = torch.linalg.vector_norm(
        call["input"].detach(), call["p"], call["dim"], keepdim=True
    ).clamp(min=call["eps"])
    return Held(func.__name__, lambda args, _: args[0] / length)


def glu(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """A gated linear unit: the half that is the gate is held."""
    args, kwargs = given
    axis: int = args[1] if len(args) > 1 else kwargs.get("dim", -1)
    x: Tensor = args[0] if args else kwargs["input"]
    gate = x.detach().chunk(2, axis)[1].sigmoid()

    def apply(args: Operands, kwargs: Options) -> Tensor:
        signal: Tensor = (args[0] if args else kwargs["input"]).chunk(2, axis)[0]
        return signal * gate

    return Held(func.__name__, apply)


def log_softmax(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """Scores less the logarithm of the sum of their exponentials, which is held."""
    args, kwargs = given
    x = (args[0] if args else kwargs["input"]).detach()
    total: Tensor = x - func(*args, **kwargs).detach()

    def apply(args: Operands, kwargs: Options) -> Tensor:
        scores: Tensor = args[0] if args else kwargs["input"]
        return scores - total

    return Held(func.__name__, apply)


def moments(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """`var_mean` and `std_mean`: the first is held, and the mean is linear."""
    args, kwargs = given
    size = func(*args, **kwargs)[0].detach()

    def apply(args: Operands, kwargs: Options) -> tuple[Tensor, Tensor]:
        return size.clone(), func(*args, **kwargs)[1]

    return Held(func.__name__, apply)


def max_pool(axes: int) -> Hold:
    """Maxima of windows over the last axes: the entries that win are held."""

    def hold(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
        args, kwargs = given
        options = {**without_input(kwargs), "return_indices": True}
        x = (args[0] if args else kwargs["input"]).detach()
        whole, won = getattr(F, f"{POOLS[func.__name__]}{axes}d")(x, *args[1:], **options)

        def apply(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
            share = (args[0] if args else kwargs["input"]).flatten(-axes)
            taken = share.gather(-1, won.flatten(-axes)).reshape(whole.shape)
            both = func.__name__.endswith("_with_indices") or kwargs.get("return_indices", False)
            return (taken, won) if both else taken

        return Held(func.__name__, apply)

    return hold


def extremum(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """The largest or smallest over an axis, or of two tensors: the entries that win are held."""
    args, kwargs = given
    name = func.__name__
    x = args[0].detach()
    other = args[1] if len(args) > 1 else kwargs.get("other")
    if isinstance(other, Tensor):
        first = x >= other if name in ("max", "maximum", "fmax") else x <= other
        return Held(name, lambda args, given: torch.where(first, args[0], second(args, given)))
    axis = kwargs.get("dim", other)
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    # An empty tuple means all axes to PyTorch.
    over = sorted(one % x.ndim for one in axes) or list(range(x.ndim))
    keep = bool(kwargs.get("keepdim", args[2] if len(args) > 2 else False))

    def flat(entry: Tensor) -> Tensor:
        return entry.movedim(over, list(range(-len(over), 0))).flatten(-len(over))

    best = flat(x).argmax if name in ("max", "amax") else flat(x).argmin
    won = best(dim=-1, keepdim=True)
    named = func(*args, **kwargs) if name in ("max", "min") and axis is not None else None

    def apply(args: Operands, _options: Options) -> Any:  # noqa: ANN401
        taken = flat(args[0]).gather(-1, won).squeeze(-1)
        for place in over if keep else ():
            taken = taken.unsqueeze(place)
        return taken if named is None else type(named)((taken, named[1]))

    return Held(name, apply)


def ordered(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """What is picked by its order, such as the largest few: which entries these are is held."""
    args, kwargs = given
    returned = func(*args, **kwargs)
    if isinstance(returned, Tensor):  # a median of all, without an axis
        return constant(func, given, followed)
    places = {"topk": 2, "kthvalue": 2, "sort": 1, "median": 1}
    place = places[func.__name__]
    axis = kwargs.get("dim", args[place] if len(args) > place else -1)
    won = returned[1]

    def apply(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
        share = args[0] if args else kwargs["input"]
        kept = won if won.ndim == share.ndim else won.unsqueeze(axis)
        return type(returned)((share.gather(axis, kept).reshape(won.shape), won))

    return Held(func.__name__, apply)


def attention(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """Scaled dot-product attention: the weights are held, and the values are read with them."""
    args, kwargs = pytree.tree_map_only(Tensor, Tensor.detach, given)
    named = dict(zip(("query", "key", "value"), args, strict=False)) | kwargs
    value = args[2] if len(args) > 2 else kwargs["value"]
    if not followed.has(given[0][2] if len(args) > 2 else given[1]["value"]):
        return constant(func, given, followed)
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


def multi_head(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """Multi-head attention: the weights are held; projections of values and output stay."""
    bound = _SIGNATURES["multi_head_attention_forward"].bind(*given[0], **given[1])
    bound.apply_defaults()
    call = dict(bound.arguments)
    if not followed.has(call["value"]):
        return constant(func, given, followed)
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


_SIGNATURES = {
    function.__name__: inspect.signature(function)
    for function in (F.layer_norm, F.group_norm, F.instance_norm, F.multi_head_attention_forward)
} | {
    "rms_norm": inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=None)
            for name in ("input", "normalized_shape", "weight", "eps")
        ]
    ),
    "normalize": inspect.signature(F.normalize),
}

POOLS = {
    f"{kind}_pool{axes}d{suffix}": f"{kind}_pool"
    for kind in ("max", "adaptive_max")
    for axes in (1, 2, 3)
    for suffix in ("", "_with_indices")
}
