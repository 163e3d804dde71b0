"""The reference architectures by name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import signature
from typing import Any

from temporal_attr._errors import OptionError
from temporal_attr._seeding import seeded_weights
from temporal_attr.models import VideoModel
from temporal_attr.zoo._divided_transformer import DividedTransformer
from temporal_attr.zoo._fusion import early_fusion, late_fusion
from temporal_attr.zoo._recurrent import recurrent
from temporal_attr.zoo._slowfast import SlowFast
from temporal_attr.zoo._transformer import TemporalTransformer, TubeletTransformer
from temporal_attr.zoo._volume import factorised_resnet, inflated_resnet, tam2d

ARCHITECTURES: dict[str, Callable[..., VideoModel]] = {
    "late-fusion": late_fusion,
    "early-fusion": early_fusion,
    "inflated-resnet": inflated_resnet,
    "factorised-resnet": factorised_resnet,
    "tam2d": tam2d,
    "slowfast": SlowFast,
    "lstm": partial(recurrent, cell="lstm"),
    "gru": partial(recurrent, cell="gru"),
    "input-cell-attention": partial(recurrent, cell="input-cell-attention"),
    "temporal-transformer": TemporalTransformer,
    "tubelet-transformer": TubeletTransformer,
    "divided-transformer": DividedTransformer,
}
"""What `build_model` builds: a name, and the class or function behind it."""


def build_model(
    architecture: str,
    classes: int,
    seed: int = 0,
    **options: Any,  # noqa: ANN401 - whatever the architecture takes
) -> VideoModel:
    """A reference architecture with random weights, in evaluation mode.

    Args:
        architecture: A name in `ARCHITECTURES`.
        classes: Number of classes.
        seed: Of the weights; the global random state is left as it was.
        options: Those of the class or function behind the name.

    Raises:
        OptionError: If there is no such architecture, or it does not take an option or its value.

    Example:
        >>> build_model("tam2d", classes=4, temporal_kernel=5, widths=(4, 8)).exactness
        'linear'
    """
    if architecture not in ARCHITECTURES:
        names = ", ".join(ARCHITECTURES)
        raise OptionError(f"an architecture, one of {names}", repr(architecture), "Choose one.")
    build = ARCHITECTURES[architecture]
    settled = build.keywords if isinstance(build, partial) else {}
    known = [name for name in signature(build).parameters if name not in ("classes", *settled)]
    for option in options:
        if option not in known:
            raise OptionError(
                f"options of {architecture}, of which there are {', '.join(known)}",
                repr(option),
                "Choose among them.",
            )
    with seeded_weights(seed):
        return build(classes=classes, **options).eval()
