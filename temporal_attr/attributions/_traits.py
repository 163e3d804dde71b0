"""What a method is, said once: read by the command line, the README, the docs and the tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Need: TypeAlias = Literal[
    "gradients", "forward passes", "frame logits", "layers", "relevance rules"
]
"""What a method must be able to get from a model."""

Sign: TypeAlias = Literal["signed", "non-negative"]

CLIP_AXES = "batch time channel height width"


@dataclass(frozen=True)
class Traits:
    """What a method is; every method has them as `Method.traits`.

    Attributes:
        slug: Its name at the command line: the class name in kebab case.
        question: What it answers, in the reader's words.
        gives: What `attribute` returns, in a few words.
        axes: The axes of what `attribute` returns.
        sign: Whether that can be negative.
        unit: What it is measured in.
        needs: What it must be able to get from a model.
        random: Whether it draws random numbers (from its `seed`).
        takes_methods: Whether its first argument may be a method, or a model.
        sensitivity: Whether the sign of a value says which way the output moves with it, and
            nothing for or against the class. Of what takes methods: if those are none.
        cost: What `attribute` takes, in the symbols of the cost page: T frames, N timesteps, P a
            forward and a backward pass, F a forward pass.
        source: The key of its definition in the bibliography; empty if it is this library's own.

    Example:
        >>> from temporal_attr import LRP, ShuffleProbe
        >>> LRP.traits.input_shaped, ShuffleProbe.traits.input_shaped
        (True, False)
    """

    slug: str
    question: str
    gives: str
    axes: str
    sign: Sign
    unit: str
    needs: tuple[Need, ...]
    cost: str
    source: str
    random: bool = False
    takes_methods: bool = False
    sensitivity: bool = False

    @property
    def input_shaped(self) -> bool:
        """Whether the attribution is shaped like the clip, as Captum's infidelity needs it."""
        return self.axes == CLIP_AXES
