"""What the engine refuses, with the place in the model where it was met."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from torch import nn

from temporal_attr._errors import ModelError
from temporal_attr.relevance._calls import NoRuleError


def no_rule(error: NoRuleError, model: Any) -> ModelError:  # noqa: ANN401
    """An operation that no rule covers."""
    return ModelError(
        "operations with a rule for relevance",
        f"{error.name} {error.why}".strip() + f" in {module_path(model)}",
        f'Give it one: Composite(handlers={{"{error.name}": handler}}).',
    )


def hidden(name: str, model: Any) -> ModelError:  # noqa: ANN401
    """An operation that computes its output where no mode sees it."""
    return ModelError(
        "operations with a rule for relevance",
        f"one that cannot be seen into, {name}, before {module_path(model)}",
        "Write a custom autograd.Function, or scripted code, as the torch functions that it "
        "stands for, and leave out checkpointing.",
    )


def independent_output(held: str | None) -> ModelError:
    """An output that no relevance can be propagated from; `held` names what is held constant."""
    if held is not None:
        return ModelError(
            "an output that depends on the clip by more than what rules hold constant",
            f"one that depends on it through {held} only",
            "Explain what comes before it (logits, not probabilities averaged over frames or "
            'crops); of attention weights, Composite(attention="full") gives relevance to all.',
        )
    return ModelError(
        "an output that depends on the clip",
        "one that does not",
        "Look for torch.no_grad, detach or numpy between the two; relevance stops there.",
    )


def no_layer_reads_pixels() -> ModelError:
    """No layer for the rule at the input."""
    return ModelError(
        "a convolution, linear layer or matrix product that reads pixels, for the rule at the "
        "input",
        "a model whose first layer reads something else",
        "Change pixels by constants, and not in place through a view; "
        "Composite(input=None) treats the first layer like the others.",
    )


def module_path(model: Any) -> str:  # noqa: ANN401
    """The submodule whose forward is running, found from the call stack."""
    if not isinstance(model, nn.Module):
        return "the model's function"
    names = {id(part): name for name, part in model.named_modules()}
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            return f"module {names[id(owner)] or type(model).__name__!r}"
        frame = frame.f_back
    return type(model).__name__
