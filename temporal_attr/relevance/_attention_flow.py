"""How much of an output's mass each pixel holds, if attention alone decides where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from temporal_attr.relevance._attention_refusals import (
    another_pass,
    no_attention,
    parallel_branches,
    require_rows,
    unmixed,
    used_otherwise,
)
from temporal_attr.relevance._calls import Call, Handled, NoRuleError
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._functions import LAYERS, PRODUCTS
from temporal_attr.relevance._layers import weighted
from temporal_attr.relevance._maps import recorded
from temporal_attr.relevance._operations import passed, product
from temporal_attr.relevance._products import contracted, with_operands
from temporal_attr.relevance._refusals import module_path
from temporal_attr.relevance._rules import Flat

Sums: TypeAlias = Literal["half", "whole", "skip"]
"""What each term of a sum gets where one of them comes through attention and the other past it.

Half of the mass, all of it, or all for the one that comes past: with "skip" nothing goes through
attention, also where it has no skip connection.
"""


@dataclass(frozen=True)
class AttentionCall:
    """Attention weights, and the values that they were multiplied with.

    Attributes:
        weights: As the model computed them, after softmax and what follows it.
        values: The values, a tensor of the graph.
        product: From weights and values to what attention puts out.
        module: The submodule in which this was.
    """

    weights: Float[Tensor, "*weights"]
    values: Float[Tensor, "*values"]
    product: Callable[[Tensor, Tensor], Tensor]
    module: str


class AttentionFlow:
    """Rules by which mass flows from an output to the clip, and moves by attention only.

    Attention gives the mass of a query to the values by its weights. All else gives it in equal
    parts to what it reads: a linear layer to the features of its token, a convolution or pooling to
    the places under it, and heads so get equal parts. A norm or an activation passes it on. A sum
    of a skip connection and attention gives each a half, or what `sums` says; any other sum a half
    each. What a constant beside the data gets, such as a class token, leaves the clip.

    A pass that is traced by `composite` fills `calls`. A flow is for one pass.

    Args:
        sums: See `Sums`.
        weights: In place of the weights of the model, for each call in the order of the pass.
        recorded_weights: What the model's own weights must be, likewise; a pass that computes
            others is not the one that `weights` were made for.
        model: Whose submodules `calls` name.

    Example:
        One head over two tokens without a skip connection: half of the first token's mass is from
        each.

        >>> from temporal_attr.relevance import trace
        >>> flow = AttentionFlow()
        >>> run = trace(
        ...     lambda x: (x @ x.mT * 0).softmax(-1) @ x, torch.rand(1, 2, 4), None, flow.composite
        ... )
        >>> first = torch.tensor([[[1.0], [0.0]]]).expand(1, 2, 4)
        >>> run.relevance(first).sum(-1)
        tensor([[2., 2.]])
        >>> len(flow.calls)
        1
    """

    def __init__(
        self,
        sums: Sums = "half",
        weights: Sequence[Tensor] | None = None,
        recorded_weights: Sequence[Tensor] | None = None,
        model: Any = None,  # noqa: ANN401
    ) -> None:
        self.calls: list[AttentionCall] = []
        self._sums, self._weights, self._expected = sums, weights, recorded_weights
        self._model = model
        # Which calls of attention each node of the graph comes through, one bit each.
        self._through: dict[Any, int] = {}
        self._terms: dict[str, tuple[int, int]] = {}
        even = Flat()
        self.composite = Composite(
            convolution=even,
            linear=even,
            pooling=even,
            attention_rule=even,
            input=None,
            handlers={
                **dict.fromkeys(LAYERS, self._layer),
                **dict.fromkeys(PRODUCTS, self._product),
                **dict.fromkeys(("add", "sub", "rsub"), self._sum),
                "mul": self._scaled,
                **{f"max_pool{n}d": self._pooled for n in (1, 2, 3)},
                **{f"adaptive_max_pool{n}d": self._pooled for n in (1, 2, 3)},
            },
        )

    def require_attention(self) -> None:
        """Raise unless the traced pass had attention.

        Raises:
            ModelError: If no attention weights were multiplied with values, or fewer than those
                that are to stand in their place.
        """
        if not self.calls:
            raise no_attention()
        if self._weights is not None and len(self._weights) != len(self.calls):
            raise another_pass(f"{len(self._weights)} and {len(self.calls)} calls of attention")

    def _layer(self, call: Call, composite: Composite) -> Handled:
        if _weights_among(call):
            raise used_otherwise(call.name, self._model)
        return weighted(call, composite)

    def _scaled(self, call: Call, composite: Composite) -> Handled:
        if _weights_among(call):
            raise used_otherwise("an elementwise product", self._model)
        return product(call, composite)

    def _product(self, call: Call, composite: Composite) -> Handled:
        weights = _weights_among(call)
        if weights:
            return self._attended(call, weights[0])
        tensors = [entry for entry in call.args if call.is_data(entry)]
        if len(tensors) == 2 and len(call.gates) != 1:
            # Of queries and keys, whose mass is zero: attention weights are held constant.
            name, model = call.name, self._model
            return Handled(call.run(), tuple(tensors), lambda mass: unmixed(name, model))
        return contracted(call, composite)

    def _attended(self, call: Call, weights: Tensor) -> Handled:
        places = [at for at, entry in enumerate(call.args) if isinstance(entry, Tensor)]
        if len(places) != 2 or len(call.data) != 1:
            raise NoRuleError(call.name, "of attention weights and other than one operand")
        at_weights = next(at for at in places if call.args[at] is weights)
        (at_values,) = (at for at in places if at != at_weights)
        mixed = with_operands(call, at_weights, at_values)
        values, number = call.args[at_values], len(self.calls)
        weights = weights.detach().clone()
        output = call.run()
        module = module_path(self._model)
        require_rows(mixed(weights, torch.ones_like(values).detach()), module)
        self.calls.append(AttentionCall(weights, values, mixed, module))
        shares = self._shares_of(number, weights)
        like = torch.zeros((), dtype=values.dtype, device=values.device).expand(values.shape)
        _, transposed = recorded(lambda x, _: mixed(shares, x))(like, None)
        self._terms[f"attention {number}"] = (1 << number, 0)
        if self._sums == "skip":
            return Handled(
                output, (values,), lambda mass: (like.clone(),), rule=f"attention {number}"
            )
        return Handled(
            output, (values,), lambda mass: (transposed(mass),), rule=f"attention {number}"
        )

    def _shares_of(self, number: int, weights: Tensor) -> Tensor:
        """What moves mass in a call: the model's weights, or what stands in their place."""
        if self._weights is None or self._expected is None:
            return weights
        if number >= len(self._weights):
            raise another_pass(f"more than {len(self._weights)} calls of attention")
        # Weights lie between 0 and 1; in half precision not many digits are left to differ in.
        expected, room = self._expected[number], min(1e3 * torch.finfo(weights.dtype).eps, 0.02)
        same = expected.shape == weights.shape and torch.allclose(expected, weights, room, room)
        if not same:
            raise another_pass(f"other weights in call {number} of attention")
        return self._weights[number]

    def _sum(self, call: Call, composite: Composite) -> Handled:
        terms = (call.argument(0, "input"), call.argument(1, "other"))
        if not all(call.is_data(term) for term in terms):
            return passed(call, composite)
        first, second = (self._through_of(term.grad_fn) for term in terms)
        self._require_one_branch(terms, first, second)
        shares, shapes = _shares(first, second, self._sums), [term.shape for term in terms]

        def split(mass: Tensor) -> list[Tensor | None]:
            return [
                (mass * share).sum_to_size(shape) if share else None
                for share, shape in zip(shares, shapes, strict=True)
            ]

        rule = f"sum {len(self._terms)}"
        self._terms[rule] = (first, second)
        return Handled(call.run(), terms, split, rule=rule)

    def _pooled(self, call: Call, composite: Composite) -> Handled:
        """Maximum pooling, whose mass goes to all places under it and not to the largest."""
        x, output = call.argument(0, "input"), call.run()
        means, transposed = recorded(_means_of(call))(torch.zeros_like(x), None)
        if not isinstance(output, Tensor) or output.shape != means.shape:
            raise NoRuleError(call.name, "with indices, or of such a shape")
        return Handled(output, (x,), lambda mass: (transposed(mass),), rule="even")

    def _through_of(self, node: Any) -> int:  # noqa: ANN401
        """The calls of attention that a node of the graph comes through."""
        known, waiting = self._through, [] if node is None else [node]
        while waiting:
            top = waiting[-1]
            parents = [parent for parent, _ in top.next_functions if parent is not None]
            missing = [parent for parent in parents if parent not in known]
            if top not in known and missing:
                waiting += missing
                continue
            waiting.pop()
            if top in known:
                continue
            rule = getattr(top, "rule", "")
            own = self._terms[rule][0] if rule.startswith("attention ") else 0
            for parent in parents:
                own |= known[parent]
            known[top] = own
        return 0 if node is None else known[node]

    def _require_one_branch(self, terms: Sequence[Tensor], first: int, second: int) -> None:
        """Raise if attention and another branch stand side by side: what is whose is not known.

        Of `x + attention(x) + mlp(x)` no paper says how the three are composed.
        """
        for term, other in ((terms[0], second), (terms[1], first)):
            below = self._terms_below(term.grad_fn)
            if below is None or below[0] == below[1]:
                continue
            fewest, most = min(below, key=int.bit_count), max(below, key=int.bit_count)
            if fewest & ~other == 0 and most & ~other:
                raise parallel_branches(self._model)

    def _terms_below(self, node: Any) -> tuple[int, int] | None:  # noqa: ANN401
        """The terms of the sum that a tensor is, as it is or moved; None if it is none."""
        while node is not None:
            rule = getattr(node, "rule", None)
            if rule is not None:
                return self._terms[rule] if rule.startswith("sum ") else None
            parents = [parent for parent, _ in node.next_functions if parent is not None]
            node = parents[0] if len(parents) == 1 else None
        return None


def _shares(first: int, second: int, sums: Sums) -> tuple[float, float]:
    """What each term of a sum gets, from the calls of attention that each comes through."""
    if sums == "half" or first == second or (first & ~second and second & ~first):
        return 0.5, 0.5
    if sums == "whole":
        return 1.0, 1.0
    return (1.0, 0.0) if not first & ~second else (0.0, 1.0)


def _weights_among(call: Call) -> list[Tensor]:
    """The attention weights among what a call holds constant."""
    pairs = zip(call.held, call.held_by, strict=True)
    return [tensor for tensor, function in pairs if function == "softmax"]


def _means_of(call: Call) -> Callable[[Tensor, Tensor | None], Tensor]:
    """The means over what a maximum pooling takes the largest of."""
    mean = getattr(F, call.name.replace("max", "avg"))
    if "adaptive" in call.name:
        options: tuple[Any, ...] = (call.argument(1, "output_size"),)
    else:
        kernel, stride = call.argument(1, "kernel_size"), call.argument(2, "stride")
        padding, dilation = call.argument(3, "padding", 0), call.argument(4, "dilation", 1)
        if set(dilation if isinstance(dilation, (tuple, list)) else [dilation]) != {1}:
            raise NoRuleError(call.name, "with dilation")
        options = (kernel, stride, padding, call.argument(5, "ceil_mode", False), False)

    def means(x: Tensor, _: Tensor | None) -> Tensor:
        found: Tensor = mean(x, *options)
        return found

    return means
