"""Outputs that are weighted sums of a model's, and similarities of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import Activation, require_activation
from temporal_attr._errors import DataError, ModelError, OptionError
from temporal_attr._require import require_within
from temporal_attr.models._base import Exactness, FrameLogits, VideoModel
from temporal_attr.models._wrap import checked_names
from temporal_attr.models.outputs._derived import Derived, DerivedFunction, LogitMap, derived


class LinearOutputs(LogitMap):
    """Weighted sums of a model's outputs; see `linear_outputs`."""

    def __init__(self, weights: Tensor, names: tuple[str, ...]) -> None:
        super().__init__()
        self._names = names
        self.weights: Tensor
        self.register_buffer("weights", weights.detach().clone())

    def mapped(self, logits: Tensor) -> Tensor:
        """The sums, as a linear layer."""
        _require_length(self.weights, logits, "weights", "outputs")
        return F.linear(logits, self.weights.to(logits))

    def names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """As given, or numbered."""
        return self._names or tuple(f"direction {at}" for at in range(len(self.weights)))


def linear_outputs(
    model: VideoModel | Callable[..., Any],
    weights: Float[Tensor, "directions outputs"],
    class_names: Sequence[str] = (),
    activation: Activation = "none",
) -> Derived | DerivedFunction:
    """A model whose outputs are weighted sums of another's: directions among its outputs.

    The rows of `weights` may be concept vectors over the channels of a layer (see
    `layer_features`), principal components of embeddings, or groups of classes. Relevance takes the
    sum for a last linear layer without bias. Timesteps, encoder, stages and exactness are those of
    the model.

    Args:
        model: A `VideoModel`, or a function of clips that returns `(batch, outputs)`.
        weights: A row for each new output, over the outputs of the model.
        class_names: What the new outputs are called; "direction 0" and so on, if not given.
        activation: What turns the new outputs into probabilities.

    Raises:
        DataError: If the weights are not finite, or, with the first clip, not as many as the
            model's outputs.
        OptionError: If there is not a name for each row.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=3, widths=(4, 8)).eval()
        >>> sports = linear_outputs(model, torch.tensor([[0.0, 0.5, 0.5]]), ["sports"])
        >>> clip = torch.rand(1, 4, 3, 16, 16)
        >>> torch.allclose(sports(clip)[0, 0], model(clip)[0, 1:].mean())
        True
    """
    names = _names(class_names, weights, "weights")
    require_activation(activation)
    changed = derived(model, LinearOutputs(weights, names))
    changed.activation = activation
    return changed


class Similarity(LogitMap):
    """Cosine similarities of embeddings to references; see `similarity_to`."""

    def __init__(self, references: Tensor, names: tuple[str, ...], scale: float | None) -> None:
        super().__init__()
        self._names, self._scale = names, scale
        self.references: Tensor
        unit = references.detach() / _length(references.detach())
        self.register_buffer("references", unit if scale is None else scale * unit)

    def mapped(self, logits: Tensor) -> Tensor:
        """The similarities of embeddings."""
        return self._projected(logits, _length(logits))

    def of_steps(self, steps: FrameLogits, merged: int) -> FrameLogits:
        """What each timestep's embedding contributes, by the length of the whole embedding."""
        length = _length(steps.clip_logits().detach())
        rest = None if steps.rest is None else self._projected(steps.rest, length)
        return FrameLogits(self._projected(steps.logits, length[:, None]), steps.weights, rest)

    def _projected(self, embeddings: Tensor, length: Tensor) -> Tensor:
        _require_length(self.references, embeddings, "references", "numbers of an embedding")
        return F.linear(embeddings / length, self.references.to(embeddings))

    def exactness(self, base: Exactness) -> Exactness:
        """The length of the whole embedding is held for timesteps."""
        return "none" if base == "none" else "frozen"

    def names(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Such as "similarity to a dog"; "a dog" where a scale makes classes of references."""
        known = self._names or tuple(f"reference {at}" for at in range(len(self.references)))
        return known if self._scale is not None else tuple(f"similarity to {one}" for one in known)


def similarity_to(
    model: VideoModel | Callable[..., Any],
    references: Float[Tensor, "references embedding"],
    class_names: Sequence[str] = (),
    scale: float | None = None,
) -> Derived | DerivedFunction:
    """A model whose outputs say how similar a clip's embedding is to others: of texts, or of clips.

    Output k is the cosine of the angle between the embedding that the model returns and reference
    k, from -1 to 1. No gradient goes to the references, which are copied. With a `scale`, such as
    the exponential of CLIP's logit scale, the outputs are logits of classes, one for each reference
    (zero-shot classification).

    The similarity of a timestep is what its embedding contributes, by the length of the whole
    embedding held at its value (`exactness="frozen"`). Relevance holds the length, too, and takes
    the references for the weights of a last linear layer.

    Args:
        model: A `VideoModel`, or a function of clips, that returns embeddings `(batch,
            embedding)`; see `ReducedOutput` and `layer_features`.
        references: Embeddings of the same model, or of its text encoder; of any length.
        class_names: What the references are called.
        scale: Multiplies the similarities, and makes a softmax of them; above 0.

    Raises:
        DataError: If a reference is all zeros or not finite, or, with the first clip, not as long
            as the embeddings.
        OptionError: If there is not a name for each reference.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=8, widths=(4, 8)).eval()  # as if it gave embeddings
        >>> clips = torch.rand(2, 4, 3, 16, 16)
        >>> with torch.no_grad():
        ...     references = model(clips)
        >>> near = similarity_to(model, references, ["the first clip", "the second clip"])
        >>> torch.allclose(near(clips).diagonal(), torch.ones(2))  # of a clip to itself
        True
        >>> near.class_names[1]
        'similarity to the second clip'
    """
    names = _names(class_names, references, "references")
    if not bool(references.any(1).all()):
        raise DataError(
            "references of a length above zero",
            "one of zeros only",
            "An angle to it is not defined; leave it out.",
        )
    if scale is not None:
        require_within("scale", scale, 0)
        if not scale:
            raise OptionError("scale above 0", "0", "Leave it out for the similarities themselves.")
    changed = derived(model, Similarity(references, names, scale))
    changed.activation = "none" if scale is None else "softmax"
    return changed


def _length(embeddings: Tensor) -> Tensor:
    """The L2 norm over the last axis, which is kept; not below 1e-8, as in PyTorch's own cosine."""
    norm: Tensor = embeddings.norm(dim=-1, keepdim=True)
    return norm.clamp_min(max(1e-8, torch.finfo(embeddings.dtype).tiny))


def _names(given: Sequence[str], rows: Tensor, what: str) -> tuple[str, ...]:
    """The names, if there is one for each row; the rows must be finite."""
    if not rows.is_floating_point() or not bool(rows.isfinite().all()) or not rows.numel():
        raise DataError(
            f"finite {what} in floating point, a row for each output",
            f"{rows.dtype} of shape {tuple(rows.shape)}"
            + ("" if bool(rows.isfinite().all()) else " with NaN or infinite numbers"),
            "Give at least one row of numbers.",
        )
    names = checked_names(given)
    if names and len(names) != len(rows):
        raise OptionError(
            f"class_names for each of the {len(rows)} {what}",
            f"{len(names)}",
            "Give one for each row, or none.",
        )
    return names


def _require_length(rows: Tensor, outputs: Tensor, what: str, of: str) -> None:
    if rows.shape[1] != outputs.shape[-1]:
        raise ModelError(
            f"a model of {rows.shape[1]} {of}, as the {what} are",
            f"{outputs.shape[-1]}",
            f"Give {what} of the outputs of this model.",
        )
