"""The logits in what a network returns, in whatever it packs them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._told import told, usable
from temporal_attr._typing import Logits

_FEATURES = {"embedding", "embeddings", "feature", "features", "hidden", "hidden_states"}
"""What dicts call their one entry that is no logits."""


def logits_of(output: Any) -> Tensor:  # noqa: ANN401 - whatever a network returns
    """The one tensor of logits in a network's output.

    That is a tensor itself, what an object or a dict has as `logits`, or the one entry of a dict or
    tuple.

    Raises:
        ModelError: If there is none, or it is not said which it is.

    Example:
        >>> import torch
        >>> logits_of({"loss": None, "logits": torch.zeros(1, 2)})
        tensor([[0., 0.]])
        >>> logits_of((torch.zeros(1, 2),))
        tensor([[0., 0.]])
    """
    if isinstance(output, Tensor):
        return output
    entries = output if isinstance(output, Mapping) else vars_of(output)
    if isinstance(entries.get("logits"), Tensor):
        logits: Tensor = entries["logits"]
        return logits
    if "last_hidden_state" in entries or (_FEATURES.issuperset(entries) and entries):
        raise ModelError(
            "a model that returns logits",
            f"{type(output).__name__} with {', '.join(entries)}: features, without a classifier",
            "Load the class with a classifier, such as AutoModelForVideoClassification; or explain "
            "the features: similarity_to(model, reference).",
        )
    several = list(output.values()) if isinstance(output, Mapping) else output
    if isinstance(several, (list, tuple)) and len(several) == 1:
        return logits_of(several[0])
    kind = type(output).__name__
    if isinstance(output, Mapping) and output:
        kind = f"{kind} with {', '.join(map(str, output))}"[:100]
        several = None
    raise ModelError(
        "logits as a tensor, as .logits, as ['logits'], or alone in a tuple or dict",
        f"{kind} of {len(several)}" if isinstance(several, (list, tuple)) else kind,
        "Say which they are: LayerTimesteps(..., output=), StepOutputs(..., pick=), ReducedOutput("
        "network, lambda output: ...).",
    )


def vars_of(output: object) -> Mapping[str, Any]:
    """The attributes of an object, or of a named tuple."""
    named = getattr(output, "_asdict", None)
    return named() if callable(named) else getattr(output, "__dict__", {})


def require_rows(logits: Any, batch: int) -> Logits:  # noqa: ANN401 - it may be anything
    """The output itself, if it is shaped as logits `(batch, classes)`, whatever its values.

    Raises:
        ModelError: With what the model returned instead.

    Example:
        >>> import torch
        >>> require_rows(torch.zeros(4, 5), batch=2)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected logits (batch, classes) with a batch of 2, ...
    """
    if not isinstance(logits, Tensor) or not usable(logits):
        remedy = "Pass a function that returns the logits, such as lambda clip: model(clip).logits."
        got = told(logits) if isinstance(logits, Tensor) else type(logits).__name__
        if isinstance(logits, dict):
            got += f" with {', '.join(map(str, logits))}"[:100]
            remedy = 'Pass a function that returns the logits: lambda clip: model(clip)["NAME"].'
        raise ModelError("a tensor of logits (batch, classes)", got, remedy)
    if not logits.is_floating_point():
        raise ModelError(
            "floating-point logits (batch, classes)",
            told(logits),
            "Return the logits themselves: no class numbers, decisions or complex values.",
        )
    if logits.ndim != 2 or logits.shape[0] != batch:
        raise ModelError(
            f"logits (batch, classes) with a batch of {batch}",
            f"shape {tuple(logits.shape)}",
            "Return logits[:, None] where there is one for each clip."
            if logits.ndim == 1
            else "Pool over time and space, and keep the batch axis, before returning.",
        )
    return logits
