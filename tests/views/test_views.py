"""Pictures: what is drawn is what was found."""

from itertools import product

import cv2
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from temporal_attr import (
    Clip,
    ClipError,
    FrameLogitsError,
    Occlusion,
    OptionError,
    TemporalGradient,
    views,
)
from temporal_attr.synthetic import Keyframe, Mixed
from temporal_attr.views._common import blend, heat_limit, heat_maps
from temporal_attr.zoo import build_model
from tests.helpers.families import family
from tests.helpers.pictures import assert_a_notebook_shows


@pytest.fixture(scope="module")
def explained():
    torch.manual_seed(0)
    wrapper, _ = family("lstm_last").build()
    tensor = torch.rand(1, 6, 3, 16, 16)
    clip = Clip.from_tensor(tensor, fps=4)
    return TemporalGradient(wrapper).explain(tensor, target=2), clip


def test_the_strip_has_a_bar_for_each_frame_at_its_time(explained):
    result, clip = explained
    figure = views.frame_strip(result, clip, thumbnails=3)
    (axes,) = figure.axes
    heights = [bar.get_height() for bar in axes.patches]
    centres = [bar.get_x() + bar.get_width() / 2 for bar in axes.patches]
    assert heights == pytest.approx(result.frame_scores[0].tolist())
    assert centres == pytest.approx(clip.timestamps)
    assert axes.get_xlabel() == "time in the video (s)"
    thumbnails = [artist.offsetbox.get_data() for artist in axes.artists]
    for drawn, frame in zip(thumbnails, clip.images()[[0, 2, 5]], strict=True):
        np.testing.assert_array_equal(drawn, frame)


def test_the_grid_has_one_scale_for_all_frames(explained):
    result, clip = explained
    figure = views.overlay_grid(result, clip, percentile=100)
    *frames, bar = figure.axes
    heat = torch.linalg.vector_norm(result.attribution[0], dim=1).numpy()
    assert bar.get_ylim() == pytest.approx((0, heat.max()))
    assert "gradient of the logit, L2 norm over channels" in bar.get_ylabel()
    shown = [axes for axes in frames if axes.images]
    assert [axes.get_title() for axes in shown] == [f"{t:.2f} s" for t in clip.timestamps]
    expected = blend(clip.images(), heat, float(heat.max()), "absolute")
    for axes, picture in zip(shown, expected, strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), picture, atol=1e-6)


def test_no_heat_is_the_grey_frame_and_full_heat_the_last_colour_over_it():
    images = np.random.default_rng(0).random((1, 2, 2, 3)).astype(np.float32)
    heat = np.array([[[0.0, 1.0], [2.0, 0.5]]], np.float32)
    drawn = blend(images, heat, 1.0, "absolute")
    np.testing.assert_allclose(drawn[0, 0, 0], images[0, 0, 0].mean(), atol=1e-6)
    last = np.array([0.988362, 0.998364, 0.644924])  # inferno's last colour
    for row, column in ((0, 1), (1, 0)):
        expected = 0.75 * last + 0.25 * images[0, row, column].mean()
        np.testing.assert_allclose(drawn[0, row, column], expected, atol=1e-6)


def test_signed_heat_is_red_where_it_raises_and_blue_where_it_lowers():
    images = np.full((1, 1, 3, 3), 0.5, np.float32)
    red, grey, blue = blend(images, np.array([[[1.0, 0.0, -1.0]]]), 1.0, "signed")[0, 0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    np.testing.assert_allclose(grey, 0.5)


@pytest.mark.parametrize("sign", ["absolute", "signed"])
def test_heat_is_reduced_over_channels(sign):
    attribution = torch.randn(2, 3, 3, 4, 4)
    found = heat_maps(attribution[1], sign)
    values = attribution[1].numpy()
    expected = np.sqrt((values**2).sum(1)) if sign == "absolute" else values.sum(1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_clip_without_any_heat_can_be_drawn(explained):
    result, clip = explained
    assert heat_limit(np.zeros((2, 3, 3)), 99.0) == 1.0
    nothing = type(result)(
        **{
            **vars(result),
            "attribution": torch.zeros_like(result.attribution),
            "frame_scores": torch.zeros_like(result.frame_scores),
            "influence": torch.zeros_like(result.influence),
        }
    )
    first = views.overlay_grid(nothing, clip).axes[0].images[0].get_array()
    np.testing.assert_allclose(first, clip.images()[0].mean(-1, keepdims=True).repeat(3, -1))
    assert views.frame_strip(nothing, clip).axes[0].get_ylim() == (0, 1)
    assert "is zero for every frame" in nothing.summary()
    assert views.influence_map(nothing).axes[0].images[0].get_array().mask.all()


def test_the_influence_map_scales_rows_and_leaves_zeros_blank(explained):
    result, _ = explained
    image = views.influence_map(result).axes[0].images[0].get_array()
    matrix = result.influence[0].numpy()
    np.testing.assert_allclose(image.filled(0), matrix / matrix.max(1, keepdims=True), rtol=1e-5)
    assert np.array_equal(image.mask, matrix == 0)


def test_a_notebook_shows_the_pictures(explained):
    result, clip = explained
    for figure in (
        views.frame_strip(result, clip),
        views.overlay_grid(result, clip),
        views.influence_map(result),
    ):
        assert_a_notebook_shows(figure)


def test_the_overlay_video_is_vp9_with_a_frame_for_each(explained, tmp_path):
    result, clip = explained
    path = views.overlay_video(result, clip, tmp_path / "overlay.webm", fps=5, width=160)
    capture = cv2.VideoCapture(str(path))
    codec = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    assert (codec, capture.get(cv2.CAP_PROP_FPS)) == (b"VP90", 5)
    frames = [capture.read()[1] for _ in range(6)]
    assert not capture.read()[0]
    expected = blend(clip.images(), *_heat(result), "absolute")
    lit = np.array(to_rgb("#d1495b")) * 255
    for place, frame in enumerate(frames):
        rgb = frame[..., ::-1].astype(float)
        picture = cv2.resize(expected[place] * 255, (160, 160), interpolation=cv2.INTER_NEAREST)
        # Below the label; the codec is lossy, and halves the resolution of colour.
        assert np.abs(rgb[40:160] - picture[40:]).mean() < 12
        columns = slice(round(place * 160 / 6) + 4, round((place + 1) * 160 / 6) - 4)
        assert np.abs(rgb[-3, columns].mean(0) - lit).max() < 30


def _heat(result):
    heat = heat_maps(result.attribution[0], "absolute")
    return heat, heat_limit(heat, 99.5)


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_drawn_is_named(explained, tmp_path):
    result, clip = explained
    other = Clip.from_tensor(torch.rand(1, 5, 3, 16, 16))
    for draw in (views.frame_strip, views.overlay_grid):
        with pytest.raises(
            ClipError, match="the clip that was explained, with 6 frames, got one wi"
        ):
            draw(result, other)
        with pytest.raises(OptionError, match="an example from 0 to 0, got 1"):
            draw(result, clip, example=1)
    with pytest.raises(OptionError, match="an example from 0 to 0, got -1"):
        views.influence_map(result, example=-1)
    with pytest.raises(OptionError, match="at least one thumbnail"):
        views.frame_strip(result, clip, thumbnails=0)
    with pytest.raises(OptionError, match="at least one column"):
        views.overlay_grid(result, clip, columns=0)
    with pytest.raises(OptionError, match=r"percentile in \(0, 100\]"):
        views.overlay_grid(result, clip, percentile=0)
    with pytest.raises(OptionError, match='sign to be "absolute" or "signed"'):
        views.overlay_grid(result, clip, sign="both")
    with pytest.raises(OptionError, match="a width of 16 to 8192"):
        views.overlay_video(result, clip, tmp_path / "a.webm", width=4)
    without = TemporalGradient(lambda x: x.flatten(1)[:, :3]).explain(
        clip.tensor, 0, influence=False
    )
    with pytest.raises(FrameLogitsError, match="one without. Call explain"):
        views.influence_map(without)


def test_models_side_by_side_have_a_row_each(explained):
    result, clip = explained
    figure = views.side_by_side({"one": result, "other": result}, clip, percentile=100)
    rows = [part for part in figure.subfigs if part.get_suptitle()]
    assert [part.get_suptitle() for part in rows] == ["one", "other"]
    heat, scores, matrix = rows[1].subfigs[0].axes[:2] + rows[1].subfigs[1].axes
    maps = torch.linalg.vector_norm(result.attribution[0], dim=1).numpy()
    expected = blend(clip.images(), maps, float(maps.max()), "absolute")
    for time, (drawn, picture) in enumerate(zip(heat.images, expected, strict=True)):
        np.testing.assert_allclose(drawn.get_array(), picture, atol=1e-6)
        left, right, *_ = drawn.get_extent()
        assert (left + right) / 2 == pytest.approx(time)
    heights = [bar.get_height() for bar in scores.patches]
    assert heights == pytest.approx(result.frame_scores[0].tolist())
    drawn = matrix.images[0].get_array()
    np.testing.assert_allclose(drawn.filled(0), result.influence[0].numpy(), rtol=1e-6)
    # What a recurrent model cannot see is blank, not dark.
    np.testing.assert_array_equal(drawn.mask, np.triu(np.ones((6, 6), bool), 1))


def test_a_planted_sheet_shows_the_truth():
    task = Keyframe(frames=5, size=24, moment=(1, 2))
    videos = [task.sample(index) for index in range(2)]
    figure = views.planted_sheet(videos)
    for axes, (video, time) in zip(figure.axes, product(videos, range(5)), strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), video.frames[time])
        assert len(axes.patches) == int(video.deciding_frames[time])
        outlines = [entry for entry in axes.collections if entry.get_paths()[0].vertices.size]
        assert len(outlines) == int(video.region[time].any())
    names = [figure.axes[5 * row].get_ylabel() for row in range(2)]
    assert names == [video.class_names[video.label] for video in videos]


def test_a_sheet_says_what_unreliable_cues_support():
    task = Mixed(frames=4, size=24, appearance_reliability=0, motion_reliability=1)
    video = task.sample(0, label=1)
    other = task.class_names[video.cues["appearance"]]
    label = views.planted_sheet([video]).axes[0].get_ylabel()
    assert label == f"appearance:\n{other}\nmotion:\nstripes square, left"


@pytest.mark.usefixtures("as_user")
def test_nothing_to_show_is_an_error(explained):
    result, clip = explained
    with pytest.raises(OptionError, match="at least one result, got none"):
        views.side_by_side({}, clip)
    with pytest.raises(ClipError, match="the clip that was explained, with 6 frames, got one"):
        views.side_by_side({"one": result}, Clip.from_tensor(clip.tensor[:, :4]))
    with pytest.raises(OptionError, match="videos of one length, got none"):
        views.planted_sheet([])
    lengths = [Keyframe(frames=frames, size=24).sample(0) for frames in (4, 5)]
    with pytest.raises(OptionError, match="videos of one length, got .4, 5."):
        views.planted_sheet(lengths)


def test_a_number_of_a_place_is_drawn_as_it_is():
    """Not added up over the channels in which it stands, and with its sign."""
    model = build_model("gru", classes=4, widths=(4, 8)).eval()
    clip = Clip.from_tensor(torch.rand(1, 4, 3, 16, 16), fps=4)
    result = Occlusion(model, (2, 8, 8), (2, 8, 8), baselines=0.0).explain(clip.tensor, 1)
    figure = views.overlay_grid(result, clip, sign="signed", percentile=100)
    bar = figure.axes[-1]
    assert bar.get_ylim()[1] == pytest.approx(result.attribution.abs().max().item())
    assert "over channels" not in bar.get_ylabel()
    assert views.pictures(result, clip)["overlay_grid.png"]().axes[-1].get_ylim()[0] < 0
