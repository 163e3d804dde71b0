"""What a picture says of itself is true, and all of it can be read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from temporal_attr import Clip, views
from temporal_attr.views._common import blend
from temporal_attr.views._overlay import beyond
from tests.results.made import FRAMES, NAMES, made, one_clip

LONG = tuple(f"{name} towards a place whose name takes long to read aloud" for name in NAMES)


def first(name):
    """A result of the first clip alone, and the clip."""
    return made(name), one_clip()


def assert_nothing_is_cut_off(figure):
    figure.draw_without_rendering()
    labels = [text for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label)]
    for text in [*figure.texts, *labels]:
        if text.get_text():
            box, page = text.get_window_extent(), figure.bbox
            assert min(box.x0, box.y0) >= 0, text.get_text()
            assert box.x1 <= page.x1, text.get_text()
            assert box.y1 <= page.y1, text.get_text()


# Where a place has one number.


@pytest.mark.parametrize("name", ["rollout", "attention"])
def test_the_attention_of_a_place_is_the_sum_over_its_channels(name):
    result, clip = first(name)
    # Of a model that reads its channels unlike each other, or only one of them.
    uneven = result.attribution * torch.tensor([1.0, 0.0, 2.0])[:, None, None]
    for given in (result, replace(result, attribution=uneven)):
        share = given.attribution[0].sum(1).numpy()
        figure = views.overlay_grid(given, clip, percentile=100)
        *frames, bar = figure.axes
        assert bar.get_ylim() == pytest.approx((0, share.max()))
        assert bar.get_ylabel().splitlines()[0] == given.meaning
        expected = blend(clip.images(), share, float(share.max()), "absolute")
        for axes, picture in zip(frames, expected, strict=False):
            np.testing.assert_allclose(axes.images[0].get_array(), picture, atol=1e-6)


def test_an_absolute_value_is_named_only_where_there_is_a_sign():
    signed, clip = first("activation")
    assert (signed.attribution < 0).any()
    positive = replace(signed, attribution=signed.attribution.abs())
    for given, said in ((signed, "GradCAM for the logit, absolute value"), (positive, "logit")):
        label = views.overlay_grid(given, clip).axes[-1].get_ylabel()
        assert label.splitlines()[0].endswith(said)


# Titles.


def test_rollout_is_not_titled_with_a_class():
    result, clip = first("rollout")
    for given in (result, replace(result, class_names=())):
        title = views.glance(given).get_suptitle()
        assert title == "AttentionRollout for any class, frame by frame"
    strip, grid = views.frame_strip(result, clip), views.overlay_grid(result, clip)
    assert strip.get_suptitle() == title
    assert grid.get_suptitle() == "AttentionRollout for any class, place by place"
    flow = views.flow_saliency(result, clip, thumbnails=1).get_suptitle().splitlines()[0]
    assert flow == "Any class: share by attention rollout, beside flow"


def test_a_class_activation_map_is_titled_with_its_method():
    result, clip = first("activation")
    for name in ("GradCAM", "LayerCAM"):
        given = replace(result, method_name=name)
        title = views.overlay_grid(given, clip).get_suptitle()
        assert title == f"{name} for running (1), place by place"
        assert given.summary().startswith(f"{name}: 1 forward")


def test_a_title_says_what_the_lines_on_the_bars_are():
    result, clip = first("expected")
    none = replace(result, frame_error=torch.zeros_like(result.frame_error))
    for draw in (views.glance, lambda given: views.frame_strip(given, clip)):
        with_lines, without = draw(result), draw(none)
        assert with_lines.get_suptitle().endswith(", frame by frame, with standard errors")
        assert with_lines.axes[0].collections
        assert without.get_suptitle().endswith(", frame by frame")
        assert not without.axes[0].collections


def test_gradient_attention_says_whether_the_identity_is_in_it():
    result, clip = first("attention")
    for given, named in ((result, True), (replace(result, identity=False), False)):
        for figure in (views.overlay_grid(given, clip), views.frame_strip(given, clip)):
            label = figure.axes[0].get_ylabel() + figure.axes[-1].get_ylabel()
            assert ("with the identity" in label) is named


# Scales.


@pytest.mark.parametrize(
    ("heat", "ends"),
    [
        ([0, 1, 1], "neither"),
        ([0, 1, 2], "max"),
        ([-2, 0, 1], "min"),
        ([-2, 0, 2], "both"),
        ([-1, 0, 1], "neither"),
    ],
)
def test_a_colour_bar_points_on_only_where_there_is_heat_beyond_it(heat, ends):
    assert beyond(np.array(heat, np.float32).reshape(1, 1, 3), 1.0) == ends


def test_a_mask_that_is_full_in_many_places_ends_its_scale_at_the_largest():
    result, clip = first("masks")
    mask = torch.zeros_like(result.attribution)
    mask[..., :8] = 1
    mask[..., 8] = 0.5
    bar = views.overlay_grid(replace(result, attribution=mask), clip).axes[-1]
    assert bar.get_ylabel().endswith("ends at the largest)")
    assert bar.get_ylim() == (0, 1)
    # Blocks of pixels have a larger one.
    mask[0, 0, :, 0, 0] = 3
    bar = views.overlay_grid(replace(result, attribution=mask), clip).axes[-1]
    assert bar.get_ylabel().endswith("ends at percentile 99.5)")
    assert bar.get_ylim() == (0, 1)


def test_little_heat_is_seen_beside_others():
    result, clip = first("masks")
    little = torch.zeros_like(result.attribution)
    little[0, 2, :, 0, 0] = 0.01
    figure = views.side_by_side({"one": replace(result, attribution=little)}, clip)
    heat = figure.subfigs[0].subfigs[0].axes[0].images[2].get_array()
    grey = clip.images()[2].mean(-1, keepdims=True).repeat(3, -1)
    np.testing.assert_allclose(heat[1:], grey[1:], atol=1e-6)
    # The last colour over the frame, and not some dark one.
    expected = 0.75 * np.array([0.988362, 0.998364, 0.644924]) + 0.25 * grey[0, 0]
    np.testing.assert_allclose(heat[0, 0], expected, atol=1e-6)


# What fits.


@pytest.mark.parametrize("name", ["selective", "expected"])
def test_no_text_is_cut_off(name):
    result, clip = first(name)
    result = replace(result, class_names=LONG)
    assert_nothing_is_cut_off(views.glance(result))
    assert_nothing_is_cut_off(views.frame_strip(result, clip))
    # Of a single row, which is the lowest.
    assert_nothing_is_cut_off(views.overlay_grid(result, clip, columns=FRAMES))


def test_the_colour_bar_of_a_long_clip_stands_beside_its_first_frames():
    clip = Clip.from_tensor(torch.rand(1, 8, 3, 8, 8))
    figure = views.overlay_grid(torch.rand(1, 8, 3, 8, 8), clip, columns=1)
    figure.draw_without_rendering()
    *frames, bar = [axes.get_window_extent() for axes in figure.axes]
    assert 5 < bar.height / figure.dpi < 7.5
    assert bar.y1 == pytest.approx(frames[0].y1, abs=0.5 * figure.dpi)
    # Nor does it take the room of the frames.
    assert frames[0].width > 0.9 * 2.2 * figure.dpi
