"""Which tensors of a pass all of its output depends on the input through."""

from __future__ import annotations

from typing import Any

from torch import Tensor

Node = Any
"""A node of PyTorch's graph for the backward pass."""


def cut_nodes(output: Tensor, leaf: Tensor) -> list[Node]:
    """The nodes that every path from an output back to a leaf passes, from the output on.

    They are the dominators of the leaf, by the algorithm of :cite:t:`cooper2001`.

    Args:
        output: With a graph.
        leaf: What it depends on, which requires a gradient.

    Returns:
        The nodes; none where the output does not depend on the leaf.

    Example:
        >>> import torch
        >>> x = torch.ones(2, requires_grad=True)
        >>> y = x * 2
        >>> z = y.sin() + y.cos()
        >>> found = cut_nodes(z.sum(), x)
        >>> z.grad_fn in found, y.grad_fn in found, len(found)
        (True, True, 4)
    """
    end = _accumulator(leaf)
    root = output.grad_fn
    if root is None:
        return []
    order = _after_all_before(root)
    leading = _leading_to(order, end)
    if root not in leading:
        return []
    return _dominators(order, leading, end)


def _accumulator(leaf: Tensor) -> Node:
    """The node at which a leaf's gradient arrives."""
    view: Any = leaf.view_as(leaf)
    return view.grad_fn.next_functions[0][0]


def _before(node: Node) -> list[Node]:
    return [one for one, _ in node.next_functions if one is not None]


def _after_all_before(root: Node) -> list[Node]:
    """All nodes, each after those that it comes from: from the root back to the leaves."""
    seen, finished = {root}, []
    waiting: list[tuple[Node, list[Node]]] = [(root, _before(root))]
    while waiting:
        node, left = waiting[-1]
        if left:
            following = left.pop()
            if following not in seen:
                seen.add(following)
                waiting.append((following, _before(following)))
        else:
            finished.append(node)
            waiting.pop()
    return finished[::-1]


def _leading_to(order: list[Node], end: Node) -> set[Node]:
    """Those from which a path leads to the end."""
    leading = {end}
    for node in reversed(order):
        if any(one in leading for one in _before(node)):
            leading.add(node)
    return leading


def _dominators(order: list[Node], leading: set[Node], end: Node) -> list[Node]:
    places = {node: place for place, node in enumerate(order)}
    above: dict[Node, Node] = {order[0]: order[0]}
    for node in order:
        for one in _before(node) if node in leading else ():
            if one in leading:
                above[one] = _common(above, places, above.get(one, node), node)
    chain = [end]
    while chain[-1] is not order[0]:
        chain.append(above[chain[-1]])
    return chain[::-1]


def _common(above: dict[Node, Node], places: dict[Node, int], first: Node, other: Node) -> Node:
    """The nearest node that both come from."""
    while first is not other:
        while places[first] > places[other]:
            first = above[first]
        while places[other] > places[first]:
            other = above[other]
    return first
