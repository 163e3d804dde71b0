"""Pictures of rescaled attributions: what is drawn is what was found."""

import dataclasses
import re
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from temporal_attr import Blocks, ClipError, FrameMaskingTSR, OptionError, TemporalGradient, views
from temporal_attr.attributions import FrameMaskingTSRResult, Run
from temporal_attr.clips import Clip, Normalization
from temporal_attr.measures import flow_agreement, keyframe_agreement, optical_flow, saliency_video
from temporal_attr.synthetic import Mixed
from temporal_attr.views._common import blend
from temporal_attr.zoo import load_pretrained
from tests.helpers.pictures import legend_of, random_clip

RED, BLUE, GREEN, MUTED = "#d1495b", "#30638e", "#3c887e", "#8d99ae"
SIDE = 16


def tsr_result(frames=8, batch=2, **changed):
    """A result of random numbers, with a threshold that keeps about half of the frames."""
    relevance = torch.rand(batch, frames) + 0.1
    attribution = changed.pop("attribution", torch.randn(batch, frames, 3, SIDE, SIDE))
    fields = {
        "logits": torch.randn(batch, 9),
        "target": torch.arange(batch) + 3,
        "run": Run("by clip", (), "full", 1.0, 1.0, {}, 0.5),
        "attribution": attribution,
        "frame_scores": relevance,
        "base": attribution,
        "time_contribution": torch.randn(batch, frames) / 10,
        "accuracy_contribution": torch.zeros(batch, frames),
        "kept": relevance >= relevance.median(1, keepdim=True).values,
        "keyframes": torch.arange(frames).expand(batch, -1) % 3 == torch.arange(batch)[:, None],
        "steps": "one",
        "masks": frames,
        "complete": True,
        "notes": (),
        "method_name": "Saliency",
    }
    return FrameMaskingTSRResult(**{**fields, **changed})


def bars(axes):
    """Centre, height and colour of each bar, from left to right."""
    found = [
        (bar.get_x() + bar.get_width() / 2, bar.get_height(), to_hex(bar.get_facecolor()))
        for bar in axes.patches
    ]
    return zip(*sorted(found), strict=True)


def line_that_starts(axes, label):
    (found,) = [one for one in axes.lines if str(one.get_label()).startswith(label)]
    return found


def thumbnails_of(axes):
    """Place, picture and frame of each thumbnail; the frame is its colour, or None."""
    return [
        (
            artist.xy[0],
            artist.offsetbox.get_data(),
            to_hex(artist.patch.get_edgecolor()) if artist.patch.get_visible() else None,
        )
        for artist in axes.artists
    ]


# The strip of keyframes.


@pytest.mark.parametrize("example", [0, 1])
def test_both_panels_have_a_bar_for_each_frame_at_its_time(example):
    result, clip = tsr_result(), random_clip()
    upper, lower = views.keyframe_strip(result, clip, example=example).axes
    times, heights, colours = bars(upper)
    assert times == pytest.approx(clip.timestamps)
    assert heights == pytest.approx(result.time_relevance[example].tolist())
    kept = result.kept[example].tolist()
    assert len(set(kept)) == 2
    assert list(colours) == [BLUE if one else MUTED for one in kept]
    times, heights, colours = bars(lower)
    assert times == pytest.approx(clip.timestamps)
    assert heights == pytest.approx(result.time_contribution[example].tolist())
    assert min(heights) < 0 < max(heights)
    assert set(colours) == {GREEN}
    assert lower.get_ylim()[0] < min(heights)
    assert lower.get_ylim()[1] > max(heights)


def test_the_panels_and_the_thumbnails_are_aligned():
    clip = random_clip()
    figure = views.keyframe_strip(tsr_result(), clip)
    upper, lower = figure.axes
    figure.draw_without_rendering()
    assert upper.get_xlim() == lower.get_xlim()
    assert upper.get_position().intervalx == pytest.approx(lower.get_position().intervalx)
    boxes = [artist.get_window_extent() for artist in upper.artists]
    for seconds, box in zip(clip.timestamps, boxes, strict=True):
        assert (box.x0 + box.x1) / 2 == pytest.approx(
            upper.transData.transform((seconds, 0))[0], abs=1
        )
        assert box.y0 >= upper.get_window_extent().y1
    assert lower.get_xlabel() == "time in the video (s)"


@pytest.mark.parametrize("example", [0, 1])
def test_red_is_around_keyframes_and_around_nothing_else(example):
    result, clip = tsr_result(), random_clip()
    upper, lower = views.keyframe_strip(result, clip, example=example).axes
    found = thumbnails_of(upper)
    listed = result.keyframes[example].tolist()
    assert 0 < sum(listed) < len(listed)
    assert [frame for _, _, frame in found] == [RED if one else None for one in listed]
    for (_, drawn, _), picture in zip(found, clip.images(), strict=True):
        np.testing.assert_array_equal(drawn, picture)
    marks = line_that_starts(lower, "keyframe")
    expected = [time for time, one in zip(clip.timestamps, listed, strict=True) if one]
    assert list(marks.get_xdata()) == expected
    assert to_hex(marks.get_color()) == RED


def test_keyframes_without_a_thumbnail_are_marked_too():
    result, clip = tsr_result(frames=30), random_clip(frames=30)
    upper, lower = views.keyframe_strip(result, clip, thumbnails=4).axes
    shown = [0, 10, 19, 29]
    found = thumbnails_of(upper)
    assert [place for place, _, _ in found] == [clip.timestamps[place] for place in shown]
    listed = result.keyframes[0]
    assert [frame == RED for _, _, frame in found] == listed[shown].tolist()
    assert len(line_that_starts(lower, "keyframe").get_xdata()) == int(listed.sum()) == 10
    assert len(upper.patches) == len(lower.patches) == 30


@pytest.mark.parametrize("fps", [4.0, 0.1, 300.0])
@pytest.mark.parametrize(("frames", "thumbnails"), [(8, 8), (40, 16), (37, 11), (1, 1), (2, 3)])
def test_thumbnails_do_not_overlap(frames, thumbnails, fps):
    result, clip = tsr_result(frames=frames), random_clip(frames, fps)
    for draw in (views.keyframe_strip, views.frame_strip):
        figure = draw(result, clip, thumbnails=thumbnails)
        figure.draw_without_rendering()
        boxes = [artist.get_window_extent() for artist in figure.axes[0].artists]
        assert len(boxes) == min(frames, thumbnails)
        for left, right in pairwise(boxes):
            assert left.x1 < right.x0
        assert min(box.width for box in boxes) > 30


def test_the_title_gives_the_agreement_beside_chance():
    relevance = torch.tensor([[0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6]])
    listed = torch.tensor([[True, True, False, True, False, False, False, False]])
    result = tsr_result(batch=1, frame_scores=relevance, keyframes=listed)
    title, hits, chance = views.keyframe_strip(result, random_clip()).get_suptitle().splitlines()
    # The three most relevant are frames 1, 3 and 5; 3 of 8 frames are keyframes.
    assert title == "Class 3: Saliency, rescaled in time"
    assert hits == "keyframes among the 3 most relevant frames: 2"
    p_value = keyframe_agreement(relevance, listed).p_value.item()
    assert p_value == pytest.approx(16 / 56)
    assert chance == "by chance 1.1, as 3 of 8 frames are keyframes (p = 0.29)"


@pytest.mark.parametrize("found", [8, 6])
def test_where_most_frames_are_keyframes_they_are_left_out_and_it_is_said(found):
    keyframes = (torch.arange(8) < found).expand(2, -1)
    figure = views.keyframe_strip(tsr_result(keyframes=keyframes), random_clip())
    said = figure.get_suptitle().splitlines()[1]
    assert said == f"no keyframes: {found} of 8 frames would be, as the clip changes throughout"
    assert_nothing_is_red(figure)


def test_of_a_clip_that_leaves_frames_out_there_are_no_keyframes():
    whole = random_clip()
    for indices, share in (
        ([2, 20, 38, 56, 74, 92, 110, 128], "one frame in 18"),
        ([0, 1, 2, 3, 4, 5, 6, 8], "some of the frames"),
    ):
        figure = views.keyframe_strip(
            tsr_result(), dataclasses.replace(whole, indices=tuple(indices))
        )
        said = figure.get_suptitle().splitlines()[1]
        expected = f"they are of frames in a row, and the clip has {share} of its video"
        assert said == f"no keyframes: {expected}"
        assert_nothing_is_red(figure)


def assert_nothing_is_red(figure):
    upper, lower = figure.axes
    assert [frame for _, _, frame in thumbnails_of(upper)] == [None] * 8
    assert "keyframe" not in legend_of(figure)
    assert all(to_hex(one.get_color()) != RED for one in (*upper.lines, *lower.lines))


def test_unknown_keyframes_are_said_and_nothing_is_red():
    figure = views.keyframe_strip(tsr_result(keyframes=None), random_clip())
    assert "keyframes not known: pixels are not known" in figure.get_suptitle()
    assert_nothing_is_red(figure)


def test_the_threshold_is_drawn_at_the_least_that_is_kept():
    result = tsr_result()
    figure = views.keyframe_strip(result, random_clip())
    least = result.time_relevance[0][result.kept[0]].min().item()
    drawn = line_that_starts(figure.axes[0], "least that is kept")
    assert list(drawn.get_ydata()) == pytest.approx([least, least])
    assert drawn.get_label().endswith(f"{least:.3g}")
    assert set(legend_of(figure)) == {drawn.get_label(), "kept", "not kept", "keyframe"}


def test_without_a_threshold_nothing_is_said_of_it():
    figure = views.keyframe_strip(
        tsr_result(kept=torch.ones(2, 8, dtype=torch.bool)), random_clip()
    )
    assert legend_of(figure) == ["keyframe"]
    assert not figure.axes[0].lines
    none = views.keyframe_strip(tsr_result(kept=torch.zeros(2, 8, dtype=torch.bool)), random_clip())
    assert legend_of(none) == ["not kept", "keyframe"]


def test_a_run_that_was_stopped_says_so_and_draws_no_threshold():
    figure = views.keyframe_strip(tsr_result(complete=False), random_clip())
    assert figure.get_suptitle().splitlines()[-1].startswith("stopped before the end")
    assert not figure.axes[0].lines
    assert set(legend_of(figure)) == {"kept", "not kept, or not done", "keyframe"}
    assert "stopped" not in views.keyframe_strip(tsr_result(), random_clip()).get_suptitle()


def test_nothing_to_tell_apart_gives_no_legend():
    everything = torch.ones(2, 8, dtype=torch.bool)
    figure = views.keyframe_strip(tsr_result(kept=everything, keyframes=None), random_clip())
    assert legend_of(figure) == []


def test_drops_that_are_rounding_do_not_fill_the_axis():
    tiny = torch.full((2, 8), 1e-9)
    result = tsr_result(time_contribution=tiny, frame_scores=torch.zeros(2, 8))
    upper, lower = views.keyframe_strip(result, random_clip()).axes
    assert lower.get_ylim() == pytest.approx((0, 1e-4))
    assert upper.get_ylim() == (0, 1)


def test_drops_are_in_percent():
    (_, lower) = views.keyframe_strip(
        tsr_result(time_contribution=torch.full((2, 8), -0.1)), random_clip()
    ).axes
    assert lower.yaxis.get_major_formatter()(-0.05) == "-5 %"
    assert lower.yaxis.get_major_formatter()(0.0003) == "0.03 %"


def texts_of(figure):
    """Every text that can be seen, with its place in pixels."""
    figure.draw_without_rendering()
    texts = [figure._suptitle, *(text for one in figure.legends for text in one.get_texts())]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            texts += [tick.label1 for tick in axis._update_ticks()]
    shown = [text for text in texts if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent()) for text in shown]


@pytest.mark.parametrize("frames", [3, 8, 100])
def test_all_text_lies_within_the_picture_and_apart(frames):
    result, clip = tsr_result(frames=frames), random_clip(frames)
    for draw in (views.keyframe_strip, views.flow_saliency):
        figure = draw(result, clip)
        found = texts_of(figure)
        for text, box in found:
            assert box.x0 >= 0, text
            assert box.y0 >= 0, text
            assert box.x1 <= figure.bbox.x1, text
            assert box.y1 <= figure.bbox.y1, text
        for place, (text, box) in enumerate(found):
            for other, beside in found[:place]:
                assert not box.overlaps(beside), f"{text!r} lies on {other!r}"


# Saliency beside flow.


@pytest.fixture(scope="module")
def moving():
    """The gradient of a trained model, of a clip in which a thing moves."""
    torch.manual_seed(0)
    model = load_pretrained("mixed-motion-inflated-resnet")
    clip = Mixed(frames=6, size=48).sample(3).clip(model.preprocessing)
    assert clip.normalization != Normalization((0.0,) * 3, (1.0,) * 3)
    return TemporalGradient(model).explain(clip.tensor, 1), clip


def agreement(result, clip, example=0, shuffles=20):
    saliency = saliency_video(result.attribution[example : example + 1])
    flow = optical_flow(clip.normalization.invert(clip.tensor))
    return flow_agreement(saliency, flow, shuffles=shuffles).rank_correlation, saliency[0], flow[0]


def picture_rows(figure):
    """The axes of the pictures, by row; the last column has the colour bars."""
    return np.array(figure.axes[: len(figure.axes) // 3 * 3]).reshape(3, -1)[:, :-1]


def test_each_column_has_its_frame_its_saliency_and_the_flow_into_it(moving):
    result, clip = moving
    figure = views.flow_saliency(result, clip, percentile=100)
    frames, heat, flows = picture_rows(figure)
    assert len(frames) == 6
    found, saliency, flow = agreement(result, clip)
    for place in range(6):
        np.testing.assert_allclose(frames[place].images[0].get_array(), clip.images()[place])
        drawn = heat[place].images[0]
        np.testing.assert_allclose(drawn.get_array(), saliency[place], rtol=1e-5)
        assert drawn.get_clim() == pytest.approx((0, saliency.max().item()))
        assert frames[place].get_title() == f"{clip.timestamps[place]:.2f} s"
    assert not flows[0].images
    assert flows[0].texts[0].get_text() == "none before"
    assert flows[0].get_xlabel() == ""
    sizes = flow.norm(dim=3)
    for place in range(1, 6):
        drawn = flows[place].images[0]
        np.testing.assert_allclose(drawn.get_array(), sizes[place - 1], rtol=1e-5)
        assert drawn.get_clim() == pytest.approx((0, sizes.max().item()))
        r = found.frames[0, place - 1].item()
        assert flows[place].get_xlabel() == f"r = {r:.2f}"


def test_the_title_gives_the_correlation_of_the_clip_beside_chance(moving):
    result, clip = moving
    found, _, _ = agreement(result, clip)
    title, value, chance = views.flow_saliency(result, clip).get_suptitle().splitlines()
    assert title == f"{result.class_label()}: gradient of the logit, beside flow"
    expected = f"r = {found.value.item():.2f}, the mean of 5 of 5 frames with flow"
    assert value == f"rank correlation: {expected}"
    expected = f"r = {found.chance.item():.2f}, the mean of 20 other orders of the saliency"
    assert chance == f"by chance: {expected} (p = {found.p_value.item():.2g})"


def test_chance_is_drawn_by_the_seed(moving):
    result, clip = moving
    saliency = saliency_video(result.attribution)
    flow = optical_flow(clip.normalization.invert(clip.tensor))
    titles = []
    for seed in range(5):
        found = flow_agreement(saliency, flow, seed=seed).rank_correlation
        titles.append(views.flow_saliency(result, clip, seed=seed).get_suptitle())
        assert f"by chance: r = {found.chance.item():.2f}," in titles[-1]
        assert titles[-1].endswith(f"(p = {found.p_value.item():.2g})")
    assert len(set(titles)) > 1


def test_a_short_clip_is_shuffled_in_all_of_its_orders(moving):
    result, clip = moving
    short = Clip.from_tensor(clip.tensor[:, :4], normalization=clip.normalization)
    cut = tsr_result(frames=4, batch=1, attribution=result.attribution[:, :4])
    found, _, _ = agreement(cut, short, shuffles=5)
    chance = views.flow_saliency(cut, short).get_suptitle().splitlines()[2]
    expected = f"r = {found.chance.item():.2f}, the mean of 5 other orders"
    assert chance.startswith(f"by chance: {expected}")


def test_chosen_frames_show_the_flow_from_the_frame_before_in_the_clip(moving):
    result, clip = moving
    figure = views.flow_saliency(result, clip, thumbnails=3, algorithm="dis")
    frames, _, flows = picture_rows(figure)
    assert [axes.get_title() for axes in frames] == [
        f"{clip.timestamps[i]:.2f} s" for i in (0, 2, 5)
    ]
    flow = optical_flow(clip.normalization.invert(clip.tensor), "dis")[0].norm(dim=3)
    for axes, pair in zip(flows[1:], (1, 4), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), flow[pair], rtol=1e-5, atol=1e-6)
    assert "5 of 5 frames" in figure.get_suptitle()


def test_frames_that_are_not_kept_have_no_correlation():
    kept = torch.zeros(2, 8, dtype=torch.bool)
    kept[:, 2:5] = True
    attribution = torch.randn(2, 8, 3, SIDE, SIDE) * kept[:, :, None, None, None]
    result, clip = tsr_result(kept=kept, attribution=attribution), random_clip()
    figure = views.flow_saliency(result, clip, example=1)
    labels = [axes.get_xlabel() for axes in picture_rows(figure)[2]]
    assert [label == "no r" for label in labels[1:]] == (~kept[1, 1:]).tolist()
    assert "the mean of 3 of 7 frames" in figure.get_suptitle()
    nothing = views.flow_saliency(tsr_result(attribution=torch.zeros_like(attribution)), clip)
    assert nothing.get_suptitle().splitlines()[1].startswith("no rank correlation: in each frame")


def test_the_columns_are_aligned(moving):
    result, clip = moving
    for shown in (2, 6):
        figure = views.flow_saliency(result, clip, thumbnails=shown)
        figure.draw_without_rendering()
        for column in picture_rows(figure).T:
            edges = [axes.get_window_extent().intervalx for axes in column]
            for edge in edges[1:]:
                np.testing.assert_allclose(edge, edges[0], atol=1)


@pytest.mark.usefixtures("as_user")
def test_what_has_no_flow_is_an_error_that_says_why():
    small = Clip.from_tensor(torch.rand(1, 8, 3, 8, 8))
    result = tsr_result(attribution=torch.randn(2, 8, 3, 8, 8))
    with pytest.raises(ClipError, match='frames of at least 11x11 pixels for "farneback", got 8x8'):
        views.flow_saliency(result, small)
    for frames, text in ((2, "saliency .* of at least 3 frames"), (1, "at least 2 frames, got 1")):
        with pytest.raises(ClipError, match=text):
            views.flow_saliency(tsr_result(frames=frames), random_clip(frames))
    with pytest.raises(OptionError, match='algorithm to be "farneback" or "dis"'):
        views.flow_saliency(tsr_result(), random_clip(), algorithm="none")
    with pytest.raises(OptionError, match=r"percentile in \(0, 100\]"):
        views.flow_saliency(tsr_result(), random_clip(), percentile=0)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("name", ["keyframe_strip", "flow_saliency"])
def test_the_clip_the_example_and_the_thumbnails_are_checked(name):
    draw, result = getattr(views, name), tsr_result()
    with pytest.raises(ClipError, match="with 8 frames, got one with 5"):
        draw(result, random_clip(5))
    with pytest.raises(OptionError, match="an example from 0 to 1, got 2"):
        draw(result, random_clip(), example=2)
    with pytest.raises(OptionError, match="at least one thumbnail, got 0"):
        draw(result, random_clip(), thumbnails=0)


# The other pictures, of what this method gives.


def test_sparse_heat_is_drawn_on_the_scale_of_its_largest():
    attribution = torch.zeros(1, 4, 3, SIDE, SIDE)
    attribution[0, 1, :, 3, 4] = 20.0
    attribution[0, 1, :, 3, 5] = 10.0
    result, clip = tsr_result(frames=4, batch=1, attribution=attribution), random_clip(4)
    assert np.percentile(attribution.norm(dim=2), 99.5) == 0
    *frames, bar = views.overlay_grid(result, clip).axes
    largest = 20 * 3**0.5
    assert bar.get_ylim() == pytest.approx((0, largest))
    assert " ".join(bar.get_ylabel().split()).endswith("ends at the largest)")
    heat = attribution[0].norm(dim=1).numpy()
    expected = blend(clip.images(), heat, largest, "absolute")
    np.testing.assert_allclose(frames[1].images[0].get_array(), expected[1], atol=1e-6)
    assert not np.allclose(expected[1][3, 4], expected[1][3, 5], atol=0.1)


def test_no_heat_at_all_is_said():
    result = tsr_result(attribution=torch.zeros(2, 8, 3, SIDE, SIDE))
    bar = views.overlay_grid(result, random_clip()).axes[-1]
    assert bar.get_ylim() == (0, 1)
    assert bar.get_ylabel().endswith("there is no heat)")


def test_the_overlay_video_of_blocks_has_the_heat_and_the_relevance_of_each_frame(tmp_path):
    model = load_pretrained("mixed-appearance-late-fusion")
    clip = Mixed(frames=4, size=48).sample(1).clip(model.preprocessing)
    tsr = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(24, 16), quantile=0.5)
    result = tsr.explain(clip.tensor, 2)
    assert int(result.kept.sum()) == 2
    path = views.overlay_video(result, clip, tmp_path / "blocks.webm", width=96)
    capture = cv2.VideoCapture(str(path))
    frames = [capture.read()[1][..., ::-1].astype(float) for _ in range(4)]
    assert not capture.read()[0]
    heat = result.attribution[0].norm(dim=1).numpy()
    pictures = blend(clip.images(), heat, float(np.percentile(heat, 99.5)), "absolute") * 255
    scores = result.time_relevance[0].numpy()
    for place, frame in enumerate(frames):
        assert frame.shape == (96 + 24, 96, 3)
        # Below the label; the codec is lossy, and halves the resolution of colour.
        large = cv2.resize(pictures[place], (96, 96), interpolation=cv2.INTER_NEAREST)
        assert np.abs(frame[40:96] - large[40:]).mean() < 16
        grey = np.ptp(frame[40:96].mean((0, 1)))
        assert grey > 15 if result.kept[0, place] else grey < 5
        for other, score in enumerate(scores):
            column = frame[97:, other * 24 + 8 : other * 24 + 16].mean((1, 2))
            height = int((column < 235).sum())
            assert height == pytest.approx(20 * score / scores.max(), abs=2)


def test_the_grid_of_blocks_has_no_heat_in_frames_that_are_not_kept():
    result, clip = tsr_result(batch=1), random_clip()
    zeroed = result.attribution * result.kept[:, :, None, None, None]
    result = dataclasses.replace(result, attribution=zeroed)
    figure = views.overlay_grid(result, clip)
    assert re.match(
        "Saliency, rescaled in time, L2 norm over channels", figure.axes[-1].get_ylabel()
    )
    for axes, picture, kept in zip(figure.axes, clip.images(), result.kept[0], strict=False):
        grey = np.broadcast_to(picture.mean(-1, keepdims=True), picture.shape)
        same = np.allclose(axes.images[0].get_array(), grey, atol=1e-6)
        assert same != bool(kept)


def test_the_strip_of_frames_has_the_time_relevance():
    result = tsr_result()
    (axes,) = views.frame_strip(result, random_clip(), example=1).axes
    _, heights, _ = bars(axes)
    assert heights == pytest.approx(result.time_relevance[1].tolist())
    assert "change of the attribution" in " ".join(axes.get_ylabel().split())
