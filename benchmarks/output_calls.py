"""What `output_hashes.py` asks of a model: every method, with its options."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from torch import Tensor

from temporal_attr import (
    LRP,
    Blocks,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    Pixels,
    ShuffleProbe,
    Superpixels,
    Supervoxels,
    TemporalGradient,
)
from temporal_attr.clips import BlockShuffle, LocalShuffle, Reversal
from temporal_attr.evaluation import accuracy_by_window, windowed_logits
from temporal_attr.relevance import Box, Composite, Epsilon, Flat, Gamma, WSquare

Outputs: TypeAlias = dict[str, Tensor]
Call: TypeAlias = Callable[[], Outputs]
Options: TypeAlias = dict[str, Any]

N_STEPS: Options = {"method_arguments": {"n_steps": 3}}
"""Of integrated gradients."""

# --- What is asked of the methods, and the names of what they return -----------------------------

OBJECTIVES: tuple[Any, ...] = ("logit", "probability", "log_probability", "loss")
PATHS: dict[str, Options] = {
    "whole": {"memory": "whole"},
    "framewise": {"memory": "framewise", "chunk_size": 3},
    "checkpoint": {"memory": "checkpoint"},
    "offload": {"memory": "offload"},
    "half": {"memory": "half"},
    "auto": {"chunk_size": 5},
}
GRADIENT_FIELDS = (
    "logits",
    "attribution",
    "frame_scores",
    "influence",
    "step_logits",
    "step_weights",
)

PROBES: dict[str, Options] = {
    "plain": {},
    "l1": {"reduction": "l1"},
    "max": {"reduction": "max", "chunk_size": 4},
    "reversal": {"shuffling": Reversal(), "shuffles": 1},
    "blocks": {"shuffling": BlockShuffle(2), "seed": 3},
    "local": {"shuffling": LocalShuffle(2)},
}
FOREIGN: Options = {"reduction": lambda attribution: attribution.abs().sum((2, 3, 4))}
SEGMENTS: tuple[Options, Options] = ({"segment": 4, "segment_overlap": 0.5}, {"segments": True})
"""Of the probe, and of its `explain`."""
MEASURES = (
    "mrr",
    "relative_drop",
    "flow_correlation_drop",
    "static_ratio",
    "median_log_ratio",
    "rising_share",
    "logit_drop",
    "probability_drop",
    "rank_correlation",
    "p_value",
    "logit_p_value",
    "left_out",
)
PROBE_FIELDS = ("ratios", "ordered_scores", "shuffled_scores", "permutations", "shuffled_logits")

ONE_STEP: dict[str, Options] = {
    "zero": {},
    "mean": {"baselines": "mean"},
    "blur": {"baselines": "blur"},
    "neighbour": {"baselines": "neighbour"},
    "number": {"baselines": 0.5, "normalize": True},
    "window": {"window": 2},
    "window_neighbour": {"window": 2, "baselines": "neighbour"},
    "quantile": {"quantile": 0.55},
    "seed": {"seed": 1},
    "few": {"perturbations_per_eval": 3},
}
TWO_STEPS: dict[str, Options] = {
    "pixels": {"feature_mask": Pixels(), "quantile": 1.0},
    "blocks": {"feature_mask": Blocks(8, 6), "quantile": 0.55},
    "blocks_all": {"feature_mask": Blocks(8, 8), "perturbations_per_eval": 3},
    "blocks_neighbour": {"feature_mask": Blocks(8, 8), "baselines": "neighbour", "window": 2},
    "blocks_scaled": {"feature_mask": Blocks(8, 8), "normalize": True, "baselines": "blur"},
    "superpixels": {"feature_mask": Superpixels(n_segments=6), "quantile": 0.55},
    "supervoxels": {"feature_mask": Supervoxels(n_segments=6), "quantile": 0.55},
}


def with_mask(mask: Tensor) -> Options:
    """Two steps over the features of a tensor."""
    return {"steps": "two", "feature_mask": mask, "quantile": 0.55}


def with_baseline(baseline: Tensor) -> Options:
    """One step, in which this tensor shows where a frame is masked."""
    return {"baselines": baseline}


def segments_of(found: Any) -> Sequence[Any]:  # noqa: ANN401
    """The segments of each clip, if the probe was asked for them."""
    return found.segments or ()


TSR_FIELDS = (
    "attribution",
    "base",
    "frame_scores",
    "time_contribution",
    "accuracy_contribution",
    "kept",
    "keyframes",
)

COMPOSITES: dict[str, Composite] = {
    "default": Composite(),
    "no_input_rule": Composite(input=None),
    "epsilon": Composite(input=None, convolution=Epsilon(1e-6), linear=Epsilon(1e-6)),
    "gamma": Composite(input=Box(-9.0, 9.0), convolution=Gamma(0.25), linear=Gamma(0.5)),
    "merge": Composite(batch_norm="merge"),
    "merge_epsilon": Composite(input=WSquare(), convolution=Epsilon(0.01), batch_norm="merge"),
    "flat": Composite(input=Flat(), pooling=Epsilon(1e-3), sum_epsilon=1e-3),
}
LRP_FIELDS = ("attribution", "frame_scores", "convergence_delta")
MATRICES: dict[str, Options] = {
    "contrastive": {},
    "plain": {"contrastive": False, "sigma": 0.5},
    "two_rows": {"rows_per_backward": 2},
    "merge": {"contrastive": False, "composite": COMPOSITES["merge"]},
}
MATRIX_FIELDS = (
    "matrix",
    "frame_matrix",
    "step_logits",
    "step_weights",
    "ranges",
    "avg_atr",
    "max_atr",
    "row_error",
    "row_relevance",
)
BY_TWO: Options = {"perturbations_per_eval": 2}
"""Of the evaluation with windows."""

# --- The calls -----------------------------------------------------------------------------------

Kind: TypeAlias = Callable[[Any], Any]
"""From a model to a method."""
EPSILON_LRP: Kind = partial(LRP, composite=COMPOSITES["epsilon"])
RESCALED: dict[str, tuple[Kind, Options]] = {
    "saliency": (Saliency, {}),
    "input_x_gradient": (InputXGradient, {}),
    "integrated_gradients": (IntegratedGradients, N_STEPS),
    "lrp": (EPSILON_LRP, {}),
}
NO_FLOW: Options = {"flow": None}
SHUFFLED: dict[str, tuple[Kind, Options, Options]] = {
    "foreign": (TemporalGradient, FOREIGN, {}),
    "probability": (partial(TemporalGradient, objective="probability"), {}, NO_FLOW),
    "loss": (partial(TemporalGradient, objective="loss"), {}, NO_FLOW),
    "checkpoint": (partial(TemporalGradient, memory="checkpoint"), {}, NO_FLOW),
    "framewise": (partial(TemporalGradient, memory="framewise"), {}, NO_FLOW),
    "saliency": (Saliency, {}, {}),
    "integrated_gradients": (IntegratedGradients, N_STEPS, {"flow": "dis"}),
    "lrp": (EPSILON_LRP, {}, NO_FLOW),
}


@dataclass(frozen=True)
class Subject:
    """A model, and what it is asked about."""

    model: Any
    clip: Tensor
    target: Tensor
    arguments: Any = None

    def attribute(self, kind: Kind) -> Outputs:
        """What a method attributes."""
        given = {"target": self.target, "additional_forward_args": self.arguments}
        return {"attribute": kind(self.model).attribute(self.clip, **given)}

    def explain(self, kind: Kind, names: Sequence[str], **options: Any) -> Outputs:  # noqa: ANN401
        """These fields of what a method finds."""
        return fields(self.result(kind, **options), names)

    def result(self, kind: Kind, **options: Any) -> Any:  # noqa: ANN401
        """What a method finds."""
        given = {"target": self.target, "additional_forward_args": self.arguments, **options}
        return kind(self.model).explain(self.clip, **given)


Calls: TypeAlias = Iterator[tuple[str, Call]]


def fields(result: Any, names: Sequence[str]) -> Outputs:  # noqa: ANN401
    """The fields of a result that are there."""
    found = {name: getattr(result, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def in_one(values: Sequence[Tensor]) -> Tensor:
    """Numbers of any type side by side, in double precision."""
    return torch.stack([value.double() for value in values], -1)


def of_measures(values: dict[str, Tensor]) -> Tensor:
    """Those measures that are there, side by side."""
    return in_one([values[name] for name in MEASURES if name in values])


def gradient_calls(subject: Subject) -> Calls:
    """The gradient: objectives, and memory paths in both precisions."""
    for objective in OBJECTIVES:
        kind = partial(TemporalGradient, objective=objective)
        yield f"gradient/{objective}", partial(subject.attribute, kind)
    for precision, name in ((torch.float64, "float64"), (torch.float32, "float32")):
        model = copy.deepcopy(subject.model).to(precision)
        cast = replace(subject, model=model, clip=subject.clip.to(precision))
        for path, options in PATHS.items():
            kind = partial(TemporalGradient, **options)
            yield f"gradient/{name}/{path}", partial(cast.explain, kind, GRADIENT_FIELDS)


def probe_of(kind: Kind | None, options: Options, model: Any) -> ShuffleProbe:  # noqa: ANN401
    """The probe of a method, or of the model's gradient."""
    return ShuffleProbe(kind(model) if kind else model, **{"shuffles": 4, **options})


def shuffled(
    subject: Subject, kind: Kind | None, own: Options, shown: Options | None = None
) -> Outputs:
    """What a probe finds, with its numbers for a clip in one tensor."""
    found = subject.result(partial(probe_of, kind, own), **(shown or {}))
    outputs = fields(found, (*PROBE_FIELDS, "flow"))
    outputs["measures"] = in_one([getattr(found, name) for name in MEASURES])
    outputs["intervals"] = of_measures(found.intervals)
    for example, part in enumerate(segments_of(found)):
        means = [part.means[name] for name in MEASURES if name in part.means]
        numbers = [(mean.value, mean.low, mean.high) for mean in means]
        outputs[f"segments_{example}"] = of_measures(part.values)
        outputs[f"segment_intervals_{example}"] = of_measures(part.intervals)
        outputs[f"segment_means_{example}"] = torch.tensor(numbers, dtype=torch.float64)
        outputs[f"segment_p_{example}"] = torch.tensor([part.p_value, part.logit_p_value])
    return outputs


def curve(subject: Subject, shufflings: Sequence[Any] | None) -> Outputs:
    """The numbers over lengths."""
    probe = probe_of(None, {}, subject.model)
    found = probe.curve(subject.clip, subject.target, shufflings=shufflings)
    return {
        "values": of_measures(found.values),
        "intervals": of_measures(found.intervals),
        "orders": torch.tensor(found.orders),
    }


def probe_calls(subject: Subject) -> Calls:
    """Shuffling: of the gradient, of other methods, over lengths and segments."""
    yield "probe/attribute", partial(subject.attribute, partial(probe_of, None, {}))
    for name, options in PROBES.items():
        yield f"probe/{name}", partial(shuffled, subject, None, options)
    yield "probe/segments", partial(shuffled, subject, None, *SEGMENTS)
    for name, settings in SHUFFLED.items():
        yield f"probe/{name}", partial(shuffled, subject, *settings)
    yield "probe/curve", partial(curve, subject, None)
    yield "probe/curve_local", partial(curve, subject, [LocalShuffle(1), LocalShuffle(3)])


def tsr_of(kind: Kind, options: Options, model: Any) -> FrameMaskingTSR:  # noqa: ANN401
    """The rescaled method."""
    return FrameMaskingTSR(kind(model), **options)


def above_mean(subject: Subject) -> Outputs:
    """Rescaling with the mean of the scores as the threshold, which is near none of them."""
    scores = subject.result(partial(tsr_of, TemporalGradient, {})).frame_scores
    options = {"threshold": scores.mean().item()}
    return subject.explain(partial(tsr_of, TemporalGradient, options), TSR_FIELDS)


def tsr_calls(subject: Subject) -> Calls:
    """Rescaling: one step and two, of several methods."""

    def rescaled(kind: Kind, options: Options) -> Call:
        return partial(subject.explain, partial(tsr_of, kind, options), TSR_FIELDS)

    height, width = subject.clip.shape[3:]
    quarter = 2 * (torch.arange(height) >= height // 3)[:, None] + (torch.arange(width) >= 5)
    mask, baseline = with_mask(quarter), with_baseline(subject.clip.flip(1))
    for name, options in (*ONE_STEP.items(), ("tensor", baseline)):
        yield f"tsr/one/{name}", rescaled(TemporalGradient, options)
    yield "tsr/one/threshold", partial(above_mean, subject)
    yield "tsr/two/mask", rescaled(TemporalGradient, mask)
    for name, options in TWO_STEPS.items():
        yield f"tsr/two/{name}", rescaled(TemporalGradient, {"steps": "two", **options})
    for name, (kind, options) in RESCALED.items():
        yield f"tsr/{name}/one", rescaled(kind, options)
        yield f"tsr/{name}/neighbour", rescaled(kind, {**options, **ONE_STEP["neighbour"]})
        yield f"tsr/{name}/two", rescaled(kind, {**options, **mask})


def relevance_calls(subject: Subject) -> Calls:
    """Relevance of the clip, and of each timestep."""
    for name, composite in COMPOSITES.items():
        kind = partial(LRP, composite=composite)
        yield f"lrp/{name}", partial(subject.explain, kind, LRP_FIELDS)
    yield "matrix/attribute", partial(subject.attribute, ContrastiveLRPTemporal)
    for name, options in MATRICES.items():
        kind = partial(ContrastiveLRPTemporal, **options)
        yield f"matrix/{name}", partial(subject.explain, kind, MATRIX_FIELDS, rows=(0,))


def window_calls(subject: Subject) -> Calls:
    """What the model predicts if its timesteps see windows only."""
    model, clip = subject.model, subject.clip

    def windowed(windows: Any, options: Options) -> Outputs:  # noqa: ANN401
        return {"logits": windowed_logits(model, clip, windows, **options)}

    def by_timestep() -> Outputs:
        steps = model.frame_logits(clip).logits.shape[1] // model.merged_steps
        return windowed(torch.arange(1, 1 + steps).expand(len(clip), steps), {})

    def accuracy() -> Outputs:
        found = accuracy_by_window(model, [(clip, subject.target)], [1, 2, 5], **BY_TWO)
        return {"accuracy": torch.tensor([*found.accuracy, found.full])}

    for size in (1, 3):
        yield f"windows/{size}", partial(windowed, size, {})
    yield "windows/by_two", partial(windowed, 3, BY_TWO)
    yield "windows/by_timestep", by_timestep
    yield "windows/accuracy", accuracy


def function_calls(subject: Subject) -> Calls:
    """The same of a plain function of a clip and another tensor."""
    given = torch.linspace(0.5, 0.9, len(subject.clip)).double()[:, None, None, None, None]
    model = subject.model
    own = replace(subject, model=lambda clip, scale: model(clip * scale), arguments=given)
    mask = with_mask((torch.arange(16) // 6)[:, None].expand(16, 16))
    yield "function/gradient", partial(own.attribute, TemporalGradient)
    yield (
        "function/explain",
        partial(own.explain, TemporalGradient, GRADIENT_FIELDS, influence=False),
    )
    yield "function/probe", partial(shuffled, own, None, {}, NO_FLOW)
    yield "function/probe_of_saliency", partial(shuffled, own, Saliency, {}, NO_FLOW)
    for name, options in (("one", {}), ("two", mask)):
        kind = partial(tsr_of, TemporalGradient, options)
        yield f"function/tsr/{name}", partial(own.explain, kind, TSR_FIELDS)
    yield "function/lrp", partial(own.explain, EPSILON_LRP, LRP_FIELDS)


def output_calls(subject: Subject) -> Calls:
    """All that can be asked."""
    yield "logits", lambda: {"logits": subject.model(subject.clip)}
    yield from gradient_calls(subject)
    yield from probe_calls(subject)
    yield from tsr_calls(subject)
    yield from relevance_calls(subject)
    yield from window_calls(subject)
    yield from function_calls(subject)
