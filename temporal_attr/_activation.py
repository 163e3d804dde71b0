"""From what a model returns to probabilities: softmax, sigmoid, as they are, or none at all."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import ModelError, OptionError

Activation: TypeAlias = Literal["softmax", "sigmoid", "identity", "none"]
"""What turns a model's outputs into probabilities.

- `"softmax"`: the outputs are logits of classes of which one is right.
- `"sigmoid"`: each output is the logit of a class by itself; several may be right, or none.
- `"identity"`: the outputs are probabilities already.
- `"none"`: the outputs are no scores of classes, as in regression; there are no probabilities.

Where it is not stated (None) it is found out: one output has a sigmoid; rows that are
probabilities, so not negative and summing to 1, are taken as they are; all others have a softmax.
"""

Outputs: TypeAlias = Float[Tensor, "*rows classes"]
"""What a model returns, for any number of clips."""

SLACK = 1e-5
"""By how much probabilities may miss their sum, besides the rounding of their own precision."""


_IF_PROBABILITIES = 'if they are probabilities already, state activation="identity"'


def require_activation(activation: object) -> None:
    """Raise unless this names an activation, or is None.

    Raises:
        OptionError: With what it may be.

    Example:
        >>> require_activation("tanh")
        Traceback (most recent call last):
        ...
        temporal_attr._errors.OptionError: expected activation to be "softmax", "sigmoid", ...
    """
    names = get_args(Activation)
    if activation is not None and not (isinstance(activation, str) and activation in names):
        known = ", ".join(f'"{name}"' for name in names)
        raise OptionError(
            f"activation to be {known} or None",
            repr(activation),
            "None finds it out from the outputs.",
        )


def resolved_activation(activation: Activation | None, outputs: Outputs) -> Activation:
    """The activation as it is stated, or as it is found out from outputs; see `Activation`.

    Args:
        activation: As stated; None if it is to be found out.
        outputs: Of any number of clips, which have one activation.

    Raises:
        ModelError: If outputs are stated to be probabilities and are not in [0, 1].

    Example:
        >>> resolved_activation(None, torch.tensor([[2.0]]))
        'sigmoid'
        >>> resolved_activation(None, torch.tensor([[0.25, 0.75]]))
        'identity'
        >>> resolved_activation(None, torch.tensor([[-0.25, 1.25]]))
        'softmax'
    """
    if activation is None:
        if outputs.shape[-1] == 1:
            return "sigmoid"
        return "identity" if bool(_sum_to_one(outputs).all()) else "softmax"
    if activation == "identity":
        _require_probabilities(outputs)
    return activation


def probabilities(outputs: Outputs, activation: Activation | None = None) -> Outputs:
    """The probability of each class, in [0, 1].

    Args:
        outputs: Of any number of clips.
        activation: See `Activation`.

    Raises:
        OptionError: If there are none.
        ModelError: As `resolved_activation`.

    Example:
        >>> probabilities(torch.tensor([[0.0, 0.0]])), probabilities(torch.tensor([[0.0]]))
        (tensor([[0.5000, 0.5000]]), tensor([[0.5000]]))
    """
    known = resolved_activation(activation, outputs)
    require_some(known)
    if known == "softmax":
        return outputs.softmax(-1)
    return outputs.sigmoid() if known == "sigmoid" else outputs


def log_probabilities(outputs: Outputs, activation: Activation | None = None) -> Outputs:
    """The natural logarithm of the probability of each class, at most 0; see `probabilities`.

    Of outputs that are probabilities already, 0 has the logarithm minus infinity.

    Example:
        >>> log_probabilities(torch.tensor([[-200.0]]))  # whose probability is 0 in float32
        tensor([[-200.]])
    """
    known = resolved_activation(activation, outputs)
    require_some(known)
    if known == "softmax":
        return outputs.log_softmax(-1)
    return F.logsigmoid(outputs) if known == "sigmoid" else outputs.log()


def are_exclusive(outputs: Outputs, activation: Activation | None = None) -> Bool[Tensor, "*rows"]:
    """Whether of the classes of each clip one is right, so that the top class is the prediction."""
    known = resolved_activation(activation, outputs)
    if known == "identity" and outputs.shape[-1] > 1:
        # Of independent classes a sum so close to 1 is chance; of others, half precision may be.
        return _sum_to_one(outputs, 0.01)
    return torch.full(outputs.shape[:-1], known == "softmax", device=outputs.device)


def predicted(
    outputs: Outputs, target: Int[Tensor, "*rows"], activation: Activation | None = None
) -> Float[Tensor, "*rows"]:
    """Whether the target is what is predicted of each clip: 1 or 0; NaN without probabilities.

    The top class is, of classes of which one is right; of others each whose probability is above
    one half.

    Example:
        >>> predicted(torch.tensor([[3.0, 2.0]]), torch.tensor([1]))
        tensor([0.])
        >>> predicted(torch.tensor([[3.0, 2.0]]), torch.tensor([1]), "sigmoid")
        tensor([1.])
    """
    known = resolved_activation(activation, outputs)
    if known == "none":
        return torch.full_like(outputs[..., 0], torch.nan)
    of_target = probabilities(outputs, known).gather(-1, target[..., None]).squeeze(-1)
    top = outputs.argmax(-1) == target
    return torch.where(are_exclusive(outputs, known), top, of_target > 0.5).to(outputs.dtype)


def output_name(activation: Activation | None) -> str:
    """What an output is called: "logit", or "output" where it is a probability or no score.

    Example:
        >>> output_name("softmax"), output_name("none")
        ('logit', 'output')
    """
    return "output" if activation in ("identity", "none") else "logit"


def objective_text(name: str, activation: Activation | None) -> str:
    """What an objective is called; the one that is named "logit" is the output as it is."""
    return output_name(activation) if name == "logit" else name


def activation_note(outputs: Outputs, activation: Activation | None) -> str | None:
    """What a reader should know of how outputs became probabilities.

    None for a softmax, unless all outputs lie in [0, 1], as those of a model with a sigmoid do.

    Example:
        >>> activation_note(torch.tensor([[0.25, 0.75]]), None)
        'the outputs are probabilities already, and taken as they are (activation "identity")'
    """
    known = resolved_activation(activation, outputs)
    # Of a model's own sigmoids a softmax would tell others, and nothing else shows it.
    within = bool(((outputs >= 0) & (outputs <= 1)).all())
    if known == "softmax":
        return f"all outputs are in [0, 1]; {_IF_PROBABILITIES}" if within else None
    if known == "identity":
        said = "the outputs are probabilities already, and taken as they are"
    elif known == "none":
        said = "the outputs are taken as they are, and no probabilities are made of them"
    elif outputs.shape[-1] > 1:
        said = "the probability of each class by itself is the sigmoid of its output"
    else:
        said = (
            "there is one output, whose sigmoid is taken for the probability; if it is a number "
            'and no class (regression), state activation="none"'
        )
        if within:
            said += '; if it is a probability already, state activation="identity"'
    return f'{said} (activation "{known}")'


def require_some(activation: Activation | None) -> None:
    """Raise if there are no probabilities.

    Raises:
        OptionError: With what to ask for instead.
    """
    if activation == "none":
        raise OptionError(
            "a model whose outputs have probabilities",
            'activation="none"',
            "Ask for the output itself, or state another activation.",
        )


def _sum_to_one(outputs: Outputs, slack: float = SLACK) -> Bool[Tensor, "*rows"]:
    """Which rows are probabilities of classes of which one is right, to rounding."""
    rows = outputs.detach().double()
    slack += 2 * torch.finfo(outputs.dtype).eps
    found: Tensor = (rows >= 0).all(-1) & ((rows.sum(-1) - 1).abs() <= slack)
    return found


def _require_probabilities(outputs: Outputs) -> None:
    rows = outputs.detach()
    slack = SLACK + 2 * torch.finfo(outputs.dtype).eps
    if not ((rows >= -slack) & (rows <= 1 + slack)).all():
        raise ModelError(
            'probabilities from a model whose activation is "identity"',
            f"outputs from {rows.min():.3g} to {rows.max():.3g}",
            'State "softmax" or "sigmoid" for logits, or "none".',
        )
