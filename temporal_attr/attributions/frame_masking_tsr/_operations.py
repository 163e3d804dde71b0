"""How many floating point operations a part of a model takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class OperationCount(TorchDispatchMode):
    """Count the floating point operations of what the present thread computes inside.

    By PyTorch's own formulas, which know matrix products, convolutions and attention. Its
    `FlopCounterMode` counts by module as well, with hooks on every module of the process, in which
    the models of other threads fail.

    Attributes:
        total: What was counted so far.

    Example:
        >>> import torch
        >>> with OperationCount() as count:
        ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
        >>> count.total
        60
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        """Run an operation, and add what it took."""
        given = kwargs or {}
        output = func(*args, **given)
        formula = flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None:
            self.total += formula(*args, **given, out_val=output)
        return output
