"""Which method is better: means, intervals and tests, against what is known of them."""

import math

import numpy as np
import pandas as pd
import pytest

from temporal_attr import DataError, OptionError
from temporal_attr.evaluation import Comparison, MetricSummary, Row
from temporal_attr.evaluation.suite._crossed import (
    crossed_bootstrap,
    mean_over_models,
    swap_p_values,
)
from temporal_attr.evaluation.suite._ranking import critical_difference, differences, holm, rank
from tests.helpers.checks import assert_refused

pytestmark = pytest.mark.usefixtures("as_user")


def comparison(values, family="truth", higher=True):
    """From `{model: {method: values}}`."""
    rows = [
        Row(
            model,
            f"clip {place}",
            method,
            "metric",
            value,
            note="none" if math.isnan(value) else "",
        )
        for model, methods in values.items()
        for method, found in methods.items()
        for place, value in enumerate(found)
    ]
    columns = [name for name in Row.__dataclass_fields__ if name != "curves"]
    table = pd.DataFrame(
        [[getattr(one, name) for name in columns] for one in rows], columns=columns
    )
    return Comparison(table, (MetricSummary("metric", "?", family, higher),), (), pd.DataFrame())


def test_the_mean_is_over_models_of_the_mean_over_clips():
    found = comparison({"a": {"x": [0, 1], "y": [0.4, 0.4]}, "b": {"x": [1], "y": [0.4]}})
    best, other = found.ranking("metric")
    assert (best.method, best.mean, best.clips) == ("x", 0.75, 3)
    assert (other.method, other.mean) == ("y", 0.4)
    assert other.mean_rank == pytest.approx(5 / 3)
    assert (other.low, other.high) == (0.4, 0.4)


def test_less_is_better_where_it_is():
    found = comparison({"a": {"x": [3, 4], "y": [1, 2]}}, higher=False)
    assert [one.method for one in found.ranking("metric")] == ["y", "x"]
    neither = comparison({"a": {"x": [1.0]}}, higher=None)
    assert_refused(OptionError, "more, or less, is better", neither.ranking, "metric")


def test_a_method_that_lacks_clips_takes_none_from_the_others():
    nan = math.nan
    found = comparison({"a": {"x": [1, 2, 3], "y": [2, nan, 9], "z": [0, 1, 4]}})
    ranked = found.ranking("metric")
    assert [one.method for one in ranked] == ["x", "z", "y"]
    last = ranked[-1]
    assert (last.mean, last.clips) == (5.5, 2)
    assert math.isnan(last.mean_rank)
    assert all(one.clips == 3 for one in ranked[:2])


def test_where_no_method_has_all_clips_those_of_the_fullest_count():
    nan = math.nan
    found = comparison({"a": {"x": [1, 2, nan], "y": [nan, 3, 4], "z": [nan, nan, 9]}})
    ranked = {one.method: one for one in found.ranking("metric")}
    assert (ranked["x"].mean, ranked["x"].clips) == (1.5, 2)
    assert (ranked["y"].mean, ranked["y"].clips) == (3, 1)
    assert "z" not in ranked
    assert "no value of metric for y on 1 clip(s): none" in found.summary()


def test_nothing_can_be_ranked_without_a_value():
    found = comparison({"a": {"x": [math.nan]}})
    assert_refused(DataError, "a value of metric", found.ranking, "metric")


def test_chance_is_beaten_by_a_test_on_the_same_clips():
    random = np.random.default_rng(0)
    noise = random.normal(size=(1, 40))
    values = {
        "random": noise,
        "centre": noise - 1,
        "good": noise + 0.1,
        "same": noise + 0.1 * random.normal(size=(1, 40)),
    }
    found = {one.method: one.not_beaten for one in rank(values, True, ("random", "centre"))}
    # "good" is above the random numbers by 0.1 on each clip, far less than clips differ.
    assert found == {"random": None, "centre": None, "good": (), "same": ("random",)}
    lists = {name: list(array[0]) for name, array in values.items()}
    sane = comparison({"a": lists}, "sanity")
    assert all(one.beats_chance is None for one in sane.ranking("metric"))
    said = {one.method: str(one) for one in comparison({"a": lists}).ranking("metric")}
    assert said["same"].endswith("on 40 clip(s), not better than random")
    assert said["good"].endswith("on 40 clip(s)")


def test_fewer_than_six_clips_cannot_beat_chance():
    for clips, expected in ((5, None), (6, ())):
        values = {"random": np.zeros((3, clips)), "x": np.ones((3, clips))}
        assert rank(values, True, ("random",))[0].not_beaten == expected


@pytest.mark.parametrize("gap", [False, True])
def test_clips_that_models_share_do_not_average_out_over_models(gap):
    """Clips that are hard are hard for all models, also where a model lacks one of them.

    Of 200 comparisons of two methods that are alike, a test at 0.05 finds 10 different, and an
    interval of 95 % leaves 0 out of some more, as bootstraps of few clips do.
    """
    random = np.random.default_rng(3)
    rejected = missed = 0
    for seed in range(200):
        apart = random.normal(size=15) + random.normal(scale=0.05, size=(5, 15))
        if gap:
            apart[0, 0] = np.nan
        (chance,) = swap_p_values([apart], seed, 399)
        interval = crossed_bootstrap(apart, seed=seed)
        rejected += chance <= 0.05
        missed += not interval.low <= 0 <= interval.high
    assert rejected <= 20
    assert missed <= 30


def test_what_is_tested_is_what_is_reported():
    """The mean over models of the mean over clips: each model counts alike, however many clips."""
    values = np.array([[1.0, 1.0, 1.0, 1.0], [-3.0, np.nan, np.nan, np.nan]])
    assert mean_over_models(values) == -1
    weights = np.array([1 / 4 / 2 - 3 / 2, 1 / 8, 1 / 8, 1 / 8])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1)
    expected = (np.abs(weights @ signs) >= abs(weights.sum()) - 1e-12).mean()
    assert swap_p_values([values]) == [expected]
    assert crossed_bootstrap(values).value == -1


def test_differences_are_paired_and_corrected():
    random = np.random.default_rng(2)
    clip = random.normal(size=(1, 12))
    values = {"x": clip, "y": clip + 1, "z": clip + random.normal(scale=0.01, size=(1, 12))}
    found = {(one.first, one.second): one for one in differences(values)}
    apart, alike = found["x", "y"], found["x", "z"]
    assert apart.mean == pytest.approx(-1, abs=1e-12)
    # Of 2^12 ways to swap the pairs, two are as far apart.
    assert apart.p_value == pytest.approx(2 / 2**12, rel=1e-12)
    assert apart.corrected == pytest.approx(3 * apart.p_value, rel=1e-12)
    assert alike.corrected >= alike.p_value > 0.05


def test_many_methods_can_still_be_told_apart():
    random = np.random.default_rng(5)
    values = {f"m{place}": 10 * place + random.normal(size=(1, 30)) for place in range(20)}
    found = differences(values)
    assert len(found) == 190
    assert max(one.corrected for one in found) < 0.05


def test_a_copy_of_a_model_makes_no_difference_surer():
    random = np.random.default_rng(4)
    one, other = random.normal(size=(1, 10)), random.normal(size=(1, 10)) + 0.5
    (single,) = differences({"x": one, "y": other})
    (copied,) = differences({"x": np.tile(one, (3, 1)), "y": np.tile(other, (3, 1))})
    assert copied.p_value == single.p_value
    assert (copied.low, copied.high) == pytest.approx((single.low, single.high), abs=0.1)


def test_one_clip_has_no_interval():
    found = comparison({"a": {"x": [1.0], "random": [0.0]}})
    best = found.ranking("metric")[0]
    assert math.isnan(best.low)
    assert best.beats_chance is None
    assert str(best) == "x: 1, mean rank 1.0 on 1 clip(s)"
    (apart,) = found.differences("metric")
    assert apart.p_value == 1


def test_holm_is_bonferroni_for_the_smallest_and_never_falls():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_critical_difference_of_the_paper():
    """Table 6 of Demsar (2006): 4 classifiers on 14 data sets, ranks 3.143, 2, 2.893, 1.964."""
    random = np.random.default_rng(0)
    values = {name: random.normal(size=(1, 14)) for name in "abcd"}
    width, p_value = critical_difference(values, True)
    assert width == pytest.approx(1.25, abs=0.005)
    assert 0 < p_value <= 1
    alike = {name: np.ones((2, 4)) for name in "abc"}
    assert math.isnan(critical_difference(alike, True)[1])
    two = {"a": np.ones((1, 3)), "b": np.ones((1, 3))}
    assert_refused(DataError, "at least 3 methods", critical_difference, two, True)


def test_metrics_that_order_alike_agree():
    rows = []
    for metric, sign in (("up", 1), ("down", -1), ("free", 1)):
        rows += [
            Row("a", "c", method, metric, sign * value)
            for method, value in (("x", 1.0), ("y", 2.0), ("z", 3.0))
        ]
    columns = [name for name in Row.__dataclass_fields__ if name != "curves"]
    table = pd.DataFrame(
        [[getattr(one, name) for name in columns] for one in rows], columns=columns
    )
    metrics = (
        MetricSummary("up", "?", "truth", True),
        MetricSummary("down", "?", "truth", False),
        MetricSummary("free", "?", "truth", None),
    )
    found = Comparison(table, metrics, (), pd.DataFrame()).agreement()
    assert list(found.columns) == ["up", "down"]
    assert (found.to_numpy() == 1).all()
