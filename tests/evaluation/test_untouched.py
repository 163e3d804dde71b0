"""What metrics that ask a method again leave alone: the model, the clip, the random streams."""

import numpy as np
import pytest
import torch

from temporal_attr import Preprocessing
from temporal_attr.evaluation import robustness, sanity
from temporal_attr.evaluation._metric import Metric
from tests.helpers.families import family
from tests.helpers.judged import gradient, judged, random_clip

pytestmark = pytest.mark.usefixtures("one_thread")

METRICS = [
    kind
    for room in (sanity, robustness)
    for kind in (getattr(room, name) for name in room.__all__)
    if isinstance(kind, type) and issubclass(kind, Metric)
]


def test_every_metric_of_the_two_families_is_here():
    assert len(METRICS) == 17
    assert {kind.traits.family for kind in METRICS} == {"sanity", "robustness"}
    assert all(kind.traits.family == kind.__module__.split(".")[2] for kind in METRICS)


def lived_in_model():
    """With gradients, hooks, a frozen parameter, and a part in training mode, which it ignores."""
    model = family("lstm_last").build()[0].double()
    model.preprocessing = Preprocessing()
    model(random_clip((6, 3, 16, 16))).sum().backward()
    model.encoder[0].bias.requires_grad_(False)
    model.classifier.train()
    model.encoder[0].register_forward_hook(lambda *_: None)
    model.classifier.register_forward_pre_hook(lambda *_: None)
    return model


def state(model, clip):
    """Everything that could change, as plain values."""
    return (
        {name: value.clone() for name, value in model.state_dict().items()},
        {
            name: None if one.grad is None else one.grad.clone()
            for name, one in model.named_parameters()
        },
        [(id(one), one.requires_grad, one._version) for one in model.parameters()],
        [(name, id(part), part.training) for name, part in model.named_modules()],
        [
            (list(part._forward_hooks.values()), list(part._forward_pre_hooks.values()))
            for part in model.modules()
        ],
        [sorted(vars(part)) for part in model.modules()],
        clip.clone(),
        (torch.get_rng_state(), np.random.get_state()[1].copy(), np.random.get_state()[2]),
        (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_num_threads()),
    )


def brief(kind, **options):
    """A metric with as little to do as still shows what it does."""
    few = {"samples": 2, "steps": 2, "runs": 2, "orders": 2}
    return kind(**{name: few[name] for name in few if hasattr(kind, name)}, **options)


def alike(first, second):
    """Equality, also of tensors and arrays."""
    if isinstance(first, torch.Tensor | np.ndarray):
        return bool((first == second).all())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(alike(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(alike, first, second))
    return first == second


@pytest.mark.parametrize("fails", [False, True], ids=["success", "failure"])
@pytest.mark.parametrize("kind", METRICS, ids=lambda kind: kind.__name__)
def test_a_metric_leaves_the_model_the_clip_and_random_streams_alone(kind, fails):
    model, clip = lived_in_model(), random_clip((6, 3, 16, 16))
    asked = []

    def method(explained, shown, target, seed):
        asked.append(explained)
        if fails and len(asked) > 1:
            raise ZeroDivisionError("on purpose")
        return gradient(explained, shown, target, seed)

    case = judged(method, model, clip, target=1)
    before = state(model, clip)
    if fails:
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            brief(kind).score(case)
    else:
        assert np.isfinite(brief(kind).score(case).value)
    assert len(asked) > 1
    for now, then in zip(state(model, clip), before, strict=True):
        assert alike(now, then)


DRAWING = [
    sanity.CascadingRandomization,
    sanity.IndependentRandomization,
    sanity.SmoothRandomization,
    sanity.EfficientRandomization,
    robustness.MaxSensitivity,
    robustness.AverageSensitivity,
    robustness.LocalLipschitz,
]


@pytest.mark.parametrize("kind", DRAWING, ids=lambda kind: kind.__name__)
def test_the_same_seed_gives_the_same_score_and_another_does_not(kind):
    model, clip = lived_in_model(), random_clip((6, 3, 16, 16))
    metric = brief(kind, of="pixels")
    first, again, other = (
        metric.score(judged(gradient, model, clip, target=1, seed=seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert first.curves != other.curves
