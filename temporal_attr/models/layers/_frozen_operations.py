"""How each operation that is not linear is held at the values that it has on a clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from temporal_attr._errors import FrameLogitsError
from temporal_attr.models.layers._followed import Followed
from temporal_attr.models.layers._frozen_layers import (
    POOLS,
    attention,
    extremum,
    glu,
    group_axes,
    layer_axes,
    log_softmax,
    max_pool,
    moments,
    multi_head,
    norm,
    of_length_one,
    ordered,
)
from temporal_attr.models.layers._held import (
    Arguments,
    Held,
    Hold,
    Operands,
    Options,
    constant,
    without_input,
)


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
    at_zero = func(torch.zeros_like(whole), *rest, **without_input(kwargs)).detach().clone()
    value = func(whole.clone(), *rest, **without_input(kwargs)).detach()
    # Where z is 0, the shares cancel whatever the factor is.
    factor = torch.where(whole == 0, 0, (value - at_zero) / whole)

    def apply(args: Operands, kwargs: Options) -> Tensor:
        share = args[0] if args else kwargs["input"]
        out: Tensor = share * factor + at_zero
        return share.copy_(out) if in_place else out

    return Held(name, apply, "gate" if gate else "share")


def _gate(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    return _activation(func, given, followed, gate=True)


def _product(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """A product of several factors: each in turn, the others held, an equal part of each.

    A factor that is a gate is held, unless all are. What is added to a product is no factor.
    """
    leaves, structure = pytree.tree_flatten(given)
    added = _added(func.__name__, given)
    places = [i for i, leaf in enumerate(leaves) if followed.has(leaf) and i != added]
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


def _added(name: str, given: Arguments) -> int | None:
    """Which of the operands of a product is added to it, such as a bias."""
    args, kwargs = given
    keys = [*(None for _ in args), *kwargs]
    if name.startswith(("add", "baddbmm")):
        return keys.index("input") if "input" in keys else 0
    place = {"linear": 2, "bilinear": 3}.get(name, 2 if name.startswith("conv") else None)
    if place is None:
        return None
    return keys.index("bias") if "bias" in keys else place


def _power(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """A power is a factor of its base; one that is infinite at zero says how large."""
    args, kwargs = given
    exponent = args[1] if len(args) > 1 else kwargs["exponent"]
    positive = not isinstance(exponent, Tensor) and exponent > 0
    return (_activation if positive else constant)(func, given, followed)


def _quotient(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    """The denominator is held."""
    args, kwargs = given
    reversed_ = func.__name__ in ("__rtruediv__", "__rdiv__", "reciprocal")
    if reversed_:
        return constant(func, given, followed)
    below = args[1] if len(args) > 1 else kwargs["other"]
    if not followed.has(below):
        return None
    if not followed.has(args[0]):
        return constant(func, given, followed)
    whole = below.detach().clone()

    def apply(args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
        if len(args) > 1:
            return func(args[0], whole, *args[2:], **kwargs)
        return func(args[0], **{**kwargs, "other": whole})

    return Held(func.__name__, apply)


def _refused(func: Callable[..., Any], given: Arguments, followed: Followed) -> Held | None:
    raise FrameLogitsError(
        "layers after the named one whose factors can be held at the clip's values",
        f"{func.__name__}, whose outputs depend on each other",
        "Name the layer that returns its outputs, or wrap the model as FrameRecurrent.",
    )


def values_read(func: Callable[..., Any], args: Operands, kwargs: Options) -> Any:  # noqa: ANN401
    """Those of a function's arguments whose values it reads, and not their shape or precision."""
    name = getattr(func, "__name__", "")
    if name.endswith("_like") or name.startswith("new_"):
        return ()
    return (
        args[:1]
        if name in ("to", "type_as", "view_as", "expand_as", "reshape_as")
        else (
            args,
            kwargs,
        )
    )


def mixes(func: Callable[..., Any]) -> bool:
    """Whether a linear function gives weighted sums, which are no longer gates where gates were."""
    name = getattr(func, "__name__", "")
    return hold_of(func) is _product and not name.strip("_").removeprefix("r").startswith("mul")


def _by_name() -> dict[str, Hold]:
    kinds: dict[Hold, str] = {
        _activation: "relu relu6 elu selu celu gelu silu mish hardswish hardtanh leaky_relu prelu "
        "rrelu softplus softsign tanh tanhshrink hardshrink softshrink logsigmoid threshold clamp "
        "clip clamp_min clamp_max abs __abs__ absolute erf special_erf sin cos sign square expm1 "
        "log1p atan log_sigmoid",
        _gate: "sigmoid special_expit hardsigmoid",
        constant: "softmax softmin logsumexp exp exp2 __rpow__ log sqrt rsqrt std var norm "
        "linalg_norm linalg_vector_norm cumprod prod argmax argmin quantile one_hot round floor "
        "ceil trunc gt lt ge le eq ne __eq__ __ne__ greater less greater_equal less_equal "
        "not_equal isnan isfinite",
        glu: "glu",
        log_softmax: "log_softmax",
        moments: "var_mean std_mean",
        ordered: "topk kthvalue sort median",
        _product: "mul __mul__ __rmul__ multiply matmul __matmul__ __rmatmul__ mm bmm einsum dot "
        "outer baddbmm addmm addbmm addcmul linear bilinear conv1d conv2d conv3d",
        _power: "pow __pow__ float_power",
        _quotient: "div __truediv__ __rtruediv__ true_divide divide reciprocal",
        norm(layer_axes): "layer_norm",
        norm(layer_axes, centred=False): "rms_norm",
        norm(group_axes): "group_norm instance_norm",
        of_length_one: "normalize",
        extremum: "max min amax amin maximum minimum fmax fmin",
        attention: "scaled_dot_product_attention",
        multi_head: "multi_head_attention_forward",
        _refused: "lstm gru rnn_tanh rnn_relu lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell "
        "scatter_reduce cummax cummin logcumsumexp",
    }
    table = {name: hold for hold, names in kinds.items() for name in names.split()}
    pools = {name: max_pool(int(name.partition("pool")[2][0])) for name in POOLS}
    return table | pools


_HOLDS = _by_name()
