"""What all metrics of faithfulness keep to: errors, passes, and whatever is the user's own."""

import math

import numpy as np
import pytest
import torch

from temporal_attr._errors import ClipError, DataError, ModelError, OptionError, TargetError
from temporal_attr.evaluation._case import Case, Explanation
from temporal_attr.evaluation.faithfulness import (
    ABPC,
    FAITHFULNESS,
    ROAD,
    AverageDrop,
    Deletion,
    Infidelity,
    Insertion,
    LeaveOneOut,
    MinimalNecessaryFrames,
    MinimalSufficientFrames,
    SaCo,
    SensitivityN,
    shared_clips,
)
from temporal_attr.perturbations import Pixels, Superpixels, Tubes
from temporal_attr.zoo import build_model
from tests.helpers.checks import assert_refused

OF_PIXELS = {Infidelity, ROAD}


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build_model("gru", classes=3, widths=(4, 8)).eval()


def case_of(network, **options):
    clip = drawn(1, 6, 3, 16, 16)
    explanation = Explanation(drawn(6, seed=1), drawn(6, 3, 16, 16, seed=2))
    return Case(network, clip, 1, explanation, **options)


def bare(network):
    """A function of clips, of which nothing is known."""

    def function(clip):
        return network(clip)

    return function


def state_of(network, case):
    """Everything of the user's that a metric could change."""
    tensors = [*network.state_dict().values(), case.clip]
    tensors += [case.explanation.frame_scores, case.explanation.attribution]
    flags = [one.requires_grad for one in network.parameters()]
    hooks = [len(one._forward_hooks) for one in network.modules()]
    kind, keys, *rest = np.random.get_state()
    streams = [torch.get_rng_state().tolist(), (kind, keys.tolist(), *rest)]
    return [one.clone().tolist() for one in tensors], flags, hooks, streams


@pytest.mark.parametrize("metric", FAITHFULNESS)
def test_the_users_own_is_left_alone_and_a_seed_gives_a_number(network, metric):
    case = case_of(network, seed=3)
    before = state_of(network, case)
    first, again = metric().score(case), metric().score(case)
    assert state_of(network, case) == before
    assert not any(one.grad is not None for one in network.parameters())
    assert first == again or (math.isnan(first.standard_error) and first.value == again.value)
    traits = metric.traits
    assert math.isfinite(first.value) or first.note
    assert not first.value < traits.lowest
    assert not first.value > traits.highest
    assert first.forward_passes > 0


@pytest.mark.parametrize(
    ("metric", "frames"),
    [
        # Six frames, and their mean where none is left.
        (Deletion(), 7),
        (Insertion(), 7),
        (ABPC(), 7),
        (MinimalSufficientFrames(), 6),
        (MinimalNecessaryFrames(), 7),
        (SensitivityN(n=3), 6),
        (SaCo(), 6),
        # Those, and others by number.
        (Deletion(baselines="blur"), 12),
        (Deletion(baselines=0.0), 7),
        # Once for each baseline.
        (LeaveOneOut(), 6 + 12),
        # Six masked ones.
        (AverageDrop(), 12),
        # A frame is in one tube: as it is, and without it.
        (SaCo(Tubes(6, 1, 1)), 12),
        (Infidelity(samples=5), 36),
        (ROAD((0.2, 0.4)), 18),
    ],
)
def test_frames_of_a_framewise_model_are_encoded_once(network, metric, frames, monkeypatch):
    case = case_of(network)
    metric.score(case)  # tries the model, once a model
    seen = []
    encode = type(network).encode
    monkeypatch.setattr(
        type(network),
        "encode",
        lambda self, given: (seen.append(len(given)), encode(self, given))[1],
    )
    found = metric.score(case)
    assert found.forward_passes == pytest.approx(frames / 6, abs=1e-12)
    assert sum(seen) - frames <= 2 * 6  # a changed method is tried again


@pytest.mark.parametrize("baselines", ["neighbour", "blur", 0.0])
def test_a_framewise_model_gives_what_it_gives_clip_by_clip(network, baselines):
    case = case_of(network)
    plain = Case(bare(network), case.clip, 1, case.explanation)
    for metric in (Deletion(baselines=baselines), SensitivityN(n=2, baselines=baselines)):
        ours, theirs = metric.score(case), metric.score(plain)
        assert ours.value == pytest.approx(theirs.value, abs=1e-4)
        assert ours.forward_passes < theirs.forward_passes


def test_perturbed_clips_are_shared_between_metrics_of_a_case(network):
    case = Case(bare(network), case_of(network).clip, 1, case_of(network).explanation)
    metrics = [Deletion(), Insertion(), ABPC(), MinimalNecessaryFrames(), LeaveOneOut(), SaCo()]
    apart = [metric.score(case) for metric in metrics]
    with shared_clips():
        together = [metric.score(case) for metric in metrics]
        other = Deletion().score(case_of(network))
    for one, same in zip(together, apart, strict=True):
        # Batches of another size are summed in another order.
        assert one.value == pytest.approx(same.value, abs=1e-6, nan_ok=True)
    assert together[0].forward_passes == apart[0].forward_passes == 7
    # Keeping the k highest; of the area between curves all but the least first are known.
    assert [one.forward_passes for one in together[1:4]] == [5, 0, 0]
    assert other.forward_passes > 0
    assert Deletion().score(case).forward_passes == 7


def test_names_say_what_is_removed_and_what_is_not_usual():
    assert Deletion().name == "deletion-frames"
    assert Deletion(Tubes(), baselines=0.0).name == "deletion-tubes(baselines=0.0)"
    assert (
        LeaveOneOut(ceiling_baselines="mean").name == "leave-one-out-frames(ceiling_baselines=mean)"
    )


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("metric", FAITHFULNESS)
def test_an_explanation_of_another_clip_is_refused(network, metric):
    case = case_of(network)
    short = Explanation(drawn(5), drawn(5, 3, 16, 16))
    wrong = Case(network, case.clip, 1, short)
    assert_refused(DataError, "as the clip has", metric().score, wrong)
    other = (
        Explanation(drawn(6))
        if metric in OF_PIXELS
        else Explanation(attribution=drawn(6, 3, 16, 16))
    )
    without = Case(network, case.clip, 1, other)
    text = "attribution of pixels|scores of (frames|pixels)"
    assert_refused(DataError, text, metric().score, without)


@pytest.mark.parametrize("metric", FAITHFULNESS)
def test_models_and_targets_that_do_not_fit_are_refused(network, metric):
    case = case_of(network)
    unknown = Case(network, case.clip, 3, case.explanation)
    assert_refused(TargetError, "from 0 to 2", metric().score, unknown)
    network.train()
    try:
        assert_refused(ModelError, "evaluation mode", metric().score, case)
    finally:
        network.eval()
    broken = Case(lambda clip: clip.mean((2, 3, 4)) * torch.nan, case.clip, 1, case.explanation)
    with pytest.raises(ModelError, match="NaN|number"):
        metric().score(broken)


@pytest.mark.usefixtures("as_user")
def test_options_outside_their_range_are_refused():
    for metric in (Deletion, Insertion, ABPC, SensitivityN, LeaveOneOut, SaCo):
        assert_refused(OptionError, "objective to be", metric, objective="loss")
        assert_refused(OptionError, "features to be", metric, features=3)
        assert_refused(OptionError, "baselines", metric, baselines="grey")
        assert_refused(OptionError, "value for every pixel", metric, Tubes(), "neighbour")
        assert_refused(OptionError, "baselines", metric, Tubes(), "removal")
    assert_refused(OptionError, "order to be", Deletion, order="last")
    assert_refused(OptionError, "order to be", ROAD, order="last")
    assert_refused(OptionError, "steps", Deletion, steps=0)
    assert_refused(OptionError, "samples", SensitivityN, samples=1)
    assert_refused(OptionError, "n a whole number", SensitivityN, n=0)
    assert_refused(OptionError, "n to be a number, or several", SensitivityN, n=())
    assert_refused(OptionError, "groups", SaCo, groups=1)
    assert_refused(OptionError, "threshold", MinimalNecessaryFrames, threshold=2.0)
    assert_refused(OptionError, "value for every pixel", AverageDrop, baselines="neighbour")
    assert_refused(OptionError, "samples", Infidelity, samples=1)
    assert_refused(
        OptionError, "value for every pixel", LeaveOneOut, Tubes(), ceiling_baselines="neighbour"
    )


def test_options_that_do_not_fit_the_clip_are_refused(network):
    case = case_of(network)
    assert_refused(OptionError, "n a whole number from 1 to 6", SensitivityN(n=7).score, case)
    plain = Case(bare(network), case.clip, 1, case.explanation)
    assert_refused(ModelError, "normalization", Deletion(Superpixels()).score, plain)
    assert_refused(
        ClipError, "baselines that fit", Deletion(baselines=drawn(1, 5, 3, 1, 1)).score, case
    )
    six = Case(lambda clip: clip.mean((2, 3, 4)) @ drawn(6, 3), case.clip, 1, case.explanation)
    removal = Deletion(baselines="removal")
    assert_refused(ClipError, "takes clips of 1 frame", removal.score, six)
    assert Deletion(Pixels(), steps=2).score(case).forward_passes == pytest.approx(3)
