"""Does an explanation stay where nothing that matters changes: closed forms, and Captum."""

import io
import math

import numpy as np
import pytest
import scipy
import torch
from PIL import Image

from temporal_attr import DataError, OptionError, Preprocessing
from temporal_attr.clips import IDENTITY, Normalization
from temporal_attr.evaluation._case import Case, Explanation
from temporal_attr.evaluation.robustness import (
    AverageSensitivity,
    FrameRate,
    FrameShift,
    LocalLipschitz,
    MaxSensitivity,
    PixelShift,
    Recompression,
    Repeats,
    displaced_clip,
    later_clip,
    recompressed,
    slower_clip,
)
from tests.helpers.families import family
from tests.helpers.judged import (
    Weights,
    by_place,
    dice,
    energy,
    gradient,
    judged,
    motion,
    random_clip,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 3, 8, 8)
OF = pytest.mark.parametrize("of", ["frames", "pixels"])
NOISY = (MaxSensitivity, AverageSensitivity, LocalLipschitz)


@OF
@pytest.mark.parametrize("by", [1, 4])
def test_scores_of_what_is_shown_move_along(of, by):
    clip = random_clip(SHAPE)
    case = judged(energy, Weights(SHAPE), clip)
    assert FrameShift(of, by).score(case).value == 1
    assert PixelShift("pixels", by).score(case).value == 1
    # The frame before the first is another, and motion there is none.
    late = FrameShift("frames", by).score(judged(motion, Weights(SHAPE), clip))
    kept = motion(None, clip, 0, None).frame_scores[: 6 - by].numpy()
    assert late.value == pytest.approx(scipy.stats.spearmanr(kept, kept).statistic, abs=1e-12)


def test_scores_of_places_do_not_move_along():
    case = judged(by_place([0.0, 1.0] * 3), Weights(SHAPE), random_clip(SHAPE))
    assert FrameShift().score(case).value == -1
    assert FrameShift(frames=2).score(case).value == 1
    columns = (torch.arange(8.0) % 2).expand(6, 8, 8)
    case = judged(by_place(pixels=columns), Weights(SHAPE), random_clip(SHAPE))
    assert PixelShift(pixels=1).score(case).value == -1
    assert PixelShift(pixels=2).score(case).value == 1
    assert FrameShift("pixels").score(case).value == 1


def test_scores_of_frames_are_compared_as_they_are_when_pixels_move():
    clip = random_clip(SHAPE)
    before = energy(None, clip, 0, None).frame_scores
    after = energy(None, displaced_clip(clip, 5), 0, None).frame_scores
    score = PixelShift("frames", 5).score(judged(energy, Weights(SHAPE), clip))
    expected = scipy.stats.spearmanr(before, after).statistic
    assert score.value == pytest.approx(expected, abs=1e-12)
    assert expected < 0.95


def test_moved_clips_show_what_they_should():
    clip = random_clip((3, 1, 4, 5))
    later, moved = later_clip(clip, 2), displaced_clip(clip, 2)
    for time in range(3):
        assert torch.equal(later[0, time], clip[0, max(time - 2, 0)])
        for row in range(4):
            for column in range(5):
                source = clip[0, time, 0, max(row - 2, 0), max(column - 2, 0)]
                assert moved[0, time, 0, row, column] == source


def test_what_moves_out_of_view_has_no_score():
    case = judged(energy, Weights(SHAPE), random_clip(SHAPE))
    score = FrameShift(frames=6).score(case)
    assert math.isnan(score.value)
    assert score.note == "a clip of 6 frames is out of view"
    score = PixelShift(pixels=8).score(case)
    assert math.isnan(score.value)
    assert score.note == "a clip of 8 x 8 pixels is out of view"
    score = FrameShift(frames=5).score(case)  # one frame is left, which has no rank
    assert math.isnan(score.value)
    assert score.note.startswith("1 of 1 left out")
    score = FrameRate(keep=6).score(case)
    assert math.isnan(score.value)
    assert score.note == "fewer than two frames are kept"


def smooth_video():
    """Colours that change slowly over places, and from frame to frame; in [0, 1]."""
    rows, columns = torch.meshgrid(
        torch.linspace(0, 3, 16), torch.linspace(0, 3, 16), indexing="ij"
    )
    frames = [
        torch.stack([(rows + t).sin(), (columns - 2 * t).cos(), (rows * columns / 3 + t).sin()])
        for t in range(6)
    ]
    return (torch.stack(frames)[None] + 1) / 2


def pixel_model(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)):
    model = family("zoo_tam2d").build()[0]
    model.preprocessing = Preprocessing(normalization=Normalization(mean, std))
    return model


@pytest.mark.parametrize("quality", [100, 40])
def test_recompression_is_jpeg_with_red_first(quality):
    video, normalization = smooth_video(), Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    found = normalization.invert(recompressed(normalization.apply(video), normalization, quality))
    slow = []
    for frame in (255 * video[0]).round().byte():
        buffer = io.BytesIO()
        image = Image.fromarray(frame.permute(1, 2, 0).numpy())
        image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
        slow.append(torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1) / 255)
    # Two decoders may round differently: by a level here and there.
    difference = 255 * (found[0] - torch.stack(slow)).abs()
    assert difference.mean() < 0.5
    assert difference.max() < 4
    assert (found - video).abs().max() < (0.1 if quality == 100 else 0.4)


@OF
def test_a_smooth_video_at_the_best_quality_is_explained_alike(of):
    model = pixel_model()
    clip = model.normalization.apply(smooth_video())
    case = judged(energy, model, clip)
    best, worst = (Recompression(of, quality).score(case).value for quality in (100, 1))
    assert best > 0.99
    assert worst < best
    coded = recompressed(clip, model.normalization, 30)
    expected = scipy.stats.spearmanr(
        case.explanation.frame_scores, energy(model, coded, 0, None).frame_scores
    ).statistic
    assert Recompression("frames", 30).score(case).value == pytest.approx(expected, abs=1e-12)


def test_recompression_needs_pixels_and_leaves_precision_and_grey_alone():
    case = judged(energy, Weights(SHAPE), random_clip(SHAPE))
    with pytest.raises(DataError, match="got Weights, which has no normalization"):
        Recompression().score(case)
    with pytest.raises(DataError, match="frames of 1 or 3 channels, as JPEG has them, got 2"):
        recompressed(torch.zeros(1, 2, 2, 8, 8), Normalization((0, 0), (1, 1)))
    grey = torch.full((1, 2, 1, 8, 8), 0.2, dtype=torch.float64)
    found = recompressed(grey, Normalization((0.0,), (1.0,)), 90)
    assert found.dtype == torch.float64
    assert torch.equal(found, grey)
    beyond = recompressed(torch.full((1, 1, 3, 8, 8), 1.7), IDENTITY, 90)
    assert torch.equal(beyond, torch.ones(1, 1, 3, 8, 8))


def test_a_lower_frame_rate_keeps_scores_of_what_is_shown():
    clip = random_clip((7, 3, 8, 8))
    slow = slower_clip(clip, 3)
    assert [torch.equal(slow[0, t], clip[0, t - t % 3]) for t in range(7)] == [True] * 7
    model = Weights((7, 3, 8, 8))
    for keep in (2, 3):
        assert FrameRate(keep).score(judged(energy, model, clip)).value == 1
        before = motion(None, clip, 0, None).frame_scores[::keep]
        after = motion(None, slower_clip(clip, keep), 0, None).frame_scores[::keep]
        expected = scipy.stats.spearmanr(before, after).statistic
        found = FrameRate(keep).score(judged(motion, model, clip)).value
        assert found == pytest.approx(expected, abs=1e-12)


@OF
def test_a_method_without_randomness_says_the_same_again(of):
    score = Repeats(of).score(judged(gradient, Weights(SHAPE), random_clip(SHAPE)))
    assert score.value == 1
    assert score.curves["similarity"] == (1.0,) * 10


def test_a_method_that_draws_is_asked_with_seeds_that_differ():
    asked = []

    def noted(model, clip, target, seed):
        asked.append(seed)
        return dice(model, clip, target, seed)

    case = judged(noted, Weights(SHAPE), random_clip(SHAPE), seed=2)
    score = Repeats(runs=4).score(case)
    seeds = asked[1:]
    assert len(set(seeds)) == 4
    drawn = [dice(None, case.clip, 0, seed).frame_scores for seed in seeds]
    expected = scipy.stats.spearmanr(torch.stack(drawn, 1)).statistic[np.triu_indices(4, 1)]
    assert score.curves["similarity"] == pytest.approx(expected, abs=1e-12)
    assert score.value == pytest.approx(expected.mean(), abs=1e-12)
    asked.clear()
    assert Repeats(runs=4).score(case).value == score.value
    assert asked == seeds
    # Of many numbers that have nothing to do with each other, there is no correlation.
    assert abs(Repeats("pixels").score(case).value) < 5 / math.sqrt(10 * 384)


def test_options_out_of_range_are_refused_and_so_is_a_case_without_a_method():
    for build, words in (
        (lambda: MaxSensitivity(radius=0.0), "radius above 0"),
        (lambda: LocalLipschitz(samples=0), "samples a whole number at least 1"),
        (lambda: FrameShift(frames=0), "frames a whole number at least 1"),
        (lambda: PixelShift(pixels=0), "pixels a whole number at least 1"),
        (lambda: Recompression(quality=101), "quality a whole number from 1 to 100"),
        (lambda: FrameRate(keep=1), "keep a whole number at least 2"),
        (lambda: Repeats(runs=1), "runs a whole number at least 2"),
    ):
        with pytest.raises(OptionError, match=words):
            build()
    case = judged(energy, Weights(SHAPE), random_clip(SHAPE))
    alone = Case(case.model, case.clip, 0, case.explanation)
    for metric in (*NOISY, FrameShift, PixelShift, Recompression, FrameRate, Repeats):
        with pytest.raises(DataError, match=f"a method that {metric.traits.slug}"):
            metric().score(alone)
    frames_only = Case(case.model, case.clip, 0, Explanation(torch.ones(6)), explain=case.explain)
    for metric in (MaxSensitivity("pixels"), PixelShift(), FrameShift("pixels")):
        with pytest.raises(DataError, match="scores of pixels"):
            metric.score(frames_only)
