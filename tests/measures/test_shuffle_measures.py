"""Frame scores by any reduction, and the categories of a shuffled clip with their bounds."""

import math

import pytest
import torch

from temporal_attr import ClipError, DataError, OptionError, frame_scores
from temporal_attr.measures import (
    context_category,
    median_log_ratio,
    need_category,
    reliance_category,
    score_ratios,
    tracking_category,
)

NAN = math.nan


@pytest.mark.parametrize(
    ("dtype", "value"), [(torch.float32, 1e30), (torch.float32, 1e-30), (torch.float16, 1000.0)]
)
def test_norms_of_finite_values_are_finite_and_of_nan_refused(dtype, value):
    attribution = torch.full((1, 2, 3, 2, 2), value, dtype=dtype)
    found = frame_scores(attribution)
    # A handful of roundings.
    assert found.double().tolist() == [pytest.approx([value * 12**0.5] * 2, rel=1e-3)]
    attribution[0, 0] = torch.inf
    assert frame_scores(attribution)[0, 0] == torch.inf
    attribution[0, 1, 0] = NAN
    with pytest.raises(ClipError, match="got 4 of 24 NaN"):
        frame_scores(attribution)


def test_numbers_that_can_be_no_scores_or_probabilities_are_refused():
    with pytest.raises(DataError, match="a drop of a probability, from -1 to 1, got 3"):
        need_category(3.0, probability=0.5)
    ones = torch.ones(1, 1, 2)
    for ordered, shuffled in ((-ones[0], ones), (ones[0], -ones)):
        with pytest.raises(DataError, match="scores of 0 or more, got -1"):
            score_ratios(ordered, shuffled)
    with pytest.raises(DataError, match="ratios of 0 or more, got -1"):
        median_log_ratio(-ones)


def test_a_function_reduces_an_attribution_to_frames():
    attribution = torch.randn(2, 3, 3, 4, 5, dtype=torch.float64)
    found = frame_scores(attribution, lambda values: values.square().sum((2, 3, 4)))
    torch.testing.assert_close(found, frame_scores(attribution).square())


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("reduction", "got"),
    [
        (lambda values: values.sum((1, 3, 4)), r"\(2, 4\)"),
        (lambda values: values.sum(), r"\(\)"),
        (lambda values: values.sum((2, 3, 4)).tolist(), "list"),
    ],
)
def test_a_function_that_does_not_reduce_to_frames(reduction, got):
    with pytest.raises(OptionError, match=rf"one number for each frame, \(2, 3\), got {got}. Red"):
        frame_scores(torch.rand(2, 3, 4, 5, 6), reduction)


@pytest.mark.parametrize(
    ("drop", "probability", "category"),
    [
        (0.46, 0.9, "the prediction depends on the order"),
        (0.45, 0.9, "the prediction partly depends on the order"),
        (0.091, 0.9, "the prediction partly depends on the order"),
        (0.09, 0.9, "the prediction hardly depends on the order"),
        (0.0099, 0.01, "the prediction hardly depends on the order"),
        (-0.089, 0.9, "the prediction hardly depends on the order"),
        (-0.091, 0.9, "the probability is higher when shuffled"),
        (-0.2, 0.0, "the probability is higher when shuffled"),
        (0.0, 0.0, "the prediction hardly depends on the order"),
        (NAN, 0.5, "not defined"),
    ],
)
def test_the_share_of_the_probability_that_is_lost(drop, probability, category):
    assert need_category(drop, probability) == category


@pytest.mark.parametrize(
    ("ratio", "change", "category"),
    [
        (1.2, 0, "order changes the model's sensitivity, but not downwards"),
        (1.1, 0, "very high appearance reliance"),
        (1.0, 0.11, "order raises the sensitivity to some frames and lowers it to others"),
        (0.9, 0.11, "high appearance reliance"),
        (0.7, 0, "mixed reliance on appearance and motion"),
        (0.5, 0, "moderate motion reliance"),
        (0.3, 0, "high motion reliance"),
        (0, 0, "high motion reliance"),
        (NAN, 0, "not defined"),
    ],
)
def test_motion_reliance(ratio, change, category):
    assert reliance_category(ratio, change) == category


@pytest.mark.parametrize(
    ("value", "context", "tracking"),
    [
        (0.31, "strong temporal context", "strongly tracks motion"),
        (0.3, "moderate temporal context", "strongly tracks motion"),
        (0.2, "moderate temporal context", "moderately tracks motion"),
        (0.1, "weak temporal context", "moderately tracks motion"),
        (0.05, "weak temporal context", "weakly tracks motion"),
        (-0.05, "weak temporal context", "follows motion less in order than shuffled"),
        (-0.1, "no drop: the sensitivity rises", "follows motion less in order than shuffled"),
        (NAN, "not defined", "not defined"),
    ],
)
def test_context_and_tracking(value, context, tracking):
    assert (context_category(value), tracking_category(value)) == (context, tracking)


def test_numbers_that_cannot_be():
    for probability in (-0.1, 1.1, NAN):
        with pytest.raises(DataError, match="a probability from 0 to 1, got .*Apply softmax"):
            need_category(0.5, probability)
    with pytest.raises(DataError, match="ratio of 0 or more, got -0.2. Ratios of signed"):
        reliance_category(-0.2)
