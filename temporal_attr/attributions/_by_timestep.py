"""Targets that name a timestep: a call of any method is one of a model of that timestep."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

import torch
from captum.attr import Attribution
from torch import Tensor

from temporal_attr._errors import TargetError
from temporal_attr._targets import timesteps_of
from temporal_attr.attributions._method import VideoMethod
from temporal_attr.models import at_timestep

F = TypeVar("F", bound=Callable[..., Any])


def by_timestep(call: F) -> F:
    """A method's call that also takes targets `(timestep, class)`.

    The clips of each timestep are explained by the method itself, of a model whose outputs are the
    logits of that timestep (`temporal_attr.models.at_timestep`). Tensors of several timesteps are
    put together; a result is of one timestep.

    Args:
        call: Of a method, with `inputs` and `target` first.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> clips = torch.rand(2, 5, 3, 16, 16)
        >>> found = TemporalGradient(model).attribute(clips, target=[(0, 1), (2, 1)])
        >>> found.flatten(2).any(2).int().tolist()  # a timestep reads no frame after it
        [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    """

    @wraps(call)
    def called(
        self: VideoMethod,
        inputs: Any,  # noqa: ANN401
        target: Any = None,  # noqa: ANN401
        *rest: Any,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        batch = _batch_of(inputs)
        pairs = timesteps_of(target, batch)
        if pairs is None:
            return call(self, inputs, target, *rest, **options)
        times = list(dict.fromkeys(time for time, _ in pairs))
        if len(times) > 1 and call.__name__ != "attribute":
            raise TargetError(
                f"one timestep for all clips of {call.__name__}()",
                ", ".join(map(str, times)),
                "Explain the clips of each timestep by themselves; attribute() takes several.",
            )
        parts, places = [], []
        for time in times:
            at = [place for place, (own, _) in enumerate(pairs) if own == time]
            method = with_model(self, at_timestep(self._model_with_timesteps(), time))
            kinds = [pairs[place][1] for place in at]
            given = inputs if len(times) == 1 else _taken(inputs, at)
            parts.append(call(method, given, kinds, *rest, **options))
            places.append(at)
        return parts[0] if len(times) == 1 else _joined(parts, places, batch)

    return called  # type: ignore[return-value]


def with_model(method: Attribution, model: Any) -> Any:  # noqa: ANN401 - a method of the same kind
    """A copy of a method, of this library or another, that explains another model.

    Example:
        >>> from captum.attr import NoiseTunnel, Saliency
        >>> noisy = NoiseTunnel(Saliency(torch.sum))
        >>> with_model(noisy, torch.mean).attribution_method.forward_func is torch.mean
        True
        >>> noisy.attribution_method.forward_func is torch.sum
        True
    """
    own = method.forward_func
    twin = copy.copy(method)
    for name, value in vars(method).items():
        if value is own:
            setattr(twin, name, model)
        elif isinstance(value, Attribution):
            setattr(twin, name, with_model(value, model))
    return twin


def _batch_of(inputs: Any) -> int:  # noqa: ANN401
    """How many clips there are; 1 of what is no clip, which the call itself refuses."""
    first = inputs[0] if isinstance(inputs, tuple) and inputs else inputs
    return len(first) if isinstance(first, Tensor) and first.ndim else 1


def _taken(inputs: Any, at: Sequence[int]) -> Any:  # noqa: ANN401
    """Those of the clips, in a tuple if they are in one."""
    if isinstance(inputs, tuple):
        return tuple(clip[list(at)] for clip in inputs)
    return inputs[list(at)]


def _joined(parts: Sequence[Any], places: Sequence[Sequence[int]], batch: int) -> Any:  # noqa: ANN401
    """Tensors of some of the clips each, as those of the batch; tuples entry by entry."""
    if isinstance(parts[0], tuple):
        return tuple(_joined(entries, places, batch) for entries in zip(*parts, strict=True))
    order = torch.tensor([place for at in places for place in at], device=parts[0].device)
    return torch.cat(list(parts))[order.argsort()]
