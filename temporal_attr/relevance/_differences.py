"""Handler of the difference of two logits of one output."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr.relevance._calls import Call, Handled, Sink, Split
from temporal_attr.relevance._composite import Composite
from temporal_attr.relevance._operations import first_part


def class_differences(call: Call, composite: Composite) -> Handled:
    """Every class's logit less that of one class: each gets its own, whatever the composite.

    With relevance equal to the difference, the class gets its logit and the other minus its own, so
    that below there is the relevance of the one less that of the other. A composite's way with sums
    would let the other's evidence count for the class, or leave it out.
    """
    logits, other = call.args
    with torch.no_grad():
        a = logits.detach()
        b = -a[..., other : other + 1].expand_as(a)
        part = first_part(a, b, replace(composite, sums="signed"))
    after = a.shape[-1] - 1 - other

    def split(relevance: Tensor) -> tuple[Tensor]:
        own = relevance * part
        taken = (relevance - own).sum(-1, keepdim=True)
        return (own + F.pad(taken, (other, after)),)

    return Handled(call.run(), (logits,), split, opposed=_refuse, rule="signed")


def _refuse() -> tuple[Split, tuple[Sink, ...]]:
    """Weights negated would swap the classes, which is no opposition of the kind that is meant."""
    raise OptionError(
        "contrastive=False for differences of classes (rather_than)",
        "contrastive=True",
        "The relevance of a difference is that of one class less that of the other: it is a "
        "contrast already.",
    )
