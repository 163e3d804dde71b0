"""What layers give while a model runs, and the graph from there to its output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from temporal_attr._errors import ModelError
from temporal_attr._told import told


@dataclass(frozen=True)
class Tap:
    """A layer whose output is read.

    Attributes:
        name: Its path in the model, for messages.
        module: The layer.
    """

    name: str
    module: nn.Module


@contextmanager
def hooked(layers: Sequence[nn.Module], seen: Callable[[int, Any], Any]) -> Iterator[None]:
    """Call a function with each output of layers that run inside, as PyTorch's forward hooks do.

    The hooks see this thread only, and are gone afterwards, also after an exception.

    Args:
        layers: Modules, each once.
        seen: From the place of a layer and its output to what takes the output's place, or None.

    Example:
        >>> layer, outputs = nn.Identity(), []
        >>> with hooked([layer], lambda place, output: outputs.append((place, output))):
        ...     _ = layer(1)
        >>> outputs, len(layer._forward_hooks)
        ([(0, 1)], 0)
    """
    own, handles = threading.get_ident(), []

    def of(place: int) -> Callable[..., Any]:
        def ends(_module: nn.Module, _given: Any, output: Any) -> Any:  # noqa: ANN401
            # Another thread may run the same model.
            return seen(place, output) if threading.get_ident() == own else None

        return ends

    try:
        for place, layer in enumerate(layers):
            handles.append(layer.register_forward_hook(of(place)))
        yield
    finally:
        for handle in handles:
            handle.remove()


class TappedRun:
    """The outputs of layers in one run of a model, in the order of their calls.

    Up to the first of these outputs no graph is kept. With `differentiate`, from there on it is, so
    that a gradient of the model's output with respect to them takes the memory and the time of what
    follows only. An output that depends on an earlier one, as in a layer that runs step by step,
    stays in the graph of that one.

    Args:
        taps: The layers.
        differentiate: Whether gradients are wanted.
        replaced: What takes the place of each tensor of an output, from the place of the layer, of
            the call and of the tensor; for a run that starts at the layers.

    Attributes:
        calls: For each layer, for each of its calls, the tensors of floats that it returned.

    Example:
        >>> network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        >>> tapped = TappedRun([Tap("1", network[1])], differentiate=True)
        >>> with tapped.running():
        ...     output = network(torch.ones(1, 2))
        >>> ((value,),) = tapped.calls[0]
        >>> torch.equal(tapped.gradients(output)[0][0][0], network[2].weight)
        True
    """

    def __init__(
        self,
        taps: Sequence[Tap],
        differentiate: bool = False,
        replaced: Callable[[int, int, int], Tensor] | None = None,
    ) -> None:
        self._taps = taps
        self._differentiate = differentiate
        self._replaced = replaced
        self.calls: list[list[list[Tensor]]] = [[] for _ in taps]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Note what the layers give inside; raise if one gives no tensors, or does not run."""
        with torch.no_grad(), hooked([tap.module for tap in self._taps], self._ends):
            yield
        for tap, calls in zip(self._taps, self.calls, strict=True):
            if not calls:
                raise ModelError(
                    f"a layer that runs for a clip, at {tap.name!r}",
                    "one that the model does not call as a module",
                    "Name another layer, see model.named_modules().",
                )

    def gradients(self, output: Tensor) -> list[list[list[Tensor]]]:
        """The gradient of the sum of an output, as `calls`; zeros where it does not depend."""
        kept = [tensor for calls in self.calls for call in calls for tensor in call]
        found = iter(torch.autograd.grad(output.sum(), kept, materialize_grads=True))
        return [[[next(found) for _ in call] for call in calls] for calls in self.calls]

    def _ends(self, place: int, output: Any) -> Any:  # noqa: ANN401 - whatever a layer returns
        leaves, structure = pytree.tree_flatten(output)
        number = len(self.calls[place])
        kept: list[Tensor] = []
        for spot, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                mine = self._kept(place, number, len(kept), leaf)
                kept.append(mine)
                # A copy, because what follows may work on it in place.
                leaves[spot] = mine.clone()
        if not kept:
            raise ModelError(
                f"a layer that returns a tensor of floats, at {self._taps[place].name!r}",
                told(output),
                "Name another layer.",
            )
        self.calls[place].append(kept)
        return pytree.tree_unflatten(leaves, structure)

    def _kept(self, place: int, call: int, tensor: int, output: Tensor) -> Tensor:
        if self._replaced is not None:
            return self._replaced(place, call, tensor)
        if not self._differentiate:
            return output.detach().clone()
        # From here on, until the run ends.
        torch.set_grad_enabled(True)
        earlier = [one for calls in self.calls for kept in calls for one in kept]
        if any(_depends(output, one) for one in earlier):
            return output.clone()
        return output.detach().clone().requires_grad_()


def _depends(output: Tensor, on: Tensor) -> bool:
    """Whether a tensor's graph leads back to another."""
    end = on.grad_fn if on.grad_fn is not None else on.view_as(on).grad_fn.next_functions[0][0]  # type: ignore[union-attr]
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        if node is end:
            return True
        seen.add(node)
        waiting += [before for before, _ in node.next_functions]
    return False
