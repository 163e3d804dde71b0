"""Metrics of scores alone: entropy, Gini index, effective frames, roughness."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from temporal_attr import DataError
from temporal_attr.evaluation import (
    EffectiveFrames,
    Entropy,
    Gini,
    TemporalRoughness,
    effective_frames,
    entropy,
    gini,
    temporal_roughness,
)
from temporal_attr.evaluation._metric import Score
from tests.helpers.checks import assert_refused, examples
from tests.helpers.scored_cases import case_of

ALL = (entropy, gini, effective_frames, temporal_roughness)
SPREAD = (entropy, lambda scores: entropy(scores, normalized=True), gini, effective_frames)
"""What only magnitudes count for, wherever they stand."""

scores_with_some = st.lists(st.integers(-4, 4), min_size=2, max_size=9).filter(any)


def near(value):
    return pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("level", [1.0, -0.1, 3e307])
def test_equal_magnitudes(count, level):
    scores = np.full(count, level)
    assert entropy(scores) == near(math.log(count))
    assert effective_frames(scores) == pytest.approx(count, rel=1e-12)
    assert effective_frames(scores) <= count
    assert gini(scores) == 0
    assert temporal_roughness(scores) == 0
    normalized = entropy(scores, normalized=True)
    assert math.isnan(normalized) if count == 1 else normalized == near(1)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("level", [1.0, -0.1, 3e307, 5e-324])
def test_one_feature_with_all(count, level):
    scores = np.zeros(count)
    scores[count // 2] = level
    assert entropy(scores) == 0
    assert effective_frames(scores) == 1
    assert gini(scores) == near(1 - 1 / count)
    # Up and down, where it has neighbours on both sides.
    assert temporal_roughness(scores) == {1: 0, 2: 1}.get(count, 2)


def test_by_hand():
    scores = np.array([1.0, 0.0, -2.0, 1.0])
    assert entropy(scores) == near(1.5 * math.log(2))
    assert entropy(scores, normalized=True) == near(0.75)
    assert effective_frames(scores) == near(2**1.5)
    # Magnitudes 0, 1, 1, 2, by the formula of the docstring, and its value.
    shares = np.array([0, 0.25, 0.25, 0.5])
    assert gini(scores) == near(1 - 2 * (shares * (4 - np.arange(1, 5) + 0.5) / 4).sum())
    assert gini(scores) == near(0.375)
    assert temporal_roughness(scores) == near((1 + 2 + 3) / 4)


def test_the_roughest_scores():
    assert temporal_roughness(np.array([0.0, 3.0, -1.0, 0.0, 2.0, -7.0, 0.0])) == near(2)
    # Ends that are not 0 change once less.
    assert temporal_roughness(np.array([1.0, -1.0])) == 1
    assert temporal_roughness(np.array([1.0, -1.0, 1.0, -1.0])) == near(1.5)
    assert temporal_roughness(np.arange(5.0)) == near(4 / 10)


@given(scores_with_some, st.sampled_from([-1.0, 1e-300, 1e300, 0.3]))
@examples(30)
def test_neither_unit_nor_sign_of_all_counts(scores, unit):
    scores = np.array(scores, float)
    for function in (*SPREAD, temporal_roughness):
        assert function(unit * scores) == near(function(scores))


@given(scores_with_some, st.randoms(), st.data())
@examples(30)
def test_only_magnitudes_count_and_not_their_places(scores, random, data):
    scores = np.array(scores, float)
    order = random.sample(range(len(scores)), len(scores))
    signs = [data.draw(st.sampled_from([-1, 1])) for _ in order]
    for function in SPREAD:
        assert function((signs * scores)[order]) == near(function(scores))
    assert temporal_roughness(scores[::-1].copy()) == near(temporal_roughness(scores))


@given(scores_with_some)
@examples(30)
def test_definitions_in_other_words(scores):
    scores = np.array(scores, float)
    sizes = np.abs(scores)
    assert entropy(scores) == near(scipy.stats.entropy(sizes))
    # Half the mean difference of two, over the mean.
    apart = np.abs(sizes[:, None] - sizes).mean()
    assert gini(scores) == near(apart / (2 * sizes.mean()))
    assert effective_frames(scores) == near(math.exp(entropy(scores)))
    variation = sum(abs(b - a) for a, b in itertools.pairwise(scores))
    assert temporal_roughness(scores) == near(variation / sizes.sum())


@given(st.lists(st.integers(0, 9), min_size=3, max_size=9, unique=True), st.data())
@examples(30)
def test_sharing_makes_an_explanation_less_sparse(scores, data):
    scores = np.array(scores, float)
    rich, poor = scores.argmax(), data.draw(st.integers(0, len(scores) - 1))
    shared = scores.copy()
    given_ = min(0.25 * (scores[rich] - scores[poor]), 1)
    shared[rich] -= given_
    shared[poor] += given_
    if poor != rich:
        assert gini(shared) < gini(scores)
        assert entropy(shared) > entropy(scores)


@given(scores_with_some, st.integers(2, 4))
@examples(30)
def test_copies_of_all_features(scores, copies):
    scores = np.array(scores, float)
    many = np.tile(scores, copies)
    assert gini(many) == near(gini(scores))
    assert entropy(many) == near(entropy(scores) + math.log(copies))


@given(scores_with_some)
@examples(30)
def test_values_are_within_their_range(scores):
    scores = np.array(scores, float)
    count = len(scores)
    assert 0 <= entropy(scores) <= math.log(count)
    assert 0 <= entropy(scores, normalized=True) <= 1
    assert 0 <= gini(scores) <= 1 - 1 / count
    assert 1 <= effective_frames(scores) <= count
    assert 0 <= temporal_roughness(scores) <= 2


def test_metrics_judge_frames_or_pixels():
    random = np.random.default_rng(0)
    frames, pixels = random.normal(size=5), random.normal(size=(5, 2, 3))
    case = case_of(frames, pixels)
    assert Entropy().score(case) == Score(entropy(frames))
    assert Entropy("pixels").score(case) == Score(entropy(pixels.ravel()))
    normalized = Entropy("pixels", normalized=True).score(case)
    assert normalized == Score(entropy(pixels, normalized=True))
    assert Gini().score(case) == Score(gini(frames))
    assert Gini("pixels").score(case) == Score(gini(pixels))
    assert EffectiveFrames().score(case) == Score(effective_frames(frames))
    assert TemporalRoughness().score(case) == Score(temporal_roughness(frames))
    values = {entropy(frames), entropy(pixels), gini(frames), gini(pixels)}
    assert len(values) == 4


@pytest.mark.parametrize(
    "metric", [Entropy(), Entropy(normalized=True), Gini(), EffectiveFrames(), TemporalRoughness()]
)
def test_nothing_is_said_of_scores_that_are_all_zero(metric):
    found = metric.score(case_of(np.zeros(4)))
    assert math.isnan(found.value)
    assert found.note == "all scores are 0"


def test_a_single_score_has_no_normalized_entropy():
    found = Entropy(normalized=True).score(case_of(np.ones(1)))
    assert math.isnan(found.value)
    assert found.note == "there is a single score only"
    assert Entropy().score(case_of(np.ones(1))) == Score(0.0)


def quantus_of(name, scores):
    """What a metric of Quantus says of a single frame."""
    metrics = pytest.importorskip("quantus").metrics
    metric = getattr(metrics, name)(abs=True, normalise=False, disable_warnings=True)
    frame = np.abs(scores)[None, None].copy()
    (found,) = metric.evaluate_batch(x_batch=frame.copy(), a_batch=frame.copy())
    return found


def test_agrees_with_quantus_on_a_frame():
    scores = np.random.default_rng(0).normal(size=(8, 9))
    # It adds 1e-12 to each share within the logarithm, and 1e-7 to each magnitude.
    assert entropy(scores) == pytest.approx(quantus_of("Complexity", scores), abs=1e-10)
    assert gini(scores) == pytest.approx(quantus_of("Sparseness", scores), abs=1e-6)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("function", ALL)
def test_what_has_no_complexity(function):
    assert_refused(DataError, "1 of 2 NaN or infinite", function, np.array([1.0, np.inf]))
    assert_refused(DataError, "at least one feature, got none", function, np.empty(0))
    assert_refused(DataError, "array of floats.*got a list", function, [1.0, 2.0])
    assert_refused(DataError, "array of floats.*got an array of int", function, np.arange(3))


@pytest.mark.usefixtures("as_user")
def test_cases_without_the_scores():
    only_frames, only_pixels = case_of(np.ones(3)), case_of(pixels=np.ones((3, 2, 2)))
    for metric in (Entropy("pixels"), Gini("pixels")):
        assert_refused(DataError, "scores of pixels", metric.score, only_frames)
    for metric in (Entropy(), Gini(), EffectiveFrames(), TemporalRoughness()):
        assert_refused(DataError, "scores of frames", metric.score, only_pixels)
    assert_refused(DataError, r"got an array", effective_frames, np.ones((3, 2)))
    assert_refused(DataError, r"got an array", temporal_roughness, np.ones((3, 2)))
