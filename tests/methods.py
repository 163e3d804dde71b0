"""The registry of methods. A method joins the contract suite with one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from captum.attr import Attribution

from temporal_attr import TemporalGradient


@dataclass(frozen=True)
class Method:
    """A method, and what its attribution promises.

    Attributes:
        build: From a model to the method, with a chunk size or None.
        input_shaped: Whether the attribution is shaped like the clip.
        takes_functions: Whether the method takes a function in place of a `VideoModel`.
    """

    name: str
    build: Callable[..., Attribution]
    input_shaped: bool = True
    takes_functions: bool = True


METHODS = [
    Method(
        "temporal_gradient", lambda model, chunk=None: TemporalGradient(model, chunk_size=chunk)
    ),
    Method(
        "temporal_gradient_probability",
        lambda model, chunk=None: TemporalGradient(model, "probability", chunk_size=chunk),
    ),
    Method(
        "temporal_gradient_framewise",
        lambda model, chunk=None: TemporalGradient(model, memory="framewise", chunk_size=chunk),
        takes_functions=False,
    ),
]
