"""Pictures of temporal relevance: what is drawn is what was found."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from temporal_attr import OptionError, views
from temporal_attr.attributions import ContrastiveLRPTemporalResult, Run
from temporal_attr.evaluation import WindowAccuracy
from temporal_attr.measures import (
    MatrixAverage,
    average_by_class,
    average_matrices,
    average_range,
    maximum_range,
    ranges,
    shortest_runs,
)
from tests.helpers.pictures import assert_a_notebook_shows

STRONG, MUTED = "#d1495b", "#8d99ae"


def relevance_result(matrix, step_logits, sigma=0.9, frames_per_step=1, frames=None):
    """The result whose matrices and logits these are, with the numbers that follow from them."""
    batch, steps = step_logits.shape
    reach = ranges(matrix, sigma)
    frames = steps * frames_per_step if frames is None else frames
    return ContrastiveLRPTemporalResult(
        logits=torch.zeros(batch, 9),
        target=torch.arange(batch) + 3,
        run=Run("whole", (), "full", 1.0, 1.0, {}, 0.5),
        matrix=matrix,
        frame_matrix=torch.zeros(batch, steps, frames),
        step_logits=step_logits,
        step_weights=torch.full((steps,), 1 / steps),
        ranges=reach,
        avg_atr=average_range(reach, step_logits),
        max_atr=maximum_range(reach),
        row_error=torch.zeros(batch, steps),
        relevance_ratio=torch.ones(batch),
        rows=(),
        row_relevance=None,
        contrastive=True,
        sigma=sigma,
        frames_per_step=frames_per_step,
    )


def random_relevance(steps, signed=False, **options):
    matrix = torch.randn(2, steps, steps) ** 3
    matrix = matrix if signed else matrix.relu()
    # A row without relevance, and one whose only relevance is its own.
    matrix[:, steps // 2] = 0
    matrix[:, 0, 1:], matrix[:, 0, 0] = 0, 2
    return relevance_result(matrix, torch.randn(2, steps), **options)


def heatmap(result, example=0):
    figure = views.relevance_heatmap(result, example=example)
    axes, bars, scale = figure.axes
    return figure, axes, bars, scale


# One matrix.


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("steps", [2, 8, 64])
def test_the_heatmap_scales_rows_and_leaves_zeros_blank(steps, signed):
    result = random_relevance(steps, signed)
    _, axes, _, scale = heatmap(result, example=1)
    image = axes.images[0]
    matrix = result.matrix[1].double().numpy()
    largest = np.abs(matrix).max(1, keepdims=True)
    expected = np.where(largest > 0, matrix / np.where(largest > 0, largest, 1), 0)
    drawn = image.get_array()
    np.testing.assert_allclose(drawn.filled(0), expected, rtol=1e-12)
    np.testing.assert_array_equal(drawn.mask, matrix == 0)
    # The scale has room for negative relevance only where there is some.
    assert image.get_clim() == ((-1, 1) if (matrix < 0).any() else (0, 1))
    assert scale.get_ylim() == image.get_clim()


@pytest.mark.parametrize("steps", [1, 2, 8, 64])
def test_each_row_has_its_run_outlined_and_its_range_beside_it(steps):
    result = random_relevance(steps)
    _, axes, bars, _ = heatmap(result)
    known = [row for row in range(steps) if result.matrix[0, row].any()]
    runs = shortest_runs(result.matrix, result.sigma)[0]
    for row, frame in zip(known, axes.patches, strict=True):
        left, bottom, right, top = frame.get_bbox().extents
        # The outline lies inside its cells, by less than half of one.
        first, last = runs[row].tolist()
        assert first - 0.5 < left < first
        assert last < right < last + 0.5
        assert row - 0.5 < bottom < row < top < row + 0.5
    labels = [f"{runs[row, 1] - runs[row, 0] + 1}" if row in known else "-" for row in range(steps)]
    assert [text.get_text() for text in bars.texts] == labels
    assert [text.get_position()[1] for text in bars.texts] == list(range(steps))


def test_the_run_is_that_of_the_results_share():
    matrix = torch.tensor([8.0, 1, 1, 0]).expand(1, 4, 4)
    widths = []
    for sigma in (0.8, 0.9, 1.0):
        result = relevance_result(matrix, torch.ones(1, 4), sigma)
        widths.append(round(heatmap(result)[1].patches[0].get_width()))
    assert widths == [1, 2, 3]


def test_logits_are_bars_and_rows_without_weight_are_pale():
    matrix = torch.ones(1, 4, 4)
    result = relevance_result(matrix, torch.tensor([[2.0, -1.5, 0.0, 0.5]]))
    _, axes, bars, _ = heatmap(result)
    assert [bar.get_width() for bar in bars.patches] == [2.0, -1.5, 0.0, 0.5]
    centres = [bar.get_y() + bar.get_height() / 2 for bar in bars.patches]
    assert centres == pytest.approx([0, 1, 2, 3])
    colours = [STRONG, MUTED, MUTED, STRONG]
    assert [to_hex(bar.get_facecolor()) for bar in bars.patches] == colours
    assert [to_hex(frame.get_edgecolor()) for frame in axes.patches] == colours
    assert [to_hex(text.get_color()) for text in bars.texts] == colours
    opacity = axes.images[0].get_alpha()
    assert (opacity[[0, 3]] == 1).all()
    assert (opacity[[1, 2]] < 0.5).all()
    # Row 0 is at the top of both, whichever way the axis runs.
    assert axes.get_ylim() == bars.get_ylim() == (3.5, -0.5)


def test_the_title_gives_class_and_ranges_in_timesteps():
    matrix = torch.stack([torch.eye(4), torch.ones(4, 4)])
    matrix[1, 1] = torch.tensor([0.0, 1, 0, 0])
    result = relevance_result(matrix, torch.tensor([[1.0, 1, 1, 1], [1.0, 3, -9, 0]]))
    first, second = (heatmap(result, example)[0].get_suptitle() for example in (0, 1))
    assert first.splitlines() == [
        "Relevance of each timestep for class 3",
        "avg-ATR 1, max-ATR 1 of 4 timesteps",
    ]
    # One quarter of 4 and three of 1.
    assert second.splitlines() == [
        "Relevance of each timestep for class 4",
        "avg-ATR 1.8, max-ATR 4 of 4 timesteps",
    ]


def test_the_title_gives_frames_too_where_a_timestep_has_several():
    matrix = torch.tril(torch.ones(1, 4, 4))
    logits = torch.tensor([[1.0, 0, 1, 0]])
    title = heatmap(relevance_result(matrix, logits, frames_per_step=8))[0].get_suptitle()
    assert title.splitlines()[1:] == [
        "avg-ATR 2, max-ATR 4 of 4 timesteps",
        "(16 and 32 of 32 frames)",
    ]
    # A last timestep of fewer frames makes no range longer than the clip.
    short = heatmap(relevance_result(matrix, logits, frames_per_step=8, frames=27))[
        0
    ].get_suptitle()
    assert short.splitlines()[2] == "(16 and 27 of 27 frames)"


def test_ranges_that_are_not_known_are_called_so():
    negative = relevance_result(torch.eye(3)[None], -torch.ones(1, 3), frames_per_step=2)
    title = heatmap(negative)[0].get_suptitle()
    assert "avg-ATR unknown, max-ATR 1 of 3 timesteps\n(unknown and 2 of 6 frames)" in title
    nothing = relevance_result(torch.zeros(1, 3, 3), torch.ones(1, 3), frames_per_step=2)
    figure, axes, bars, _ = heatmap(nothing)
    assert figure.get_suptitle().endswith("avg-ATR unknown, max-ATR unknown of 3 timesteps")
    assert axes.images[0].get_array().mask.all()
    assert not axes.patches
    assert [text.get_text() for text in bars.texts] == ["-", "-", "-"]


def test_a_model_of_one_timestep_can_be_drawn():
    figure, axes, bars, _ = heatmap(relevance_result(torch.full((1, 1, 1), 0.3), torch.ones(1, 1)))
    assert axes.images[0].get_array().tolist() == [[1.0]]
    assert figure.get_suptitle().endswith("avg-ATR 1, max-ATR 1 of 1 timestep")
    assert bars.texts[0].get_text() == "1"


# Averages.


def panels_of(figure):
    """What stands above each panel, its matrices, and the end of its colour scale."""
    found = []
    for part in figure.subfigs:
        if part.axes:
            left, right, scale = part.axes
            found.append((part.get_suptitle(), left, right, scale))
    return found


@pytest.mark.parametrize("steps", [1, 8, 32])
def test_a_dataset_has_its_mean_and_its_deviation_on_one_scale(steps):
    # Clips that differ so much that the deviation is larger than the mean.
    matrices = torch.rand(6, steps, steps) ** 8
    matrices[:, 0, 0] = 0
    average = average_matrices(matrices, torch.ones(6))
    ((title, left, right, scale),) = panels_of(views.average_heatmap(average))
    assert title == "all classes (6 clips)"
    for axes, expected in ((left, average.mean), (right, average.deviation)):
        drawn = axes.images[0].get_array()
        np.testing.assert_array_equal(drawn.filled(0), expected.double().numpy())
        np.testing.assert_array_equal(drawn.mask, expected.numpy() == 0)
    limit = max(average.mean.max(), average.deviation.max()).item() or 1.0
    for axes in (left, right):
        assert axes.images[0].get_clim() == pytest.approx((0, limit))
    assert scale.get_ylim() == pytest.approx((0, limit))
    assert [left.get_title(), right.get_title()] == ["mean", "standard deviation"]


def test_negative_relevance_gets_a_scale_of_two_sides():
    average = average_matrices(torch.tensor([[[-3.0]], [[-1.0]]]), torch.ones(2))
    ((_, left, right, scale),) = panels_of(views.average_heatmap(average))
    assert left.images[0].get_cmap().name == right.images[0].get_cmap().name == "RdBu_r"
    assert left.images[0].get_clim() == right.images[0].get_clim() == scale.get_ylim() == (-2, 2)


def test_one_clip_has_no_deviation():
    average = average_matrices(torch.ones(1, 3, 3), torch.ones(1))
    ((title, left, right, _),) = panels_of(views.average_heatmap(average))
    assert title == "all classes (1 clip)"
    assert (left.images[0].get_array() == 1).all()
    assert not right.images
    assert right.get_title() == "(no deviation of one clip)"


@pytest.mark.parametrize("classes", [1, 2, 5, 12])
def test_each_class_has_a_panel_with_its_name_and_clips(classes):
    targets = torch.arange(24) % classes
    averages = average_by_class(torch.rand(24, 4, 4), targets, torch.ones(24))
    names = {number: f"doing {number}" for number in range(0, classes, 2)}
    parts = panels_of(views.average_heatmap(averages, names=names))
    assert len(parts) == classes
    for number, (title, left, right, _) in enumerate(parts):
        name = f"doing {number}" if number % 2 == 0 else f"class {number}"
        assert title == f"{name} ({int((targets == number).sum())} clips)"
        mean, deviation = averages[number].mean.double(), averages[number].deviation.double()
        np.testing.assert_array_equal(left.images[0].get_array(), mean)
        np.testing.assert_array_equal(right.images[0].get_array(), deviation)


def test_names_may_be_a_list_and_need_not_differ():
    average = MatrixAverage(torch.ones(2, 2), torch.ones(2, 2), 7)
    figure = views.average_heatmap({1: average, 2: average, 9: average}, names=["a", "b", "b"])
    assert [title for title, *_ in panels_of(figure)] == [
        "b (7 clips)",
        "b (7 clips)",
        "class 9 (7 clips)",
    ]


# Accuracy by window.


CURVE = WindowAccuracy((4, 1, 2, 8), (0.7, 0.3, 0.5, 0.8), full=0.85, videos=40)
OTHER = dataclasses.replace(CURVE, accuracy=(0.5, 0.4, 0.4, 0.6), full=0.65)


def lines_of(axes):
    """The lines of a picture by what they show."""
    lines = axes.lines
    return {
        "curves": [
            line for line in lines if line.get_marker() == "o" and len(line.get_xdata()) > 1
        ],
        "full": [line for line in lines if line.get_linestyle() == "--"],
        "rings": [line for line in lines if line.get_markerfacecolor() == "none"],
    }


def wilson(share, videos, z=1.959963984540054):
    """The ends of the interval, from its formula."""
    middle = (share + z**2 / (2 * videos)) / (1 + z**2 / videos)
    spread = share * (1 - share) / videos + z**2 / (4 * videos**2)
    half = z * spread**0.5 / (1 + z**2 / videos)
    return middle - half, middle + half


def test_the_curve_runs_over_the_sizes_in_order():
    (axes,) = views.window_accuracy(CURVE).axes
    lines = lines_of(axes)
    (curve,) = lines["curves"]
    assert list(curve.get_xdata()) == [1, 2, 4, 8]
    assert list(curve.get_ydata()) == [0.3, 0.5, 0.7, 0.8]
    (full,) = lines["full"]
    assert list(full.get_ydata()) == [0.85, 0.85]
    assert not lines["rings"]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["windows", "whole clips"]


def test_the_band_is_wilsons_interval():
    (axes,) = views.window_accuracy(CURVE).axes
    band, bars = axes.collections
    corners = band.get_paths()[0].vertices
    segments = bars.get_segments()
    shares = [0.3, 0.5, 0.7, 0.8]
    for size, share, segment in zip((1, 2, 4, 8), shares, segments, strict=True):
        expected = wilson(share, 40)
        heights = corners[corners[:, 0] == size][:, 1]
        assert (heights.min(), heights.max()) == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(segment, [[size, expected[0]], [size, expected[1]]], atol=1e-9)


@pytest.mark.parametrize(("atr", "height"), [(1, 0.3), (2.0, 0.5), (3.0, 0.6), (7.0, 0.775)])
def test_the_ring_lies_on_the_curve_at_the_range(atr, height):
    (axes,) = views.window_accuracy(CURVE, atr=atr).axes
    (ring,) = lines_of(axes)["rings"]
    assert list(ring.get_xdata()) == [atr]
    assert list(ring.get_ydata()) == pytest.approx([height])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == [f"windows (avg-ATR {atr:.1f})", "whole clips", "at the avg-ATR"]


def test_models_have_a_curve_each_in_a_colour_of_its_own():
    curves = {"one": CURVE, "two": OTHER}
    (axes,) = views.window_accuracy(curves, atr={"two": 3.0}).axes
    lines = lines_of(axes)
    assert [line.get_label() for line in lines["curves"]] == ["one", "two (avg-ATR 3.0)"]
    for line, full, curve in zip(lines["curves"], lines["full"], curves.values(), strict=True):
        by_size = dict(zip(curve.sizes, curve.accuracy, strict=True))
        assert [by_size[size] for size in line.get_xdata()] == list(line.get_ydata())
        assert full.get_ydata()[0] == curve.full
        assert full.get_color() == line.get_color()
    first, second = lines["curves"]
    assert first.get_color() != second.get_color()
    (ring,) = lines["rings"]
    assert list(ring.get_ydata()) == pytest.approx([0.45])
    assert ring.get_color() == second.get_color()


def test_a_curve_of_one_size_shows_its_interval():
    one = WindowAccuracy((1,), (1.0,), full=1.0, videos=5)
    (axes,) = views.window_accuracy(one, atr=1.0).axes
    (segment,) = axes.collections[1].get_segments()
    assert segment[:, 1] == pytest.approx(wilson(1.0, 5), abs=1e-9)
    assert list(lines_of(axes)["rings"][0].get_ydata()) == [1.0]


# All.


@pytest.mark.parametrize("steps", [1, 8, 64])
def test_a_notebook_shows_the_pictures(steps):
    result = random_relevance(steps)
    figures = (
        views.relevance_heatmap(result),
        views.average_heatmap(average_matrices(result.matrix, torch.ones(2))),
        views.window_accuracy(CURVE, atr=3.0),
    )
    for figure in figures:
        assert_a_notebook_shows(figure)


@pytest.mark.parametrize("steps", [8, 16, 32, 64])
def test_ranges_do_not_overlap_each_other(steps):
    figure, _, bars, _ = heatmap(random_relevance(steps))
    figure.draw_without_rendering()
    extents = [text.get_window_extent() for text in bars.texts]
    for upper, lower in pairwise(extents):
        # A box has room for letters that go below the line; digits do not.
        assert upper.y0 > lower.y0 + 0.5 * lower.height
    # And they end before the bars begin.
    assert max(box.x1 for box in extents) < bars.get_window_extent().x0


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_drawn_is_named():
    result = random_relevance(4)
    for example in (-1, 2):
        with pytest.raises(OptionError, match=f"an example from 0 to 1, got {example}"):
            views.relevance_heatmap(result, example=example)
    average = MatrixAverage(torch.ones(2, 2), torch.ones(2, 2), 2)
    with pytest.raises(OptionError, match="1 to 12 classes, got 0"):
        views.average_heatmap({})
    with pytest.raises(OptionError, match="1 to 12 classes, got 13. Draw some of them"):
        views.average_heatmap(dict.fromkeys(range(13), average))
    with pytest.raises(OptionError, match="at least one curve, got none"):
        views.window_accuracy({})


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("curve", "atr", "text"),
    [
        (CURVE, 8.5, "within the sizes of its curve, 1 to 8, got 8.5. Measure"),
        (CURVE, 0.5, "within the sizes of its curve, 1 to 8, got 0.5"),
        (CURVE, float("nan"), "within the sizes of its curve, 1 to 8, got nan"),
        (CURVE, {"one": 2.0}, "atr as a number, got 'one'"),
        ({"one": CURVE, "two": OTHER}, 2.0, "atr by name: 'one', 'two', got 2.0"),
        ({"one": CURVE}, {"two": 2.0}, "atr by name: 'one', got 'two'"),
        ({"one": CURVE}, {"one": 9.0}, "within the sizes of its curve, 1 to 8, got 9.0"),
    ],
)
def test_a_range_that_is_not_on_the_curve(curve, atr, text):
    with pytest.raises(OptionError, match=text):
        views.window_accuracy(curve, atr=atr)
