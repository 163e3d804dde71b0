"""Pictures of comparisons show the numbers of the comparison."""

import numpy as np
import pandas as pd
import pytest

from temporal_attr import OptionError, views
from temporal_attr.evaluation import Comparison, MetricSummary, Row
from tests.helpers.checks import assert_refused

pytestmark = pytest.mark.usefixtures("as_user")

VALUES = {"lrp": (0.9, 0.7), "rise": (0.5, 0.3), "random": (0.1, 0.2)}
COSTS = {"lrp": 3.0, "rise": 50.0, "random": 0.0}


def comparison(gap=False):
    rows = [
        Row("m", f"c{place}", method, metric, sign * value, evaluations=COSTS[method])
        for metric, sign in (("truth", 1), ("other", -1))
        for method, values in VALUES.items()
        for place, value in enumerate(values)
        if not (gap and method == "rise" and place == 1)
    ]
    columns = [name for name in Row.__dataclass_fields__ if name != "curves"]
    table = pd.DataFrame(
        [[getattr(one, name) for name in columns] for one in rows], columns=columns
    )
    points = [
        ("m", "c0", method, "truth", name, place, value)
        for method in VALUES
        for name, curve in (("removed", (0.0, 0.25, 1.0)), ("objective", (1.0, 0.5, 0.0)))
        for place, value in enumerate(curve)
    ]
    curves = pd.DataFrame(
        points, columns=["model", "clip", "method", "metric", "curve", "place", "value"]
    )
    metrics = (
        MetricSummary("truth", "?", "faithfulness", True),
        MetricSummary("other", "?", "truth", False),
    )
    return Comparison(table, metrics, (), curves)


def test_the_ranking_has_each_mean_at_its_place():
    axes = views.method_ranking(comparison(), "truth").axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["lrp", "rise", "random"]
    points = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert points == pytest.approx([0.8, 0.4, 0.15])
    assert axes.get_title(loc="left") == "truth (more is better)"


def test_the_table_has_the_best_darkest_whichever_way_is_better():
    image = views.metric_table(comparison()).axes[0].images[0].get_array()
    assert image.shape == (2, 3)
    np.testing.assert_allclose(image[0], [1, (0.4 - 0.15) / 0.65, 0])
    # Of the other, whose values are negative, less is better: the same order.
    np.testing.assert_allclose(image[1], image[0])


def test_a_method_that_lacks_clips_has_its_number_and_no_shade():
    figure = views.metric_table(comparison(gap=True))
    image = figure.axes[0].images[0].get_array()
    assert np.ma.getmaskarray(image)[0].tolist() == [False, True, False]
    assert "0.5" in [text.get_text() for text in figure.axes[0].texts]


def test_cost_is_drawn_against_the_mean_and_the_line_is_of_methods_only():
    axes = views.score_against_cost(comparison(), "truth").axes[0]
    points = {
        line.get_xdata()[0]: line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"
    }
    assert points == pytest.approx({3.0: 0.8, 50.0: 0.4, 0.5: 0.15})
    (front,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(front.get_ydata()) == [0.8, 0.8]


def test_curves_stand_over_the_share_removed():
    axes = views.metric_curves(comparison(), "truth").axes
    assert len(axes) == 1
    assert axes[0].get_xlabel() == "share removed"
    along, curve = axes[0].lines[0].get_data()
    assert np.interp(0.25, along, curve) == pytest.approx(0.5)
    assert_refused(OptionError, "a metric with curves", views.metric_curves, comparison(), "other")


def test_all_that_there_are_can_be_drawn():
    drawn = views.pictures_of_comparison(comparison())
    assert list(drawn) == [
        "ranking.png", "agreement.png", "metrics.png", "cost.png", "curve_truth.png",
    ]  # fmt: skip
    for figure in drawn.values():
        assert figure().axes
