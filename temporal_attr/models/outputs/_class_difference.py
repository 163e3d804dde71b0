"""Why one class rather than another: the difference of two logits as the output."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary

from temporal_attr._activation import Activation, resolved_activation
from temporal_attr._errors import ModelError, OptionError, TargetError
from temporal_attr.models._base import VideoModel
from temporal_attr.models.outputs._derived import Derived, DerivedFunction, LogitMap, derived


def class_difference(logits: Tensor, other: int) -> Tensor:
    """The logits `(..., classes)` less that of one class.

    A function of its own, so that relevance is split between the two logits as it has to be under
    any composite: that of the difference is that of the first logit less that of the other.
    """
    if has_torch_function_unary(logits):
        found: Tensor = handle_torch_function(class_difference, (logits,), logits, other)
        return found
    return logits - logits[..., other : other + 1]


class ClassDifference(LogitMap):
    """Every class's logit less that of one class; see `rather_than`."""

    def __init__(self, other: int, activation: Activation | None) -> None:
        super().__init__()
        self.other = other
        self._activation = activation
        self._classes = 0

    def mapped(self, logits: Tensor) -> Tensor:
        """The differences."""
        if not self._classes:
            self._require_logits(logits)
        self._classes = logits.shape[-1]
        _require_other(self.other, self._classes)
        return class_difference(logits, self.other % self._classes)

    def _require_logits(self, logits: Tensor) -> None:
        """Raise where outputs whose activation was not stated are probabilities."""
        if self._activation is None:
            with torch.no_grad():
                found = resolved_activation(None, logits)
            if found == "identity":
                raise ModelError(
                    "logits, whose difference tells two classes apart",
                    "outputs that are probabilities already",
                    "Explain the model before its softmax; or, for the difference of the "
                    'probabilities, state model.activation = "identity".',
                )

    def names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """What the differences are called, such as "running rather than walking"."""
        known = class_names or tuple(f"class {number}" for number in range(self._classes))
        return tuple(f"{name} rather than {known[self.other]}" for name in known)


def rather_than(
    model: VideoModel | Callable[..., Any], other: int | str
) -> Derived | DerivedFunction:
    """A model whose outputs say: why this class rather than that one?

    Output k is the logit of class k less that of the other class, so `target` is the class to be
    explained, as before, and the output of the other class itself is 0. Where the logits have a
    softmax, the sigmoid of a difference is the probability of the class among the two, and the
    model's `activation` says so; differences of other outputs have no probability (`"none"`).

    It has the timesteps, the encoder, the stages and the exactness of the model, since a difference
    is linear. Its relevance is that of the class's logit less that of the other's: it has both
    signs, and sums to the difference. This is a contrast already, so `ContrastiveLRPTemporal` takes
    it with `contrastive=False` only.

    Args:
        model: A `VideoModel`, or a function from clips to logits.
        other: The class to compare with: its number (negative ones count from the last), or its
            name among the model's `class_names`.

    Raises:
        OptionError: If the model has no class of that name.
        TargetError: If it has no class of that number; where the number of classes is not known
            yet, with the first clip.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=3, widths=(4, 8)).eval()
        >>> model.class_names = ("sitting", "walking", "running")
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> result = TemporalGradient(rather_than(model, "walking")).explain(clip, target=2)
        >>> result.class_label()
        'running rather than walking (2)'
        >>> logits = model(clip)[0]
        >>> torch.allclose(result.logits[0, 2], logits[2] - logits[1])
        True
    """
    names = _names_of(model)
    number = _number(other, names)
    if names:
        _require_other(number, len(names))
    before: Activation | None = getattr(model, "activation", None)
    changed = derived(model, ClassDifference(number, before))
    changed.activation = "sigmoid" if before in (None, "softmax") else "none"
    return changed


def _names_of(model: VideoModel | Callable[..., Any]) -> tuple[str, ...]:
    known = isinstance(model, (VideoModel, DerivedFunction))
    return tuple(getattr(model, "class_names", ())) if known else ()


def _number(other: int | str, names: tuple[str, ...]) -> int:
    if not isinstance(other, str):
        return other
    if other in names:
        return names.index(other)
    shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    raise OptionError(
        f"other among the model's classes: {shown}" if names else "other as a class number",
        repr(other),
        "Give its number, or set the model's class_names.",
    )


def _require_other(number: int, classes: int) -> None:
    if classes < 2:
        raise ModelError(
            "a model of at least two classes, to compare one with another",
            f"{classes}",
            "Explain its output itself.",
        )
    if not -classes <= number < classes:
        raise TargetError(
            f"other from 0 to {classes - 1}", str(number), "The model has no such class."
        )
