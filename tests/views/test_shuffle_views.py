"""Pictures of shuffled clips: what is drawn is what was found."""

import dataclasses
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from temporal_attr import ClipError, DataError, OptionError, views
from temporal_attr.attributions import Run, ShuffleCurve, ShuffleProbeResult, ShuffleSet
from temporal_attr.measures import SHUFFLE_MEASURES, Interval, score_ratios, shuffle_samples
from temporal_attr.views._shuffle_common import UNCHANGED
from tests.helpers.pictures import assert_a_notebook_shows, legend_of, random_clip

STRONG, BLUE, GREEN, MUTED = "#d1495b", "#30638e", "#3c887e", "#8d99ae"
BOUNDS = [0.3, 0.5, 0.7, 0.9, 1.1]
NAN, INF = math.nan, math.inf


def shuffle_result(ordered, shuffled, flow=None, **changed):
    """The result with these scores; its intervals have ends of their own, to be told apart."""
    batch, shuffles, frames = shuffled.shape
    logits, shuffled_logits = torch.randn(batch, 9), torch.randn(batch, shuffles, 9)
    target = torch.arange(batch) + 3
    samples = shuffle_samples(ordered, shuffled, logits, shuffled_logits, target, flow)
    values = {name: SHUFFLE_MEASURES[name].of(drawn) for name, drawn in samples.items()}
    ends = torch.tensor([-0.07, 0.11], dtype=torch.float64)
    intervals = {name: value[:, None] + ends for name, value in values.items()}
    values.setdefault("flow_correlation_drop", torch.full_like(values["mrr"], NAN))
    ratios = score_ratios(ordered, shuffled)
    fields = {
        **values,
        "logits": logits,
        "target": target,
        "run": Run("by clip, then whole", (), "full", 6.0, 6.0, {"by clip": 8}, 0.5),
        "frame_ratios": ratios.nanmedian(1).values,
        "ratios": ratios,
        "ordered_scores": ordered,
        "shuffled_scores": shuffled,
        "permutations": torch.arange(frames).expand(shuffles, -1),
        "shuffled_logits": shuffled_logits,
        "static_ratio": torch.ones(batch),
        "p_value": torch.ones(batch),
        "logit_p_value": torch.ones(batch),
        "left_out": ratios[:, 0].isnan().sum(1),
        "flow": flow,
        "intervals": intervals,
        "categories": ({},) * batch,
        "notes": ((),) * batch,
        "segments": None,
        "shuffling": "FullShuffle()",
        "scored_by": "scored by Temporal Gradient",
    }
    return ShuffleProbeResult(**{**fields, **changed})


def random_shuffle(frames=8, shuffles=20, batch=2, flow=True):
    ordered = torch.rand(batch, frames) + 0.2
    shuffled = ordered[:, None] * torch.randn(batch, shuffles, frames).mul(0.5).exp()
    return shuffle_result(ordered, shuffled, torch.rand(batch, frames - 1) if flow else None)


def blind_result(frames=8, shuffles=20):
    ordered = torch.rand(1, frames) + 0.2
    found = shuffle_result(
        ordered, ordered[:, None].expand(-1, shuffles, -1).clone(), torch.rand(1, frames - 1)
    )
    exact = {name: torch.full((1, 2), UNCHANGED[name]).double() for name in found.intervals}
    return dataclasses.replace(found, intervals=exact)


def unknown_result(frames=8, shuffles=4):
    """Not a single number."""
    nothing = torch.full((1, frames), NAN), torch.full((1, shuffles, frames), NAN)
    return shuffle_result(*nothing, torch.full((1, frames - 1), NAN))


def line(axes, label):
    (found,) = [one for one in axes.lines if one.get_label() == label]
    return found


def band_of(axes, label):
    """Low and high end of a band, by the place on the x axis."""
    (found,) = [one for one in axes.collections if one.get_label() == label]
    return band_ends(found)


def band_ends(band):
    corners = band.get_paths()[0].vertices
    places = np.unique(corners[:, 0])
    ends = [corners[corners[:, 0] == place][:, 1] for place in places]
    return places, np.array([[end.min(), end.max()] for end in ends])


def strokes(axes):
    """The ends of all strokes, by artist."""
    found = [one for one in axes.collections if hasattr(one, "get_segments")]
    return [np.array(one.get_segments()) for one in found]


def texts_of(figure):
    """Every text that can be seen, with its place in pixels."""
    figure.draw_without_rendering()
    texts = [figure._suptitle, *figure.legends[0].get_texts()]
    for axes in figure.axes:
        texts += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        # The ticks within the axis: there are more that are not drawn.
        for axis in (axes.xaxis, axes.yaxis):
            texts += [tick.label1 for tick in axis._update_ticks()]
    shown = [text for text in texts if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


# The profile of one clip.


@pytest.mark.parametrize("fps", [None, 4.0])
@pytest.mark.parametrize("shuffles", [2, 20])
def test_the_profile_shows_scores_in_order_and_the_quantiles_of_those_shuffled(shuffles, fps):
    result = random_shuffle(shuffles=shuffles)
    clip = None if fps is None else random_clip(8, fps)
    figure = views.shuffle_profile(result, clip, example=1)
    (axes,) = figure.axes
    times = np.arange(8) / (fps or 1)
    ordered, median = line(axes, "in order"), line(axes, f"median of {shuffles} orders")
    shuffled = result.shuffled_scores[1].double().numpy()
    for drawn, expected in ((ordered, result.ordered_scores[1]), (median, np.median(shuffled, 0))):
        np.testing.assert_allclose(drawn.get_xdata(), times)
        np.testing.assert_allclose(drawn.get_ydata(), expected, rtol=1e-6)
    places, ends = band_of(axes, "95 % of them")
    np.testing.assert_allclose(places, times)
    np.testing.assert_allclose(ends, np.quantile(shuffled, (0.025, 0.975), 0).T, rtol=1e-12)
    assert axes.get_xlabel() == ("frame" if fps is None else "time in the video (s)")
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > max(ends.max(), result.ordered_scores[1].max())
    assert (ordered.get_color(), median.get_color()) == (STRONG, BLUE)


def test_the_title_of_the_profile_gives_mrr_and_the_drop_of_the_probability():
    result = random_shuffle()
    title = views.shuffle_profile(result, example=1).get_suptitle()
    assert title.splitlines() == [
        "Frames in order and shuffled, class 4",
        f"Motion Reliance Ratio {result.interval('mrr', 1)}",
        f"drop of the target's probability {result.interval('probability_drop', 1)}",
    ]


def test_a_number_that_rounds_to_zero_has_no_sign():
    result = random_shuffle()
    result.probability_drop[0] = -1e-9
    result.intervals["probability_drop"][0] = torch.tensor([-0.004, 0.001])
    assert views.shuffle_profile(result).get_suptitle().endswith("0.00 (95 % 0.00 to 0.00)")


def test_one_shuffle_has_no_band():
    result = random_shuffle(shuffles=1)
    figure = views.shuffle_profile(result)
    (axes,) = figure.axes
    drawn = line(axes, "1 other order").get_ydata()
    np.testing.assert_allclose(drawn, result.shuffled_scores[0, 0], rtol=1e-6)
    assert not axes.collections
    assert legend_of(figure) == ["1 other order", "in order"]


def test_frames_without_a_ratio_are_marked():
    ordered = torch.tensor([[1.0, 0, 2, 0, 1]])
    result = shuffle_result(ordered, torch.rand(1, 4, 5))
    assert int(result.left_out) == 2
    figure = views.shuffle_profile(result, random_clip(5, fps=2.0))
    crosses = line(figure.axes[0], "no ratio")
    assert list(crosses.get_xdata()) == [0.5, 1.5]
    assert list(crosses.get_ydata()) == [0, 0]
    assert legend_of(figure)[-1] == "no ratio"
    assert "no ratio" not in legend_of(views.shuffle_profile(random_shuffle()))


def test_a_profile_that_shuffling_does_not_change_shows_both_lines():
    (axes,) = views.shuffle_profile(blind_result()).axes
    ordered, median = line(axes, "in order"), line(axes, "median of 20 orders")
    np.testing.assert_array_equal(ordered.get_ydata(), median.get_ydata())
    assert median.get_linewidth() > 2 * ordered.get_linewidth()
    assert list(axes.lines).index(median) < list(axes.lines).index(ordered)


def test_scores_that_are_zero_or_unknown_can_be_drawn():
    nothing = shuffle_result(torch.zeros(1, 4), torch.zeros(1, 3, 4))
    (axes,) = views.shuffle_profile(nothing).axes
    assert axes.get_ylim() == (0, 1)
    figure = views.shuffle_profile(unknown_result())
    assert figure.axes[0].texts[0].get_text() == "no finite values"
    assert figure.get_suptitle().splitlines()[1] == "Motion Reliance Ratio not defined"


# Ratios.


def bars_of(axes):
    """The bars of the histogram: edges and heights."""
    bars = [patch for patch in axes.patches if to_hex(patch.get_facecolor()) == BLUE]
    edges = np.array([bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()])
    return edges, np.array([bar.get_height() for bar in bars])


def test_the_bars_count_the_ratios():
    result = random_shuffle()
    figure = views.ratio_distribution(result, example=1)
    (axes,) = figure.axes
    edges, heights = bars_of(axes)
    ratios = result.ratios[1].double().numpy().ravel()
    np.testing.assert_array_equal(heights, np.histogram(ratios, edges)[0])
    assert heights.sum() == ratios.size == 160
    assert axes.get_xscale() == "log"
    # All bars are equally wide on it.
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(edges[1] / edges[0]), rtol=1e-9)
    assert axes.get_xlim() == pytest.approx((edges[0], edges[-1]))


def test_lines_are_at_one_at_the_median_and_at_the_bounds_of_categories():
    result = random_shuffle()
    figure = views.ratio_distribution(result, example=1)
    (axes,) = figure.axes
    assert list(line(axes, "1: as in order").get_xdata()) == [1, 1]
    assert list(line(axes, "median (MRR)").get_xdata()) == [result.mrr[1].item()] * 2
    (span,) = [patch for patch in axes.patches if patch.get_label() == "its 95 % interval"]
    ends = span.get_x(), span.get_x() + span.get_width()
    assert ends == pytest.approx(result.intervals["mrr"][1].tolist())
    separators = [one for one in axes.lines if one.get_color() == MUTED]
    assert [one.get_xdata()[0] for one in separators] == BOUNDS
    assert [text.get_text() for text in axes.texts] == ["0.3", "0.5", "0.7", "0.9", "1.1"]
    assert [text.get_position()[0] for text in axes.texts] == BOUNDS
    assert axes.get_xlim()[0] < 0.3
    assert axes.get_xlim()[1] > 1.1


def test_the_title_of_ratios_gives_the_numbers_that_the_median_hides():
    result = random_shuffle()
    lines = views.ratio_distribution(result, example=1).get_suptitle().splitlines()
    assert lines == [
        "Scores shuffled over scores in order, class 4",
        f"Motion Reliance Ratio {result.interval('mrr', 1)}",
        f"share of scores that rise {result.interval('rising_share', 1)}, "
        f"median |log R| {result.interval('median_log_ratio', 1)}",
        "160 ratios",
    ]


def test_ratios_that_no_logarithmic_axis_has_are_counted():
    ordered = torch.tensor([[1.0, 0, 2, 1]])
    shuffled = torch.tensor([[[0.0, 1, 0, 1], [2, 1, 2, 0], [1, 1, INF, 1]]])
    result = shuffle_result(ordered, shuffled)
    figure = views.ratio_distribution(result)
    counts = "12 ratios, 3 exactly 0 and not drawn, 1 infinite, 3 not defined"
    assert figure.get_suptitle().splitlines()[-1] == counts
    assert bars_of(figure.axes[0])[1].sum() == 5


def test_ratios_that_are_all_one_are_one_bar():
    result = blind_result()
    # As computed, which is not exactly one.
    result.ratios[0, :10] = 1 + 2**-23
    result.ratios[0, 10:15] = 1 - 2**-23
    (axes,) = views.ratio_distribution(result).axes
    edges, heights = bars_of(axes)
    (place,) = np.flatnonzero(heights)
    assert heights[place] == 160
    assert np.sqrt(edges[place] * edges[place + 1]) == pytest.approx(1)
    assert list(line(axes, "median (MRR)").get_xdata()) == [1, 1]
    # Its interval has no width, and so no shade.
    assert [patch.get_label() for patch in axes.patches].count("its 95 % interval") == 0
    assert axes.get_xlim()[0] < 0.3 < 1.1 < axes.get_xlim()[1]


def test_a_single_ratio_far_away_does_not_push_the_others_together():
    result = random_shuffle(frames=16)
    result.ratios[0, 0, 0], result.ratios[0, 3, 5] = 1e6, 1e-7
    figure = views.ratio_distribution(result)
    assert figure.axes[0].get_xlim()[1] < 100
    assert bars_of(figure.axes[0])[1].sum() == 318
    assert figure.get_suptitle().endswith("320 ratios, 2 beyond the axis")


@pytest.mark.parametrize("shuffled", [torch.zeros(1, 3, 4), torch.full((1, 3, 4), NAN)])
def test_where_no_ratio_can_be_drawn_the_picture_says_so(shuffled):
    figure = views.ratio_distribution(shuffle_result(torch.ones(1, 4), shuffled))
    (axes,) = figure.axes
    assert "no ratio to draw" in [text.get_text() for text in axes.texts]
    assert not bars_of(axes)[1].any()
    assert "median (MRR)" not in legend_of(figure)
    known = "not defined" if shuffled.isnan().all() else "0.00 (95 % -0.07 to 0.11)"
    assert figure.get_suptitle().splitlines()[1] == f"Motion Reliance Ratio {known}"


@pytest.mark.parametrize("spread", [0.0, 0.5, 1.5, 3.0, 8.0])
def test_the_numbers_of_the_bounds_do_not_touch(spread):
    ordered = torch.rand(1, 16) + 0.2
    shuffled = ordered[:, None] * torch.randn(1, 20, 16).mul(spread).exp()
    assert_legible(views.ratio_distribution(shuffle_result(ordered, shuffled)))


# Flow.


@pytest.mark.parametrize("fps", [None, 4.0])
def test_the_flow_is_drawn_at_the_later_frame_of_each_pair(fps):
    result = random_shuffle()
    clip = None if fps is None else random_clip(8, fps)
    figure = views.flow_profile(result, clip, example=1)
    upper, lower = figure.axes
    times = np.arange(8) / (fps or 1)
    flow = line(upper, "flow into the frame")
    np.testing.assert_allclose(flow.get_xdata(), times[1:])
    np.testing.assert_allclose(flow.get_ydata(), result.flow[1])
    assert flow.get_color() == GREEN
    shuffled = result.shuffled_scores[1].double().numpy()
    for label, expected in (
        ("in order", result.ordered_scores[1].double()),
        ("median of 20 orders", np.median(shuffled, 0)),
    ):
        np.testing.assert_allclose(line(lower, label).get_xdata(), times)
        np.testing.assert_allclose(line(lower, label).get_ydata(), expected, rtol=1e-12)
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_ylim()[0] == lower.get_ylim()[0] == 0
    assert not upper.get_xlabel()
    assert lower.get_xlabel() == ("frame" if fps is None else "time in the video (s)")
    assert legend_of(figure) == ["flow into the frame", "median of 20 orders", "in order"]


def test_the_title_gives_the_drop_and_the_correlations_that_it_is_of():
    result = random_shuffle()
    flow, ordered = result.flow[1].double().numpy(), result.ordered_scores[1].double().numpy()
    shuffled = result.shuffled_scores[1].double().numpy()
    in_order = np.corrcoef(flow, ordered[1:])[0, 1]
    others = np.mean([np.corrcoef(flow, scores[1:])[0, 1] for scores in shuffled])
    assert views.flow_profile(result, example=1).get_suptitle().splitlines() == [
        "Flow and scores of frames, class 4",
        f"Flow Correlation Drop {result.interval('flow_correlation_drop', 1)}",
        f"r = {in_order:.2f} in order, {others:.2f} in the mean of shuffled clips",
    ]
    assert in_order - others == pytest.approx(result.flow_correlation_drop[1].item())


def test_a_drop_that_is_not_defined_is_called_so():
    still = random_shuffle(batch=1, flow=False)
    still = shuffle_result(still.ordered_scores, still.shuffled_scores, torch.zeros(1, 7))
    for result in (still, unknown_result()):
        assert views.flow_profile(result).get_suptitle().splitlines()[1:] == [
            "Flow Correlation Drop not defined: the flow or a profile of scores is constant"
        ]
    assert views.flow_profile(still).axes[0].get_ylim() == (0, 1)
    # The axis has all frames, though nothing is drawn.
    assert views.flow_profile(unknown_result()).axes[1].get_xlim() == pytest.approx((-0.28, 7.28))


# The curve over ranges.


def curve_of(lengths=(1, 2, 4, 8), kind="block length", orders=(20, 20, 20, 1), batch=2):
    """A curve of random values; only what a picture reads is as in life."""
    names = [name for name in SHUFFLE_MEASURES if name != "flow_correlation_drop"]
    values = {name: torch.rand(batch, len(lengths)).double() for name in names}
    ends = torch.tensor([-0.04, 0.09], dtype=torch.float64)
    return ShuffleCurve(
        shufflings=tuple(f"BlockShuffle(length={length})" for length in lengths),
        lengths=lengths,
        kind=kind,
        orders=orders,
        target=torch.zeros(len(next(iter(values.values()))), dtype=torch.long),
        values=values,
        intervals={name: value[..., None] + ends for name, value in values.items()},
        run=Run("by frame", (), "full", 1.0, 6.0, {"by frame": 16}, 0.5),
    )


def test_the_curve_has_an_axis_for_each_measure_with_values_and_intervals_in_order():
    curve = curve_of(lengths=(4, 1, 8, 2), orders=(20, 20, 1, 20))
    order = [1, 3, 0, 2]
    measures = ("rank_correlation", "mrr", "logit_drop", "rising_share")
    figure = views.range_curve(curve, example=1, measures=measures)
    for axes, name in zip(figure.axes, measures, strict=True):
        assert axes.get_title() == SHUFFLE_MEASURES[name].label
        drawn = line(axes, "shuffled")
        assert list(drawn.get_xdata()) == [1, 2, 4, 8]
        np.testing.assert_array_equal(drawn.get_ydata(), curve.values[name][1][order])
        bands = curve.intervals[name][1][order].numpy()
        places, ends = band_ends(axes.collections[0])
        np.testing.assert_array_equal(places, [1, 2, 4, 8])
        np.testing.assert_allclose(ends, bands, rtol=1e-12)
        (segments,) = strokes(axes)
        np.testing.assert_allclose(segments[:, :, 1], bands, rtol=1e-12)
        np.testing.assert_array_equal(segments[:, 0, 0], [1, 2, 4, 8])
        unchanged = line(axes, "order changes nothing").get_ydata()
        assert list(unchanged) == [UNCHANGED[name]] * 2
        low, high = axes.get_ylim()
        assert low < min(bands.min(), UNCHANGED[name])
        assert high > max(bands.max(), UNCHANGED[name])


def test_lengths_are_ticks_with_the_number_of_orders_where_there_are_fewer():
    (axes, *_) = views.range_curve(curve_of()).axes
    assert axes.get_xscale() == "log"
    assert list(axes.get_xticks()) == [1, 2, 4, 8]
    labels = [text.get_text() for text in axes.get_xticklabels()]
    assert labels == ["1", "2", "4", "8\n(1)"]
    several = {"a": curve_of(orders=(20, 20, 5, 1)), "b": curve_of(orders=(9, 9, 9, 3))}
    labels = [text.get_text() for text in views.range_curve(several).axes[0].get_xticklabels()]
    assert labels == ["1", "2", "4\n(5)", "8\n(1, 3)"]


@pytest.mark.parametrize("kind", ["block length", "radius"])
def test_the_title_says_what_the_curve_means(kind):
    figure = views.range_curve(curve_of(kind=kind))
    kept, reading = figure.get_suptitle().splitlines()
    brackets = "in brackets: orders, where fewer"
    assert {axes.get_xlabel() for axes in figure.axes} == {f"{kind} (frames)\n{brackets}"}
    equal = views.range_curve(curve_of(kind=kind, orders=(20,) * 4))
    assert {axes.get_xlabel() for axes in equal.axes} == {f"{kind} (frames)"}
    assert ("the order inside them is kept" in kept) == (kind == "block length")
    assert ("returns to the dashed line" in reading) == (kind == "block length")
    assert ("leaves the dashed line" in reading) == (kind == "radius")


def test_models_have_curves_in_colours_and_marks_of_their_own():
    curves = {"one": curve_of(), "$two$": curve_of((2, 4), orders=(20, 20))}
    figure = views.range_curve(curves, example=1)
    for axes, name in zip(
        figure.axes, ("mrr", "median_log_ratio", "probability_drop"), strict=True
    ):
        drawn = [line(axes, label.replace("$", r"\$")) for label in curves]
        for one, curve in zip(drawn, curves.values(), strict=True):
            assert list(one.get_xdata()) == list(curve.lengths)
            np.testing.assert_array_equal(one.get_ydata(), curve.values[name][1])
        assert [one.get_color() for one in drawn] == [STRONG, BLUE]
        assert drawn[0].get_marker() != drawn[1].get_marker()
        # Where both are the same, both can be seen.
        assert drawn[0].get_markersize() > drawn[1].get_markersize()
    assert legend_of(figure) == ["order changes nothing", "one", r"\$two\$"]


def test_a_curve_of_one_length_or_without_values_can_be_drawn():
    (axes, *_) = views.range_curve(curve_of((3,), orders=(5,))).axes
    assert list(line(axes, "shuffled").get_xdata()) == [3]
    assert axes.get_xlim()[0] < 3 < axes.get_xlim()[1]
    curve = curve_of()
    nothing = {name: torch.full_like(value, NAN) for name, value in curve.values.items()}
    ends = {name: torch.full_like(value, NAN) for name, value in curve.intervals.items()}
    unknown = dataclasses.replace(curve, values=nothing, intervals=ends)
    for axes in views.range_curve(unknown).axes:
        assert [text.get_text() for text in axes.texts] == ["not defined"]


def test_rounding_is_not_enlarged():
    curve = curve_of()
    same = {name: torch.full((2, 4), UNCHANGED[name] + 1e-9).double() for name in curve.values}
    ends = {name: value[..., None].expand(-1, -1, 2) for name, value in same.items()}
    blind = dataclasses.replace(curve, values=same, intervals=ends)
    for axes in views.range_curve(blind).axes:
        low, high = axes.get_ylim()
        assert high - low == pytest.approx(0.1)


# Segments of a clip, and many clips.


def set_of(count=5, names=tuple(SHUFFLE_MEASURES), starts=None, size=None):
    values = {name: torch.rand(count).double() for name in names}
    ends = torch.tensor([-0.04, 0.09], dtype=torch.float64)
    return ShuffleSet(
        names=tuple(f"clip {number}" for number in range(count)),
        values=values,
        intervals={name: value[:, None] + ends for name, value in values.items()},
        means={
            name: Interval(value.mean().item(), value.mean().item() - 0.1, 0.95, 0.95)
            for name, value in values.items()
        },
        defined=dict.fromkeys(names, count),
        p_value=0.5,
        logit_p_value=0.5,
        notes=(),
        starts=starts,
        size=size,
    )


def segmented_set(**options):
    return set_of(starts=(0, 6, 12, 18, 28), size=12, **options)


def without(found, name, places):
    """The same set, where a measure is not defined for some clips."""
    found.values[name][places] = NAN
    found.intervals[name][places] = NAN
    known = found.values[name][found.values[name].isfinite()]
    found.defined[name] = len(known)
    mean = known.mean().item()
    found.means[name] = Interval(mean, mean, mean, 0.95)
    return found


@pytest.mark.parametrize("fps", [None, 8.0])
def test_each_segment_is_a_bar_over_its_frames(fps):
    segments = segmented_set()
    clip = None if fps is None else random_clip(40, fps)
    measures = ("rank_correlation", "mrr")
    figure = views.segment_timeline(segments, clip, measures=measures)
    starts = np.array(segments.starts)
    first, last = starts / (fps or 1), (starts + 11) / (fps or 1)
    for axes, name in zip(figure.axes, measures, strict=True):
        bars, intervals = strokes(axes)
        values = segments.values[name].numpy()
        np.testing.assert_allclose(bars[:, :, 0], np.stack([first, last], 1))
        np.testing.assert_array_equal(bars[:, :, 1], np.stack([values, values], 1))
        np.testing.assert_allclose(intervals[:, 0, 0], (first + last) / 2)
        np.testing.assert_allclose(intervals[:, :, 1], segments.intervals[name], rtol=1e-12)
        mean = segments.means[name]
        assert list(line(axes, "mean over segments").get_ydata()) == [mean.value] * 2
        (band,) = axes.patches
        assert band.get_y() == pytest.approx(mean.low)
        assert band.get_y() + band.get_height() == pytest.approx(mean.high)
        assert axes.get_title(loc="left") == f"{SHUFFLE_MEASURES[name].label}: mean {mean}"
        low, high = axes.get_ylim()
        assert low < min(intervals[:, 0, 1].min(), mean.low)
        assert high > max(intervals[:, 1, 1].max(), mean.high)
    assert figure.axes[-1].get_xlabel() == ("frame" if fps is None else "time in the video (s)")
    assert figure.get_suptitle() == "5 segments of 12 frames, each as a clip of its own"


def test_measures_that_are_not_in_the_set_are_left_out_of_the_default():
    def titles(segments):
        axes = views.segment_timeline(segments).axes
        return [one.get_title(loc="left").split(":")[0] for one in axes]

    both = ["Motion Reliance Ratio", "drop of the target's probability"]
    assert titles(segmented_set()) == [both[0], "Flow Correlation Drop", both[1]]
    assert titles(segmented_set(names=("mrr", "rising_share", "probability_drop"))) == both


def test_segments_without_a_number_are_marked():
    segments = without(segmented_set(), "flow_correlation_drop", [1, 4])
    figure = views.segment_timeline(segments, measures=("flow_correlation_drop",))
    (axes,) = figure.axes
    assert list(line(axes, "not defined").get_xdata()) == [11.5, 33.5]
    assert len(strokes(axes)[0]) == 3
    assert axes.get_title(loc="left").endswith(", over 3 of 5 segments")
    without(segments, "flow_correlation_drop", [0, 1, 2, 3, 4])
    figure = views.segment_timeline(segments, measures=("flow_correlation_drop",))
    (axes,) = figure.axes
    assert len(line(axes, "not defined").get_xdata()) == 5
    assert "mean over segments" not in legend_of(figure)
    assert axes.get_title(loc="left").startswith("Flow Correlation Drop: mean not defined")


def test_an_interval_without_an_end_reaches_the_edge():
    segments = segmented_set()
    segments.intervals["mrr"][2, 1] = INF
    (axes,) = views.segment_timeline(segments, measures=("mrr",)).axes
    assert strokes(axes)[1][2, 1, 1] == pytest.approx(axes.get_ylim()[1])
    (axes,) = views.clip_overview(segments).axes
    assert strokes(axes)[0][2, 1, 0] == pytest.approx(axes.get_xlim()[1])


def test_one_segment_can_be_drawn():
    segments = set_of(1, starts=(0,), size=12)
    title = "1 segment of 12 frames, each as a clip of its own"
    assert views.segment_timeline(segments, random_clip(12)).get_suptitle() == title


@pytest.mark.parametrize("measure", SHUFFLE_MEASURES)
def test_each_clip_has_a_row_and_the_mean_one_below(measure):
    clips = set_of()
    figure = views.clip_overview(clips, measure)
    (axes,) = figure.axes
    dots, diamond = line(axes, "one clip"), line(axes, "mean over clips")
    np.testing.assert_array_equal(dots.get_xdata(), clips.values[measure])
    each, mean = strokes(axes)
    np.testing.assert_allclose(each[:, :, 0], clips.intervals[measure], rtol=1e-12)
    np.testing.assert_array_equal(each[:, 0, 1], dots.get_ydata())
    found = clips.means[measure]
    assert list(diamond.get_xdata()) == [found.value]
    np.testing.assert_allclose(mean[0, :, 0], (found.low, found.high), rtol=1e-12)
    assert mean[0, 0, 1] == diamond.get_ydata()[0]
    assert (dots.get_color(), diamond.get_color()) == (BLUE, STRONG)
    # The axis runs down: the first clip is at the top, and the mean below all.
    rows = [*dots.get_ydata(), *diamond.get_ydata()]
    assert rows == sorted(rows)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    assert list(axes.get_yticks()) == rows
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == [*clips.names, "mean of 5"]
    assert line(axes, "order changes nothing").get_xdata()[0] == UNCHANGED[measure]
    assert axes.get_xlabel() == SHUFFLE_MEASURES[measure].label
    assert figure.get_suptitle().endswith(f", clip by clip\nmean {found}")


def test_rows_without_a_number_say_so():
    clips = without(set_of(), "mrr", [0, 3])
    clips.values["mrr"][1] = INF
    (axes,) = views.clip_overview(clips).axes
    said = {text.get_position()[1]: text.get_text() for text in axes.texts}
    assert said == {0: "not defined", 1: "infinite", 3: "not defined"}
    assert list(line(axes, "one clip").get_ydata()) == [2, 4]
    assert axes.get_yticklabels()[-1].get_text() == "mean of 3"
    (axes,) = views.clip_overview(without(set_of(), "mrr", [0, 1, 2, 3, 4])).axes
    assert [text.get_text() for text in axes.texts] == ["not defined"] * 6


def test_long_names_keep_their_end_and_are_taken_as_they_are():
    names = ("$a$_b", "f/" * 40 + "clip_7.webm")
    clips = dataclasses.replace(set_of(2), names=names)
    figure = views.clip_overview(clips)
    short, long, _ = (text.get_text() for text in figure.axes[0].get_yticklabels())
    assert short == "$a$_b"
    assert long.startswith("…")
    assert long.endswith("/clip_7.webm")
    assert len(long) == 40
    assert_legible(figure)


def test_clips_that_are_all_the_same_have_an_axis_about_them():
    values = {"mrr": torch.full((3,), 1 - 1e-8).double()}
    ends = {"mrr": torch.full((3, 2), 1 - 1e-8).double()}
    means = {"mrr": Interval(1.0, 1.0, 1.0, 0.95)}
    clips = ShuffleSet(
        ("a", "b", "c"), values, ends, means, {"mrr": 3}, 1.0, 1.0, (), (0, 6, 12), 12
    )
    (axes,) = views.clip_overview(clips).axes
    assert axes.get_xlim() == pytest.approx((0.95, 1.05))
    (axes,) = views.segment_timeline(clips).axes
    assert axes.get_ylim() == pytest.approx((0.95, 1.05))


# All.


def assert_legible(figure):
    """No text leaves the picture or touches another."""
    texts = texts_of(figure)
    width, height = figure.bbox.size
    for text, box in texts:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for (one, first), (other, second) in combinations(texts, 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        up = min(first.y1, second.y1) - max(first.y0, second.y0)
        # A box has room for letters that go below the line.
        assert min(across, up) <= 2, (one, other)


def pictures():
    result, blind, unknown = random_shuffle(16), blind_result(), unknown_result()
    for found in (result, blind, unknown):
        yield views.shuffle_profile(found)
        yield views.ratio_distribution(found)
        yield views.flow_profile(found)
    yield views.shuffle_profile(result, random_clip(16))
    yield views.range_curve(curve_of())
    yield views.range_curve(curve_of(), measures=("rank_correlation", "mrr") * 2)
    yield views.range_curve(curve_of(), measures=("rank_correlation",))
    names = ("a model", "another model with a rather long name", "three", "four", "five", "six")
    yield views.range_curve({name: curve_of() for name in names})
    yield views.range_curve(curve_of(tuple(range(1, 17)), orders=(20,) * 9 + (1,) * 7))
    yield views.range_curve(curve_of((1, 2, 4, 8, 16, 32), orders=(20, 20, 20, 10, 6, 1)))
    yield views.segment_timeline(segmented_set())
    yield views.segment_timeline(segmented_set(), measures=tuple(SHUFFLE_MEASURES))
    yield views.segment_timeline(without(segmented_set(), "mrr", [0, 1]), random_clip(40))
    for count in (1, 8, 60):
        yield views.clip_overview(set_of(count))
    yield views.clip_overview(without(set_of(), "rank_correlation", [2]), "rank_correlation")


def test_every_picture_can_be_read_and_a_notebook_shows_it():
    for figure in pictures():
        assert_legible(figure)
        assert_a_notebook_shows(figure)


def test_the_line_of_no_change_is_what_equal_scores_give():
    ordered, flow = torch.rand(1, 8), torch.rand(1, 7)
    logits = torch.randn(1, 4)
    same = ordered[:, None].expand(-1, 5, -1), logits[:, None].expand(-1, 5, -1)
    samples = shuffle_samples(ordered, same[0], logits, same[1], torch.tensor([2]), flow)
    assert set(UNCHANGED) == set(SHUFFLE_MEASURES) == set(samples)
    for name, drawn in samples.items():
        assert SHUFFLE_MEASURES[name].of(drawn).item() == pytest.approx(UNCHANGED[name], abs=1e-12)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    "draw", [views.shuffle_profile, views.ratio_distribution, views.flow_profile]
)
@pytest.mark.parametrize("example", [-1, 2])
def test_an_example_that_is_not_there(draw, example):
    with pytest.raises(OptionError, match=f"an example from 0 to 1, got {example}. The batch"):
        draw(random_shuffle(), example=example)


@pytest.mark.usefixtures("as_user")
def test_the_clip_must_be_that_of_the_result():
    result = random_shuffle()
    for draw in (views.shuffle_profile, views.flow_profile):
        with pytest.raises(ClipError, match="explained, with 8 frames, got one with 9. Pass the"):
            draw(result, random_clip(9))
        with pytest.raises(OptionError, match="an example from 0 to 1, got 2"):
            draw(result, random_clip(8), example=2)
    with pytest.raises(ClipError, match="segments, with at least 40 frames, got one with 39. Pass"):
        views.segment_timeline(segmented_set(), random_clip(39))


@pytest.mark.usefixtures("as_user")
def test_what_was_not_computed_is_named():
    with pytest.raises(DataError, match="with flow, got one without. Call explain"):
        views.flow_profile(random_shuffle(flow=False))
    with pytest.raises(DataError, match="segments of a clip, got a set of clips. Draw"):
        views.segment_timeline(set_of())
    few = segmented_set(names=("mrr", "rising_share"))
    with pytest.raises(OptionError, match="of these: mrr, rising_share, got 'fcd'. Choose"):
        views.segment_timeline(few, measures=("mrr", "fcd"))
    with pytest.raises(OptionError, match="of these: mrr, rising_share, got none"):
        views.segment_timeline(few, measures=())
    with pytest.raises(OptionError, match="of these: rising_share, got none"):
        views.segment_timeline(segmented_set(names=("rising_share",)))
    with pytest.raises(OptionError, match="of these: mrr, rising_share, got 'logit_drop'"):
        views.clip_overview(few, "logit_drop")


@pytest.mark.usefixtures("as_user")
def test_curves_that_cannot_be_drawn_together():
    with pytest.raises(DataError, match="at least one curve, got none. Give them by name"):
        views.range_curve({})
    mixed = {"a": curve_of(), "b": curve_of(kind="radius")}
    with pytest.raises(DataError, match="one kind of length, got block length and radius. Draw"):
        views.range_curve(mixed)
    with pytest.raises(OptionError, match="got 'flow_correlation_drop'. Choose"):
        views.range_curve(curve_of(), measures=("mrr", "flow_correlation_drop"))
    with pytest.raises(OptionError, match="measures of these: probability_drop, .*, got none"):
        views.range_curve(curve_of(), measures=())
    for example in (-1, 1):
        both = {"two": curve_of(), "one": curve_of(batch=1)}
        with pytest.raises(OptionError, match=f"an example from 0 to ., got {example}. The"):
            views.range_curve(both, example=example)
