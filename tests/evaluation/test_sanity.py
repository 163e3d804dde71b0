"""Does an explanation depend on class, order and motion, and not on a shift: closed forms."""

import math

import numpy as np
import pytest
import scipy
import torch
from skimage.metrics import structural_similarity
from torch import nn

from temporal_attr import (
    DataError,
    IntegratedGradients,
    ModelError,
    OptionError,
    Preprocessing,
    TargetError,
    TemporalGradient,
)
from temporal_attr.clips import Normalization
from temporal_attr.evaluation._case import Case, Explanation
from temporal_attr.evaluation._similarity import relative_change, similarity
from temporal_attr.evaluation.sanity import (
    InputShift,
    OtherClass,
    RandomLogit,
    ShuffledTwin,
    StaticClip,
    order_blind,
    shifted,
    still_clip,
)
from tests.helpers.checks import assert_near
from tests.helpers.families import family
from tests.helpers.judged import (
    Weights,
    energy,
    gradient,
    gradient_times_input,
    judged,
    motion,
    pixel_sums,
    random_clip,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 3, 8, 8)
OF = pytest.mark.parametrize("of", ["frames", "pixels"])


def spearman(first, second):
    return scipy.stats.spearmanr(np.ravel(first), np.ravel(second)).statistic


def test_rank_similarity_is_spearmans_with_ties():
    draw = np.random.default_rng(0)
    for shape in ((9,), (3, 4, 5)):
        first, second = draw.integers(0, 4, shape).astype(float), draw.normal(size=shape)
        expected = spearman(first, second)
        assert similarity(first, second, "rank") == pytest.approx(expected, abs=1e-14)
        assert similarity(first, first, "rank") == 1
        assert similarity(second, -second, "rank") == -1


def test_cosine_similarity_also_of_scores_whose_squares_vanish():
    first, second = np.array([3.0, 4.0]), np.array([4.0, 3.0])
    assert similarity(first, second, "cosine") == pytest.approx(24 / 25, abs=1e-15)
    assert similarity(1e-200 * first, second, "cosine") == pytest.approx(24 / 25, abs=1e-15)


@pytest.mark.parametrize(("side", "window"), [(9, 7), (6, 5), (3, 3)])
def test_structural_similarity_is_the_mean_over_frames_of_scaled_maps(side, window):
    draw = np.random.default_rng(1)
    first, second = draw.normal(size=(2, 4, side, side))
    expected = np.mean(
        [
            structural_similarity(
                a / abs(first).max(), b / abs(second).max(), win_size=window, data_range=2
            )
            for a, b in zip(first, second, strict=True)
        ]
    )
    assert similarity(first, 5 * second, "ssim") == pytest.approx(expected, abs=1e-14)
    assert similarity(first, first, "ssim") == pytest.approx(1, abs=1e-14)


def test_what_has_no_similarity_is_nan_and_what_cannot_be_compared_an_error(as_user):
    one, zero = np.ones(3), np.zeros(3)
    assert math.isnan(similarity(one, np.arange(3.0), "rank"))
    assert math.isnan(similarity(np.arange(1.0), np.arange(1.0), "rank"))
    assert math.isnan(similarity(one, zero, "cosine"))
    with pytest.raises(DataError, match="two explanations of one shape"):
        similarity(one, np.ones(4), "rank")
    with pytest.raises(DataError, match="at least 3 x 3 pixels"):
        similarity(np.ones((2, 2, 5)), np.ones((2, 2, 5)), "ssim")
    with pytest.raises(DataError, match="two explanations of one shape"):
        relative_change(one, np.ones((3, 1)))
    assert math.isnan(relative_change(zero, one))


@OF
@pytest.mark.parametrize("metric", [RandomLogit, OtherClass])
def test_a_class_blind_method_is_the_same_for_another_class(metric, of):
    case = judged(energy, Weights(SHAPE), random_clip(SHAPE), target=3)
    score = metric(of).score(case)
    assert score.value == 1
    assert score.forward_passes == 1
    assert metric("pixels", "ssim").score(case).value == pytest.approx(1, abs=1e-12)


def test_the_other_class_of_two_with_opposite_weights_is_explained_by_the_opposite():
    model, clip = Weights(SHAPE, classes=2), random_clip(SHAPE)
    with torch.no_grad():
        model.map.weight[1] = -model.map.weight[0]
    for metric in (RandomLogit, OtherClass):
        assert metric("pixels").score(judged(gradient, model, clip, target=1)).value == -1


def test_the_runner_up_is_compared_and_a_random_class_is_any_other():
    model, clip = Weights(SHAPE, classes=5), random_clip(SHAPE)
    with torch.no_grad():
        model.map.bias += torch.tensor([0.0, 3e3, 1e3, 2e3, 0.0])
    rows = [pixel_sums(row) for row in model.rows()]
    for target, second in ((1, 3), (3, 1), (2, 1), (-4, 3)):
        score = OtherClass("pixels").score(judged(gradient, model, clip, target))
        assert score.value == pytest.approx(spearman(rows[target], rows[second]), abs=1e-12)
        assert score.note == f"compared with class {second}"
    drawn = set()
    for seed in range(40):
        score = RandomLogit("pixels").score(judged(gradient, model, clip, 1, seed))
        other = int(score.note.split()[-1])
        assert score.value == pytest.approx(spearman(rows[1], rows[other]), abs=1e-12)
        drawn.add(other)
    assert drawn == {0, 2, 3, 4}  # one of them is missed by chance in 1 of 25000


def test_a_model_of_one_class_has_no_other_and_an_unknown_target_is_named():
    case = judged(energy, Weights(SHAPE, classes=1), random_clip(SHAPE))
    for metric in (RandomLogit, OtherClass):
        score = metric().score(case)
        assert math.isnan(score.value)
        assert score.note == "the model has one class only"
    case = judged(energy, Weights(SHAPE), random_clip(SHAPE), target=4)
    with pytest.raises(TargetError, match="a target from 0 to 3, got 4"):
        RandomLogit().score(case)


@OF
def test_a_gradient_does_not_see_a_shift_and_input_times_gradient_does(of):
    model, clip = Weights(SHAPE), random_clip(SHAPE)
    assert InputShift(of).score(judged(gradient, model, clip, 2)).value == 0
    for shift in (1.0, -0.5):
        score = InputShift(of, shift).score(judged(gradient_times_input, model, clip, 2))
        # The clip plus c, times the weights.
        by = model.rows()[2] * shift * (clip.max() - clip.min())
        before = model.rows()[2] * clip[0]
        if of == "frames":
            by, before = by.sum((1, 2, 3)), before.sum((1, 2, 3))
        assert score.value == pytest.approx((by.norm() / before.norm()).item(), abs=1e-12)
        assert score.value > 0.1


@pytest.mark.parametrize("name", ["lstm_last", "zoo_tam2d", "zoo_slowfast"])
def test_a_shifted_model_predicts_the_same_and_knows_its_normalization(name):
    model, clip = family(name).build()[0].double(), family(name).clip(torch.float64)
    model.preprocessing = Preprocessing(
        normalization=Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    )
    constant = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = clip + constant[:, None, None]
    other = shifted(model, constant)
    assert_near(other(moved), model(clip))
    assert_near(other.head(other.features(moved)), model(clip))
    assert_near(other.frame_logits(moved).logits, model.frame_logits(clip).logits)
    for memory in ("whole", "auto"):
        assert_near(
            TemporalGradient(other, memory=memory).attribute(moved, target=1),
            TemporalGradient(model, memory=memory).attribute(clip, target=1),
        )
    pixels = torch.rand(2, 3, 4, 4, dtype=torch.float64)
    values = model.normalization.apply(pixels) + constant[:, None, None]
    assert_near(other.normalization.apply(pixels), values)
    assert other.preprocessing.normalization == other.normalization

    def integrated(explained, shown, target, seed):
        # Of the difference to a black clip: the same, if black is black.
        method = IntegratedGradients(explained, baselines="black", n_steps=4)
        return Explanation(attribution=method.attribute(shown, target=target)[0])

    case = judged(integrated, model, clip[:1], target=1)
    assert InputShift("pixels").score(case).value == pytest.approx(0, abs=1e-11)


def test_activation_of_a_function_stays_known():
    model = Weights(SHAPE)
    model.activation = "sigmoid"
    assert shifted(model, torch.ones(3)).activation == "sigmoid"
    assert order_blind(model).activation == "sigmoid"


@OF
def test_a_claim_of_motion_comes_to_nothing_where_nothing_moves(of):
    clip = random_clip(SHAPE)
    assert still_clip(clip).shape == clip.shape
    assert bool((still_clip(clip) == clip[:, 3:4]).all())
    assert StaticClip(of).score(judged(motion, Weights(SHAPE), clip)).value == 0
    score = StaticClip(of).score(judged(energy, Weights(SHAPE), clip))
    expected = 6 * clip[0, 3].square().sum() / clip.square().sum()
    assert score.value == pytest.approx(expected.item(), abs=1e-14)


def test_what_says_nothing_has_no_ratio():
    clip = torch.zeros(1, *SHAPE, dtype=torch.float64)
    case = judged(energy, Weights(SHAPE), clip)
    for metric in (InputShift(), StaticClip()):
        score = metric.score(case)
        assert math.isnan(score.value)
        assert score.note
    case = judged(motion, Weights(SHAPE), still_clip(random_clip(SHAPE)))
    assert math.isnan(InputShift().score(case).value)
    assert "the explanation is zero" in StaticClip().score(case).note


def test_options_that_make_no_sense_are_refused():
    for metric in (RandomLogit, OtherClass):
        with pytest.raises(OptionError, match="scores of frames"):
            metric("frames", "ssim")
    with pytest.raises(OptionError, match="orders a whole number at least 1"):
        ShuffledTwin(orders=0)
    with pytest.raises(OptionError, match="shift to be a finite number"):
        InputShift(shift=math.inf)


def test_a_model_in_training_mode_and_a_case_without_method_are_named():
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(math.prod(SHAPE), 3)).double()
    case = judged(energy, model, random_clip(SHAPE))
    with pytest.raises(ModelError, match="evaluation mode"):
        RandomLogit().score(case)
    alone = Case(model, case.clip, 0, case.explanation)
    for metric in (RandomLogit(), OtherClass(), ShuffledTwin(), InputShift(), StaticClip()):
        with pytest.raises(DataError, match=f"a method that {metric.traits.slug}"):
            metric.score(alone)
