"""The registry of methods. A method joins the contract suite with one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from captum.attr import Attribution

from temporal_attr import (
    LRP,
    Blocks,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    ShuffleProbe,
    TemporalGradient,
    frame_scores,
)
from temporal_attr.clips import IDENTITY
from temporal_attr.relevance import Box, Composite

# The clips of the suite are no pixels, and noise is added to them.
WIDE = Composite(input=Box(low=-9.0, high=9.0))


@dataclass(frozen=True)
class Method:
    """A method, and what its attribution promises.

    Attributes:
        build: From a model to the method, with a chunk size or None.
        input_shaped: Whether the attribution is shaped like the clip.
        takes_functions: Whether the method takes a function in place of a `VideoModel`.
        framewise_only: Whether it needs a `FramewiseModel`.
        is_sensitivity: Whether it says what a small change of the input would do to the logit.
    """

    name: str
    build: Callable[..., Attribution]
    input_shaped: bool = True
    takes_functions: bool = True
    framewise_only: bool = False
    is_sensitivity: bool = True


METHODS = [
    Method(
        "temporal_gradient", lambda model, chunk=None: TemporalGradient(model, chunk_size=chunk)
    ),
    Method(
        "temporal_gradient_probability",
        lambda model, chunk=None: TemporalGradient(model, "probability", chunk_size=chunk),
        is_sensitivity=False,
    ),
    Method(
        "temporal_gradient_framewise",
        lambda model, chunk=None: TemporalGradient(model, memory="framewise", chunk_size=chunk),
        takes_functions=False,
        framewise_only=True,
    ),
    Method("lrp", lambda model, chunk=None: LRP(model, WIDE), is_sensitivity=False),
    Method(
        "contrastive_lrp",
        lambda model, chunk=None: ContrastiveLRPTemporal(
            model, composite=WIDE, rows_per_backward=chunk
        ),
        input_shaped=False,
        takes_functions=False,
    ),
    Method(
        "lrp_temporal",
        lambda model, chunk=None: ContrastiveLRPTemporal(
            model, contrastive=False, composite=WIDE, rows_per_backward=chunk
        ),
        input_shaped=False,
        takes_functions=False,
    ),
    Method(
        "shuffle_probe",
        lambda model, chunk=None: ShuffleProbe(
            model, shuffles=5, normalization=IDENTITY, chunk_size=chunk
        ),
        input_shaped=False,
    ),
    Method(
        "shuffle_probe_of_a_method",
        lambda model, chunk=None: ShuffleProbe(
            TemporalGradient(model),
            shuffles=3,
            reduction=frame_scores,
            normalization=IDENTITY,
            chunk_size=chunk,
        ),
        input_shaped=False,
    ),
    Method(
        "tsr",
        lambda model, chunk=None: FrameMaskingTSR(
            TemporalGradient(model), perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
    ),
    Method(
        "tsr_in_two_steps",
        lambda model, chunk=None: FrameMaskingTSR(
            TemporalGradient(model), "two", Blocks(8, 16), perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
    ),
]
