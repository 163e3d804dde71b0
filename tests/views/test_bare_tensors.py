"""A bare attribution is drawn as its result is, and what is drawn is named."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from temporal_attr import (
    LRP,
    Clip,
    ClipError,
    ContrastiveLRPTemporal,
    DataError,
    FrameMaskingTSR,
    OptionError,
    ShuffleProbe,
    TemporalGradient,
    views,
)
from temporal_attr.attributions import PixelResult, Result
from temporal_attr.measures import ranges
from tests.results.made import FRAMES, NAMES, made, model_of, one_clip


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def clip():
    return one_clip()


@pytest.fixture(scope="module")
def explained(model, clip):
    """Results of one clip."""
    return {
        "gradient": TemporalGradient(model).explain(clip.tensor, 1),
        "lrp": LRP(model).explain(clip.tensor, 1),
        "contrastive": ContrastiveLRPTemporal(model).explain(clip.tensor, 1),
        "shuffles": ShuffleProbe(model, shuffles=3).explain(clip.tensor, 1),
        "rescaled": FrameMaskingTSR(TemporalGradient(model)).explain(clip.tensor, 1),
        "rollout": made("rollout"),
        "attention": made("attention"),
    }


def drawn(figure):
    """All bars, images, lines and thumbnails of a figure, by the place of their axes."""
    found = []
    for axes in figure.axes:
        found += [np.asarray(image.get_array()) for image in axes.images]
        found += [np.asarray(image.get_clim()) for image in axes.images]
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        found += [bar.get_bbox().extents for bar in bars]
        found += [line.get_xydata() for line in axes.lines]
        found += [np.asarray(box.offsetbox.get_data()) for box in axes.artists]
        found += [np.asarray([*axes.get_xlim(), *axes.get_ylim()])]
    return found


def assert_drawn_alike(one, other):
    for left, right in zip(drawn(one), drawn(other), strict=True):
        np.testing.assert_array_equal(left, right)


# A tensor and its result.


@pytest.mark.parametrize("options", [{}, {"thumbnails": 2}])
def test_the_strip_of_a_tensor_is_that_of_its_result(explained, clip, options):
    result = explained["gradient"]
    bare = views.frame_strip(result.attribution, clip, **options)
    assert_drawn_alike(bare, views.frame_strip(result, clip, **options))
    # And of the frames' scores alone, which may have a sign.
    for name in ("gradient", "lrp", "rescaled"):
        scores = views.frame_strip(explained[name].frame_scores, clip, **options)
        assert_drawn_alike(scores, views.frame_strip(explained[name], clip, **options))


def test_the_bars_of_any_attribution_are_the_norms_of_its_frames(explained, clip):
    attribution = explained["lrp"].attribution
    (axes,) = views.frame_strip(attribution, clip).axes
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == pytest.approx(attribution[0].flatten(1).norm(dim=1).tolist())


@pytest.mark.parametrize("name", ["gradient", "lrp", "rescaled"])
@pytest.mark.parametrize("options", [{}, {"sign": "signed", "percentile": 90, "columns": 2}])
def test_the_grid_of_a_tensor_is_that_of_its_result(explained, clip, name, options):
    bare = views.overlay_grid(explained[name].attribution, clip, **options)
    assert_drawn_alike(bare, views.overlay_grid(explained[name], clip, **options))


def test_the_video_of_a_tensor_is_that_of_its_result(explained, clip, tmp_path):
    result = explained["gradient"]
    videos = [
        views.overlay_video(one, clip, tmp_path / f"{number}.webm", width=64)
        for number, one in enumerate((result, result.attribution))
    ]
    first, second = (cv2.VideoCapture(str(path)) for path in videos)
    for _ in range(FRAMES):
        np.testing.assert_array_equal(first.read()[1], second.read()[1])
    assert not first.read()[0]


def test_rows_side_by_side_may_be_of_either(explained, clip):
    result = explained["gradient"]
    given = {"a result": result, "a tensor": result.attribution, "another": explained["lrp"]}
    figure = views.side_by_side(given, clip)
    rows = [part for part in figure.subfigs if part.get_suptitle()]
    assert [part.get_suptitle() for part in rows] == list(given)
    first, second, third = ([part.subfigs[0].axes, *part.subfigs[1].axes] for part in rows)
    for left, right in zip(first[0], second[0], strict=True):
        for one, other in zip(left.images, right.images, strict=True):
            np.testing.assert_array_equal(one.get_array(), other.get_array())
        heights = [[bar.get_height() for bar in axes.patches] for axes in (left, right)]
        assert heights[0] == heights[1]
    # Only a result of the gradient knows its influence.
    assert [len(row[1].images) for row in (first, second, third)] == [1, 0, 0]
    scores = [bar.get_height() for bar in third[0][1].patches]
    assert scores == pytest.approx(explained["lrp"].frame_scores[0].tolist())
    assert views.side_by_side(given, clip, title="mine").get_suptitle() == "mine"


def test_matrices_of_a_tensor_are_those_of_their_result(explained):
    gradient, contrastive = explained["gradient"], explained["contrastive"]
    bare = views.influence_map(gradient.influence)
    assert_drawn_alike(bare, views.influence_map(gradient))
    figures = [
        views.relevance_heatmap(contrastive),
        views.relevance_heatmap(contrastive.matrix, sigma=contrastive.sigma),
    ]
    whole, alone = (figure.axes[0] for figure in figures)
    np.testing.assert_array_equal(whole.images[0].get_array(), alone.images[0].get_array())
    for left, right in zip(whole.patches, alone.patches, strict=True):
        np.testing.assert_allclose(left.get_bbox().extents, right.get_bbox().extents)
    texts = [[text.get_text() for text in figure.axes[1].texts] for figure in figures]
    assert texts[0] == texts[1] == [f"{length:g}" for length in contrastive.ranges[0].tolist()]
    # There are no logits, so nothing is pale.
    assert not figures[1].axes[1].patches
    assert (alone.images[0].get_alpha() == 1).all()


@pytest.mark.parametrize("sigma", [None, 0.5, 1.0])
def test_the_ranges_of_bare_matrices_are_of_their_own_share(sigma):
    matrices = torch.rand(2, 5, 5)
    options = {} if sigma is None else {"sigma": sigma}
    expected = ranges(matrices, 0.975 if sigma is None else sigma)[1]
    figure = views.relevance_heatmap(matrices, example=1, **options)
    assert [text.get_text() for text in figure.axes[1].texts] == [f"{one:g}" for one in expected]
    assert figure.get_suptitle().endswith(f"max-ATR {expected.max():g} of 5 timesteps")


def test_one_of_a_batch(explained, model, clip):
    batch = torch.cat([clip.tensor.flip(1), clip.tensor])
    found = TemporalGradient(model).attribute(batch, 1)
    bare = views.overlay_grid(found, clip, example=1)
    assert_drawn_alike(bare, views.overlay_grid(found[1:], clip))
    result = TemporalGradient(model).explain(batch, 1)
    assert_drawn_alike(bare, views.overlay_grid(result, clip, example=1))


def test_captums_tensors_are_drawn(model, clip):
    for method in (NoiseTunnel(TemporalGradient(model)), Saliency(model)):
        found = method.attribute(clip.tensor.clone().requires_grad_(), target=1)
        heat = found[0].detach().norm(dim=1).numpy()
        figure = views.overlay_grid(found, clip, percentile=100)
        assert figure.axes[-1].get_ylim() == pytest.approx((0, heat.max()))
        assert len(views.frame_strip(found, clip).axes[0].patches) == FRAMES


def test_scores_that_are_not_defined_have_no_bar(clip):
    scores = torch.tensor([[1.0, float("nan"), 3.0, float("inf"), -2.0, 0.0]])
    (axes,) = views.frame_strip(scores, clip).axes
    assert [bar.get_height() for bar in axes.patches] == [1, 0, 3, 0, -2, 0]
    assert axes.get_ylim() == pytest.approx((-2.1, 3.15))


def test_saliency_of_a_tensor_beside_flow_is_that_of_its_result(explained, clip):
    result = explained["gradient"]
    bare = views.flow_saliency(result.attribution, clip)
    assert_drawn_alike(bare, views.flow_saliency(result, clip))
    ours = views.flow_saliency(result, clip).get_suptitle().splitlines()
    theirs = bare.get_suptitle().splitlines()
    assert ours[0] == "running (1): gradient of the logit, beside flow"
    assert theirs[0] == "Attribution, beside flow"
    assert ours[1:] == theirs[1:]
    mine = views.flow_saliency(result, clip, title="Mine").get_suptitle()
    assert mine.splitlines() == ["Mine", *ours[1:]]


# What is said.


@pytest.mark.parametrize("name", ["gradient", "lrp"])
def test_titles_name_the_method_and_the_class(explained, clip, name):
    result, method = explained[name], {"gradient": "TemporalGradient", "lrp": "LRP"}[name]
    for given, label in ((result, "running (1)"), (replace(result, class_names=()), "class 1")):
        frames, places = (f"{method} for {label}, {one} by {one}" for one in ("frame", "place"))
        assert views.frame_strip(given, clip).get_suptitle() == frames
        assert views.overlay_grid(given, clip).get_suptitle() == places
        assert views.glance(given).get_suptitle() == frames


def test_titles_of_other_pictures_name_the_class(explained, clip):
    gradient, contrastive = explained["gradient"], explained["contrastive"]
    for names, label in ((NAMES, "running (1)"), ((), "class 1")):
        title = views.influence_map(replace(gradient, class_names=names)).get_suptitle()
        assert title == f"Influence of each frame on {label} at each timestep"
        title = views.relevance_heatmap(replace(contrastive, class_names=names)).get_suptitle()
        assert title.splitlines()[0] == f"Relevance of each timestep for {label}"
        shuffled = replace(explained["shuffles"], class_names=names)
        for draw in (views.shuffle_profile, views.ratio_distribution, views.flow_profile):
            assert draw(shuffled).get_suptitle().splitlines()[0].endswith(f", {label}")
        strip = views.keyframe_strip(replace(explained["rescaled"], class_names=names), clip)
        first = "running (1): " if names else "Class 1: "
        assert strip.get_suptitle().startswith(first)


def test_names_are_printed_letter_by_letter(explained, clip):
    named = replace(explained["lrp"], class_names=("a", "costs $1 or $2", "b", "c"))
    figure = views.frame_strip(named, clip)
    assert figure.get_suptitle() == r"LRP for costs \$1 or \$2 (1), frame by frame"
    figure.draw_without_rendering()


def test_a_tensor_has_neutral_words_and_the_readers_own(explained, clip):
    bare = explained["gradient"].attribution
    strip = views.frame_strip(bare, clip)
    assert strip.get_suptitle() == "Attribution, frame by frame"
    assert strip.axes[0].get_ylabel() == "attribution,\nL2 norm"
    assert views.frame_strip(bare[0, :, 0, 0, :1].T, clip).axes[0].get_ylabel() == "attribution"
    grid = views.overlay_grid(bare, clip)
    assert grid.get_suptitle() == "Attribution, place by place"
    assert grid.axes[-1].get_ylabel().startswith("attribution, L2 norm over channels\n")
    for draw in (views.frame_strip, views.overlay_grid):
        for given in (bare, explained["gradient"]):
            figure = draw(given, clip, title="My title", label="my values")
            assert figure.get_suptitle() == "My title"
            assert "my values" in figure.axes[0].get_ylabel() + figure.axes[-1].get_ylabel()
    assert views.influence_map(torch.rand(1, 2, 3), title="mine").get_suptitle() == "mine"
    assert views.relevance_heatmap(torch.rand(1, 3, 3), title="mine").get_suptitle() == "mine"


# What does not fit.


def refused(kind, text, function, *arguments, **options):
    with pytest.raises(kind, match=text) as caught:
        function(*arguments, **options)
    assert caught.value.remedy.endswith(".")


@pytest.mark.usefixtures("as_user")
def test_a_clip_that_is_another_one_is_named(explained, clip):
    result = explained["gradient"]
    larger = Clip.from_tensor(torch.rand(1, FRAMES, 3, 32, 40))
    longer = Clip.from_tensor(torch.rand(1, FRAMES + 1, 3, 32, 32))
    for draw in (
        views.frame_strip,
        views.overlay_grid,
        lambda given, clip: views.overlay_video(given, clip, "never.webm"),
        lambda given, clip: views.side_by_side({"one": given}, clip),
        views.flow_saliency,
    ):
        for given in (result, result.attribution):
            text = "with frames of 32 x 32 pixels, got one with frames of 32 x 40"
            refused(ClipError, text, draw, given, larger)
            refused(ClipError, "with 6 frames, got one with 7", draw, given, longer)
    refused(ClipError, "with 6 frames, got one", views.frame_strip, result.frame_scores, longer)
    # Scores of frames say nothing of their size.
    views.frame_strip(result.frame_scores, larger)


@pytest.mark.usefixtures("as_user")
def test_tensors_that_are_no_attribution_are_named(explained, clip):
    pixels = explained["gradient"].attribution
    for draw in (views.frame_strip, views.overlay_grid):
        text = r"a tensor of floats .*, got torch.float32 of shape \(6, 3, 32, 32\)"
        refused(DataError, text, draw, pixels[0], clip)
        refused(OptionError, "an example from 0 to 0, got 1", draw, pixels, clip, example=1)
        broken = pixels.clone()
        broken[0, 1, 0, 2, 3] = float("nan")
        refused(ClipError, "a finite attribution, got NaN or infinity", draw, broken, clip)
    text = r"a PixelResult or a tensor .*height, width\), got torch.float32 of shape \(1, 6\)"
    refused(DataError, text, views.overlay_grid, torch.rand(1, FRAMES), clip)
    refused(DataError, text, views.flow_saliency, torch.rand(1, FRAMES), clip)
    with pytest.raises((DataError, OptionError), match="PixelResult or a tensor of floats"):
        views.side_by_side({"one": torch.rand(1, FRAMES)}, clip)


@pytest.mark.usefixtures("as_user")
def test_tensors_that_are_no_matrices_are_named(explained):
    for draw in (views.influence_map, views.relevance_heatmap):
        text = r"a tensor of floats \(batch, .*, got torch.float32 of shape \(2, 2\)"
        refused(DataError, text, draw, torch.eye(2))
        text = r"shape \(1, 2, 2\) with NaN or infinity in it"
        refused(ClipError, text, draw, torch.full((1, 2, 2), float("inf")))
        refused(OptionError, "an example from 0 to 1, got 2", draw, torch.rand(2, 2, 2), example=2)
    text = r"as many along 'steps' as relevance, which has 2, got shape \(1, 2, 3\)"
    refused(DataError, text, views.relevance_heatmap, torch.rand(1, 2, 3))
    refused(ClipError, "0 or more, got negative", views.influence_map, -torch.rand(1, 2, 3))
    text = "sigma of bare matrices only, got 0.9 for a result, which has its own"
    refused(OptionError, text, views.relevance_heatmap, explained["contrastive"], sigma=0.9)
    refused(OptionError, "sigma", views.relevance_heatmap, torch.rand(1, 2, 2), sigma=1.5)


# All pictures of a result.


PICTURES = {
    "gradient": ["frame_strip.png", "overlay_grid.png", "influence_map.png"],
    "lrp": ["frame_strip.png", "overlay_grid.png"],
    "contrastive": ["relevance_heatmap.png"],
    "shuffles": ["shuffle_profile.png", "ratio_distribution.png", "flow_profile.png"],
    "rescaled": ["keyframe_strip.png", "overlay_grid.png", "flow_saliency.png"],
    "rollout": ["frame_strip.png", "overlay_grid.png", "attention_over_time.png"],
    "attention": ["frame_strip.png", "overlay_grid.png", "attention_over_time.png"],
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_result_has_its_pictures(explained, clip, name):
    found = views.pictures(explained[name], clip)
    assert list(found) == PICTURES[name]
    for draw in found.values():
        figure = draw()
        assert isinstance(figure, Figure)
        assert figure.axes


def test_each_picture_is_what_its_name_says(explained, clip):
    for name in ("gradient", "contrastive"):
        for file, draw in views.pictures(explained[name], clip).items():
            function = getattr(views, file.removesuffix(".png"))
            arguments = (explained[name], clip) if name == "gradient" else (explained[name],)
            arguments = arguments[:1] if file == "influence_map.png" else arguments
            assert_drawn_alike(draw(), function(*arguments))


def test_what_was_not_asked_for_has_no_picture(model, clip):
    found = TemporalGradient(model).explain(clip.tensor, 1, influence=False)
    assert list(views.pictures(found, clip)) == PICTURES["lrp"]
    found = ShuffleProbe(model, shuffles=3).explain(clip.tensor, 1, flow=None)
    assert list(views.pictures(found, clip)) == PICTURES["shuffles"][:2]


def test_segments_have_a_picture_of_their_own(model, clip):
    probe = ShuffleProbe(model, shuffles=3, segment=4)
    found = probe.explain(clip.tensor, 1, flow=None, segments=True)
    assert list(views.pictures(found, clip)) == [*PICTURES["shuffles"][:2], "segment_timeline.png"]


def test_a_result_of_ones_own_can_have_pictures(explained, clip):
    @dataclass(frozen=True, eq=False)
    class Mine(PixelResult):
        meaning, frame_meaning = "mine", "frames"

    @dataclass(frozen=True, eq=False)
    class Other(Result):
        pass

    lrp = explained["lrp"]
    base = {"logits": lrp.logits, "target": lrp.target, "run": lrp.run}
    mine = Mine(**base, attribution=lrp.attribution, frame_scores=lrp.frame_scores)
    assert list(views.pictures(mine, clip)) == PICTURES["lrp"]
    assert views.glance(mine).axes[0].get_ylabel() == "frames"
    refused(
        OptionError, "pictures are known, got Other. Register", views.pictures, Other(**base), clip
    )
    views.pictures.register(Other)(lambda result, clip: {"other.png": Figure})
    assert list(views.pictures(Other(**base), clip)) == ["other.png"]


# At a glance.


def test_bars_at_a_glance_are_the_scores(explained):
    bars, influence = views.glance(explained["gradient"]).axes
    scores = explained["gradient"].frame_scores[0].tolist()
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(scores)
    shown = influence.images[0].get_array().filled(0)
    np.testing.assert_array_equal(shown, explained["gradient"].influence[0].numpy())
    (bars,) = views.glance(explained["rescaled"]).axes
    scores = explained["rescaled"].time_relevance[0].tolist()
    assert [bar.get_height() for bar in bars.patches] == pytest.approx(scores)
    for name in PICTURES:
        last = len(explained[name].target) - 1
        text = f"an example from 0 to {last}, got 3"
        refused(OptionError, text, views.glance, explained[name], example=3)


def test_other_results_have_their_main_picture(explained):
    for name, draw in (
        ("contrastive", views.relevance_heatmap),
        ("shuffles", views.shuffle_profile),
    ):
        assert_drawn_alike(views.glance(explained[name]), draw(explained[name]))
