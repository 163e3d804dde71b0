"""What each timestep contributes where something nonlinear follows the last mixing over time.

All that depends on the data after that mixing - attention weights, the standard deviation of a
layer norm, the gate of an activation - is held at the value that it has on the clip. What is left
is affine, so that it can be run on each timestep's share by itself, and the shares add up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import FrameLogitsError
from temporal_attr.models._base import FrameLogits, is_affine

Rows = Float[Tensor, "batch rows feature"]


@dataclass(frozen=True, eq=False)
class FrozenSplit:
    """A vector of a clip, split into what each timestep contributes and a rest of no timestep.

    Attributes:
        rows: `(batch, 1 + steps, feature)`. The first row is the rest alone. Each other row is the
            rest and one timestep's contribution, taken as often as there are timesteps, so that
            their mean is the whole.

    Example:
        >>> split = FrozenSplit.of(torch.tensor([[1.0]]), torch.tensor([[[2.0], [3.0]]]))
        >>> split.rows.flatten().tolist(), split.whole.item()
        ([1.0, 5.0, 7.0], 6.0)
        >>> split.through(nn.ReLU()).whole.item()
        6.0
    """

    rows: Rows

    @classmethod
    def of(
        cls, rest: Float[Tensor, "batch feature"], steps: Float[Tensor, "batch steps feature"]
    ) -> FrozenSplit:
        """The split of `rest` and the sum of `steps`."""
        rest = rest[:, None]
        return cls(torch.cat([rest, rest + steps.shape[1] * steps], 1))

    @property
    def whole(self) -> Float[Tensor, "batch 1 feature"]:
        """The vector itself."""
        return self.rows[:, 1:].mean(1, keepdim=True)

    def plus(self, other: FrozenSplit | Float[Tensor, "batch feature"]) -> FrozenSplit:
        """The sum with another split, or with a vector of no timestep."""
        rows = other.rows if isinstance(other, FrozenSplit) else other[:, None]
        return FrozenSplit(self.rows + rows)

    def through(self, *modules: nn.Module) -> FrozenSplit:
        """What modules make of it in turn: affine ones, norms over features, and activations.

        Raises:
            FrameLogitsError: If a module is none of these.
        """
        split = self
        for module in _flat(modules):
            if is_affine(module):
                split = FrozenSplit(module(split.rows))
            elif type(module) is nn.LayerNorm:
                split = split.normed(module, module.weight)
            elif type(module) is nn.RMSNorm:
                split = split._scaled(module)
            elif _is_activation(module):
                split = split.gated(module)
            else:
                raise FrameLogitsError(
                    "linear layers, layer norms and activations after the last mixing over time",
                    type(module).__name__,
                    "Use a method that needs no frame logits, or a head of such layers.",
                )
        return split

    def normed(self, norm: nn.LayerNorm, gain: Tensor | None) -> FrozenSplit:
        """A layer norm whose standard deviation is that of the whole."""
        variance = self.whole.detach().var(-1, correction=0, keepdim=True)
        rows = (self.rows - self.rows.mean(-1, keepdim=True)) * (variance + norm.eps).rsqrt()
        rows = rows if gain is None else rows * gain
        return FrozenSplit(rows if norm.bias is None else rows + norm.bias)

    def _scaled(self, norm: nn.RMSNorm) -> FrozenSplit:
        whole = self.whole.detach()
        eps = torch.finfo(whole.dtype).eps if norm.eps is None else norm.eps
        rows = self.rows * (whole.square().mean(-1, keepdim=True) + eps).rsqrt()
        return FrozenSplit(rows if norm.weight is None else rows * norm.weight)

    def gated(self, activation: Callable[[Tensor], Tensor]) -> FrozenSplit:
        """An activation as a factor, (a(z) - a(0)) / z of the whole z, and a(0)."""
        whole = self.whole.detach()
        at_zero = activation(torch.zeros_like(whole))
        # Where z is 0, the contributions cancel whatever the factor is.
        gate = torch.where(whole == 0, 0, (activation(whole) - at_zero) / whole)
        return FrozenSplit(self.rows * gate.detach() + at_zero.detach())

    def frame_logits(self) -> FrameLogits:
        """The split of logits, as those of the timesteps."""
        rest, logits = self.rows[:, 0], self.rows[:, 1:]
        steps = logits.shape[1]
        return FrameLogits(logits, logits.new_full((steps,), 1 / steps), rest)


@dataclass(frozen=True)
class TokenTimes:
    """Which timestep each token of a sequence belongs to.

    Attributes:
        steps: Number of timesteps.
        leading: Tokens before all others that belong to none, such as a class token.
        minor: Whether the tokens of one place follow each other, and not those of one timestep.

    Example:
        >>> tokens = torch.tensor([[[1.0], [10.0], [20.0], [30.0], [40.0]]])
        >>> TokenTimes(2, leading=1).split(tokens).rows.flatten().tolist()
        [1.0, 61.0, 141.0]
        >>> TokenTimes(2, leading=1, minor=True).split(tokens).rows.flatten().tolist()
        [1.0, 81.0, 121.0]
    """

    steps: int
    leading: int = 0
    minor: bool = False

    def split(self, tokens: Float[Tensor, "batch token feature"]) -> FrozenSplit:
        """The sum of all tokens, split by their timesteps."""
        timed = tokens[:, self.leading :]
        if self.minor:
            steps = timed.unflatten(1, (-1, self.steps)).sum(1)
        else:
            steps = timed.unflatten(1, (self.steps, -1)).sum(2)
        return FrozenSplit.of(tokens[:, : self.leading].sum(1), steps)


def attention_split(
    query: Float[Tensor, "batch head 1 _d"],
    key: Float[Tensor, "batch head token _d"],
    value: Float[Tensor, "batch head token _e"],
    scale: float,
    times: TokenTimes,
    softmax_dtype: torch.dtype | None = None,
) -> FrozenSplit:
    """What one query reads of the values, heads side by side, at the clip's attention weights.

    Args:
        query: The one whose row of the attention is taken.
        key: Of all tokens.
        value: Likewise.
        scale: Of the scores.
        times: Of the tokens.
        softmax_dtype: What the model's own softmax computes in, if not in the dtype of the scores.
    """
    scores = query.detach() @ key.detach().transpose(-2, -1) * scale
    weights = scores.softmax(-1, dtype=softmax_dtype).to(value.dtype)
    read = weights.transpose(-2, -1) * value
    return times.split(read.transpose(1, 2).flatten(2))


def can_be_split(*modules: nn.Module) -> bool:
    """Whether `FrozenSplit.through` takes these.

    Example:
        >>> can_be_split(nn.Linear(2, 2), nn.ReLU()), can_be_split(nn.Softmax(-1))
        (True, False)
    """
    norms = (nn.LayerNorm, nn.RMSNorm)
    return all(
        is_affine(module) or type(module) in norms or _is_activation(module)
        for module in _flat(modules)
    )


def _flat(modules: tuple[nn.Module, ...]) -> list[nn.Module]:
    flat: list[nn.Module] = []
    for module in modules:
        # torchvision's MLP is a Sequential by another name.
        if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
            flat += _flat(tuple(module))
        else:
            flat.append(module)
    return flat


_ELEMENTWISE = (
    nn.ELU,
    nn.GELU,
    nn.Hardswish,
    nn.LeakyReLU,
    nn.Mish,
    nn.ReLU,
    nn.ReLU6,
    nn.SELU,
    nn.SiLU,
    nn.Sigmoid,
    nn.Softplus,
    nn.Tanh,
)


def _is_activation(module: nn.Module) -> bool:
    """Whether a module takes each number by itself."""
    kind = type(module)
    return kind in _ELEMENTWISE or kind.__module__ == "transformers.activations"
