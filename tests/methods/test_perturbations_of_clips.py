"""Occlusion, windows of frames, curves, random masks and regressions, against their definitions."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion

from temporal_attr import (
    RISE,
    Blocks,
    ClipError,
    DeletionCurve,
    FrameShapley,
    KernelSHAP,
    ModelError,
    Occlusion,
    OptionError,
    SlidingFrames,
    Tubes,
    VideoLIME,
)
from temporal_attr.attributions.kernel_shap._compute import shapley_coalitions, shapley_regression
from temporal_attr.attributions.rise._masks import drawn_masks, smooth_masks
from temporal_attr.attributions.video_lime._compute import random_coalitions, ridge, similarity
from tests.helpers.families import family
from tests.references import perturbation
from tests.references.shapley import without

pytestmark = pytest.mark.usefixtures("as_user")

SHAPE = (1, 4, 2, 5, 6)


def drawn(shape=SHAPE, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(autouse=True)
def two_channels(monkeypatch):
    """The clips of this file are small; a function of clips takes any number of channels."""
    monkeypatch.setattr("temporal_attr.attributions._method.VideoMethod._check_layout", skip)


def skip(self, clip, channels):
    pass


WEIGHTS = drawn(seed=9)


def interacting(clip):
    """Logits of clips of any length, in which frames and pixels multiply."""
    weights = WEIGHTS[0, :1, :].expand(clip.shape[1], -1, -1, -1)
    places = torch.arange(1.0, clip.shape[1] + 1, dtype=clip.dtype)
    each = (clip * weights).mean((2, 3, 4)) * places
    return torch.stack([each.sum(1).tanh(), each.sum(1) ** 2 + clip.amax((1, 2, 3, 4))], 1)


def value_of(target):
    def value(clip):
        return float(interacting(torch.from_numpy(np.ascontiguousarray(clip))[None])[0, target])

    return value


def near(found, expected, tolerance=1e-12):
    assert np.allclose(np.asarray(found), np.asarray(expected), rtol=0, atol=tolerance)


# Occlusion ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("window", "stride"),
    [
        ((1, 2, 2), (1, 2, 2)),
        ((2, 3, 2), (1, 2, 2)),
        ((3, 5, 4), (2, 5, 3)),
        ((4, 5, 6), (1, 1, 1)),
    ],
)
@pytest.mark.parametrize("baselines", [0.3, "mean"])
def test_occlusion_is_its_definition(window, stride, baselines):
    clip = drawn()
    found = Occlusion(interacting, window, stride, baselines).explain(clip, target=1)
    expected = perturbation.occlusion(value_of(1), clip[0].numpy(), baselines, window, stride)
    for channel in range(2):
        near(found.attribution[0, :, channel], expected)
    near(found.frame_scores[0], expected.mean((1, 2)))


def test_occlusion_is_captums_where_strides_divide_the_clip():
    clip = drawn((2, 4, 3, 6, 6)).float()
    wrapper, _ = family("gru_mean").build()
    found = Occlusion(wrapper, (2, 3, 3), (2, 3, 3), baselines=0.1).attribute(clip, [1, 2])
    captum = CaptumOcclusion(wrapper)
    expected = captum.attribute(
        clip, sliding_window_shapes=(2, 3, 3, 3), strides=(2, 3, 3, 3), baselines=0.1, target=[1, 2]
    )
    assert torch.allclose(found, expected, rtol=0, atol=1e-6)


def test_a_window_moves_in_time_over_frames_that_are_encoded_once():
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    run = Occlusion(wrapper, (2, 8, 8), (1, 8, 8)).explain(clip, 1).run
    # Each frame as it is, and at four places of the window: the loop would take 1 + 5 * 4.
    assert run.forward_passes == 5


# Windows of frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "window"),
    [("freeze", 1), ("freeze", 3), ("reverse", 2), ("reverse", 4), ("drop", 1), ("drop", 3)],
)
def test_windows_of_frames_are_their_definition(change, window):
    clip = drawn()
    found = SlidingFrames(interacting, window, change).explain(clip, target=0)
    near(found.frame_scores[0], perturbation.sliding(value_of(0), clip[0].numpy(), window, change))
    assert found.drops.shape == (1, 5 - window)


def test_a_model_that_cannot_see_order_loses_nothing_by_reversing():
    wrapper, _ = family("late_fusion_mean").build()
    clip = family("late_fusion_mean").clip(torch.float64)
    found = SlidingFrames(wrapper.double(), 4, "reverse").explain(clip, 1)
    # The mean over frames in another order is rounded otherwise.
    assert found.drops.abs().max() < 1e-15
    lstm, _ = family("lstm_last").build()
    assert SlidingFrames(lstm.double(), 4, "reverse").attribute(clip, 1).abs().max() > 1e-4


def test_frames_that_are_changed_are_encoded_once():
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    for change in ("freeze", "reverse", "drop"):
        assert SlidingFrames(wrapper, 3, change).explain(clip, 1).run.forward_passes == 1


def test_windows_that_cannot_be():
    clip = drawn()
    with pytest.raises(ClipError, match="at least 5 frames, for a window of 4"):
        SlidingFrames(interacting, 4, "freeze").attribute(clip, 0)
    with pytest.raises(OptionError, match="at least 2 frames to reverse"):
        SlidingFrames(interacting, 1, "reverse")
    wrapper, _ = family("early_fusion").build()
    with pytest.raises(ClipError, match=r"takes clips of 4 frame\(s\), for change=\"drop\""):
        SlidingFrames(wrapper, 2, "drop").attribute(family("early_fusion").clip(), 0)


# Curves -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["delete", "insert"])
@pytest.mark.parametrize("baselines", ["neighbour", "removal", 0.2])
def test_curves_are_greedy(direction, baselines):
    clip = drawn((1, 5, 2, 5, 6))
    found = DeletionCurve(interacting, baselines, direction).explain(clip, target=1)
    present = set(range(5)) if direction == "delete" else set()

    def value(frames):
        return value_of(1)(without(clip[0].numpy(), frames, baselines))

    curve, order = [value(present)], []
    for _ in range(5):
        left = sorted(present) if direction == "delete" else sorted(set(range(5)) - present)
        trials = [value(present ^ {frame}) for frame in left]
        best = int(np.argmin(trials) if direction == "delete" else np.argmax(trials))
        present ^= {left[best]}
        order.append(left[best])
        curve.append(trials[best])
    assert found.order[0].tolist() == order
    near(found.curve[0], curve)
    near(
        found.frame_scores[0, order],
        np.abs(np.diff(curve))
        * np.sign((-np.diff(curve)) if direction == "delete" else np.diff(curve)),
    )
    near(found.area[0], np.trapezoid(curve) / 5)


# Random masks -------------------------------------------------------------------------------------


def test_masks_are_interpolated_and_cut_as_defined():
    random = torch.Generator().manual_seed(1)
    kept = torch.rand(3, 3, 3, 4, generator=random) < 0.5
    shifts = torch.tensor([[0, 0, 0], [1, 1, 2], [0, 1, 1]])
    found = smooth_masks(kept, shifts, (4, 5, 6))
    expected = perturbation.rise_masks(kept.double().numpy(), shifts.tolist(), (4, 5, 6))
    near(found, expected, 1e-6)  # masks are in single precision


def test_rise_is_its_definition():
    clip = drawn()
    masks = torch.cat(list(drawn_masks(10, (2, 2, 3), (4, 5, 6), 0.6, 3, 4))).double().numpy()
    found = RISE(interacting, 10, (2, 2, 3), 0.6, 0.25, seed=3).explain(clip, target=1)
    expected = perturbation.rise(value_of(1), clip[0].numpy(), masks, 0.25, 0.6)
    near(found.attribution[0, :, 1] + found.mean_value[0], expected.centred, 1e-10)
    # The reference has the error of the estimate with its mean, which ours is without.
    f = np.array(
        [value_of(1)(m[:, None] * clip[0].numpy() + (1 - m[:, None]) * 0.25) for m in masks]
    )
    parts = (f - f.mean())[:, None, None, None] * (masks - 0.6) / 0.6
    near(found.error_map[0], parts.std(0, ddof=1) / 10**0.5, 1e-10)
    near(found.mean_value[0], f.mean(), 1e-10)


def test_rise_is_the_same_however_many_masks_are_made_at_a_time():
    one = torch.cat(list(drawn_masks(7, (2, 2, 3), (4, 5, 6), 0.5, 0, 1)))
    assert torch.equal(one, torch.cat(list(drawn_masks(7, (2, 2, 3), (4, 5, 6), 0.5, 0, 5))))


@pytest.mark.parametrize("seeds", [20, pytest.param(200, marks=pytest.mark.simulation)])
def test_rise_is_unbiased_within_its_own_error(seeds):
    """Of a linear model under masks whose cells are frames the expectation is known.

    With a cell a frame, a mask of frame t is kept or not by itself: E[f | kept] - E[f] is
    (1 - keep) times what the frame adds.
    """
    clip, keep = drawn((1, 4, 2, 1, 1)), 0.4
    model = lambda x: (x * WEIGHTS[:, :, :, :1, :1]).sum((3, 4))[:, :, :1].sum(1)  # noqa: E731
    truth = (1 - keep) * ((clip - 0.5) * WEIGHTS[:, :, :, :1, :1])[0, :, 0, 0, 0]
    found = [
        RISE(model, 40, (4, 1, 1), keep, 0.5, seed=seed).explain(clip, 0) for seed in range(seeds)
    ]
    apart = torch.stack([one.attribution[0, :, 0, 0, 0] - truth for one in found])
    assert (apart.mean(0) / (apart.std(0) / seeds**0.5)).abs().max() < 4
    errors = torch.stack([one.error_map[0, :, 0, 0] for one in found])
    assert 0.85 < (apart.abs() < 2 * errors).double().mean() < 0.99


def test_a_run_of_masks_that_is_stopped_keeps_what_is_done():
    calls = []

    def interrupted(clip):
        calls.append(1)
        if len(calls) > 30:
            raise KeyboardInterrupt
        return interacting(clip)

    method = RISE(interrupted, 100, (2, 2, 2), baselines=0.0, perturbations_per_eval=1)
    with pytest.raises(KeyboardInterrupt):
        method.attribute(drawn(), 0)
    calls.clear()
    found = method.explain(drawn(), 0, on_stop="keep")
    assert 20 < found.samples < 31
    assert not found.complete
    whole = RISE(interacting, found.samples, (2, 2, 2), baselines=0.0).explain(drawn(), 0)
    near(found.attribution, whole.attribution)


# Regressions --------------------------------------------------------------------------------------


def masked(clip, present, labels, baseline):
    shown = clip.copy()
    for time, row, column in np.ndindex(labels.shape):
        if not present[labels[time, row, column]]:
            shown[time, :, row, column] = baseline
    return shown


@pytest.mark.parametrize("mask", [Tubes(2, 1, 2), Blocks(5, 2)], ids=["tubes", "columns"])
def test_kernel_shap_of_all_coalitions_is_the_shapley_value(mask):
    clip = drawn()
    labels = mask.labels(clip)[0].numpy()
    features = int(labels.max()) + 1

    def value(coalition):
        present = [feature in coalition for feature in range(features)]
        return value_of(1)(masked(clip[0].numpy(), present, labels, 0.2))

    expected = perturbation.kernel_shap(value, range(features))
    found = KernelSHAP(interacting, mask, 2**features, 0.2).explain(clip, target=1)
    near(found.attribution[0, :, 1], expected[labels], 1e-11)
    assert found.samples == (2**features - 1,)
    assert not found.error_map.any()
    share = [
        [(labels[t] == f).sum() / (labels == f).sum() for f in range(features)] for t in range(4)
    ]
    near(found.frame_scores[0], np.array(share) @ expected, 1e-11)


def game(features, seed):
    """Random values of coalitions, given as rows."""
    table = np.random.default_rng(seed).normal(size=(2,) * features)
    return lambda rows: torch.from_numpy(table[tuple(rows.int().numpy().T)])


def test_drawn_coalitions_solve_the_same_problem():
    values = game(6, 0)
    rows = shapley_coalitions(6, 41, seed=3)
    every = torch.ones(1, 6, dtype=torch.bool)
    full = float(values(every))
    found = shapley_regression(rows, values(rows), full, 41)
    expected = perturbation.kernel_shap_sampled(
        rows[1:].int().numpy(), values(rows[1:]).numpy(), np.ones(40), full, found.offset
    )
    near(found.values, expected, 1e-11)
    assert found.values.sum() == pytest.approx(full - found.offset, abs=1e-12)


def test_sizes_are_drawn_as_the_kernel_weighs_them():
    rows = shapley_coalitions(20, 8001, seed=0)[1:]
    sizes = torch.bincount(rows.sum(1), minlength=21)[1:20].double()
    expected = torch.tensor([1 / (s * (20 - s)) for s in range(1, 20)], dtype=torch.float64)
    expected = expected / expected.sum() * 8000
    # Of pairs, whose two sizes add up to 20: the spread of half as many draws.
    assert ((sizes - expected).abs() < 4 * (2 * expected) ** 0.5).all()
    assert (rows[::2] != rows[1::2]).all()


@pytest.mark.parametrize("seeds", [20, pytest.param(200, marks=pytest.mark.simulation)])
def test_kernel_shap_covers_the_truth_within_its_own_error(seeds):
    values = game(7, 1)
    every = torch.ones(1, 7, dtype=torch.bool)
    full = float(values(every))
    truth = shapley_regression(
        rows := shapley_coalitions(7, 127, 0), values(rows), full, 127
    ).values
    apart, errors = [], []
    for seed in range(seeds):
        rows = shapley_coalitions(7, 101, seed)
        found = shapley_regression(rows, values(rows), full, 101)
        apart.append(found.values - truth)
        errors.append(found.error)
    covered = (torch.stack(apart).abs() < 2 * torch.stack(errors)).double().mean()
    # Of 50 pairs for 6 coefficients a robust error is somewhat too small.
    assert 0.85 < covered < 0.98


def test_lime_is_its_definition():
    values, rows = game(5, 2), random_coalitions(5, 30, seed=1)
    # The reference has the equation of the paper, which has no 2 under the width.
    weights = perturbation.lime_weights(rows.int().numpy(), 0.25 * 2**0.5)
    near(similarity(rows, 0.25), weights)
    coefficients, intercept = perturbation.lime(
        rows.int().numpy(), values(rows).numpy(), weights, 0.7
    )
    found = ridge(rows, values(rows), 0.25, 0.7)
    near(found.values, coefficients, 1e-11)
    assert found.offset == pytest.approx(intercept, abs=1e-11)


def test_lime_is_the_ridge_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    values, rows = game(5, 2), random_coalitions(5, 30, seed=1)
    ridge_there = linear_model.Ridge(alpha=0.7)
    ridge_there.fit(rows.numpy(), values(rows).numpy(), similarity(rows, 0.25).numpy())
    near(ridge(rows, values(rows), 0.25, 0.7).values, ridge_there.coef_, 1e-10)


def test_of_an_additive_model_both_regressions_give_each_feature_what_it_adds():
    clip = drawn()
    model = lambda x: (x * WEIGHTS).sum((1, 3, 4))  # noqa: E731
    labels = Tubes(2, 1, 3).labels(clip)[0]
    own = ((clip - 0.5) * WEIGHTS)[0, :, 0]
    expected = torch.stack([own[labels == feature].sum() for feature in range(6)])[labels]
    shap = KernelSHAP(model, Tubes(2, 1, 3), 21, 0.5).explain(clip, 0)
    near(shap.attribution[0, :, 0], expected, 1e-10)
    near(shap.error_map, torch.zeros(1, 4, 5, 6), 1e-10)
    lime = VideoLIME(model, Tubes(2, 1, 3), 40, 0.5, alpha=0.0).explain(clip, 0)
    near(lime.attribution[0, :, 0], expected, 1e-10)
    assert shap.fit.item() == pytest.approx(1)
    assert lime.fit.item() == pytest.approx(1)


def test_features_of_clips_of_a_batch_are_each_clips_own():
    """Regions differ in number from clip to clip, and their numbers can have gaps."""
    mask = torch.zeros(2, 4, 1, 5, 6, dtype=torch.long)
    mask[0, :, :, :, 3:] = 1
    mask[1, 2:] = 1
    mask[1, :, :, 3:] += 2
    clip = drawn((2, 4, 2, 5, 6))
    both = KernelSHAP(interacting, mask, 20, 0.0).explain(clip, [0, 1])
    assert both.features == (2, 4)
    for place, target in enumerate([0, 1]):
        alone = KernelSHAP(
            interacting, mask[place : place + 1].unique(return_inverse=True)[1], 20, 0.0
        )
        found = alone.explain(clip[place : place + 1], target)
        near(both.attribution[place], found.attribution[0])


@pytest.mark.parametrize("method", [KernelSHAP, VideoLIME])
def test_too_few_coalitions_are_named(method):
    options = {"alpha": 0.0} if method is VideoLIME else {}
    with pytest.raises(OptionError, match="coalitions that tell 24 features apart"):
        method(interacting, Tubes(4, 2, 3), 20, 0.0, **options).attribute(drawn(), 0)


@pytest.mark.parametrize("method", [KernelSHAP, VideoLIME])
def test_regions_are_encoded_once_for_what_is_present_in_them(method):
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    # Whole frames are features: as they are, or all baseline.
    frames = Tubes(6, 1, 1)
    assert method(wrapper, frames, 60, 0.0).explain(clip, 1).run.forward_passes == 2


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Occlusion(interacting, (2, 2)), "sliding_window_shapes to be three numbers"),
        (lambda: Occlusion(interacting, strides=(0, 1, 1)), "strides along time"),
        (lambda: Occlusion(interacting, baselines="neighbour"), "a value for every pixel"),
        (lambda: RISE(interacting, keep=1.0), "keep between 0 and 1"),
        (lambda: RISE(interacting, n_samples=1), "n_samples"),
        (lambda: VideoLIME(interacting, kernel_width=0), "kernel_width over 0"),
        (lambda: VideoLIME(interacting, alpha=-1.0), "alpha"),
        (lambda: KernelSHAP(interacting, "tubes"), "feature_mask to be"),
        (lambda: DeletionCurve(interacting, direction="add"), 'direction to be "delete"'),
        (lambda: SlidingFrames(interacting, change="stop"), 'change to be "freeze"'),
    ],
)
def test_options_that_cannot_be(make, text):
    with pytest.raises(OptionError, match=text):
        make()


# What a run is stopped at, and what it costs ------------------------------------------------------


class Interrupted:
    """A model that is interrupted at its n-th call."""

    def __init__(self, calls):
        self.left = calls

    def __call__(self, clip, *rest):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return interacting(clip)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: DeletionCurve(model, 0.0, perturbations_per_eval=1),
        lambda model: FrameShapley(model, 0.0, n_samples=40, perturbations_per_eval=1),
        lambda model: KernelSHAP(model, Tubes(4, 1, 2), 100, 0.0, perturbations_per_eval=1),
        lambda model: VideoLIME(model, Tubes(4, 1, 2), 60, 0.0, perturbations_per_eval=1),
    ],
    ids=["curve", "shapley", "shap", "lime"],
)
def test_a_stopped_run_keeps_the_clips_that_are_done_and_begins_no_other(make):
    clip = drawn((3, 6, 2, 5, 6))
    counting = Interrupted(-1)
    whole = make(counting).explain(clip, 0)
    used = -1 - counting.left
    # In the middle of the second clip; trials and the clips as they are come first.
    model = Interrupted(used // 2)
    found = make(model).explain(clip, 0, on_stop="keep")
    near(found.frame_scores[0], whole.frame_scores[0])
    assert model.left == 0
    assert not found.complete
    assert not found.frame_scores[2].nan_to_num().any()
    assert "stopped" in found.summary()
    with pytest.raises(KeyboardInterrupt):
        make(Interrupted(used // 2)).attribute(clip, 0)


def test_too_few_pairs_tell_no_error():
    values = game(8, 4)
    full = float(values(torch.ones(1, 8, dtype=torch.bool)))
    rows = shapley_coalitions(8, 21, seed=0)
    assert shapley_regression(rows, values(rows), full, 21).error.isnan().all()
    rows = shapley_coalitions(8, 31, seed=0)
    assert shapley_regression(rows, values(rows), full, 31).error.isfinite().all()


@pytest.mark.parametrize("make", [Occlusion, SlidingFrames, RISE, DeletionCurve])
def test_predictions_that_are_no_numbers_are_named(make):
    def breaks(clip):
        logits = interacting(clip)
        return logits + torch.where((clip - drawn()).abs().amax((1, 2, 3, 4)) > 0, torch.nan, 0.0)

    with pytest.raises(ModelError, match="NaN"):
        make(breaks).attribute(drawn(), 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda model: DeletionCurve(model, 0.0),
        lambda model: SlidingFrames(model, 2),
        lambda model: Occlusion(model, (2, 3, 3), baselines=0.0),
        lambda model: RISE(model, 5, baselines=0.0),
        lambda model: FrameShapley(model, 0.0),
    ],
    ids=["curve", "sliding", "occlusion", "rise", "shapley"],
)
def test_what_comes_with_the_clips_goes_with_all_of_them(make):
    """And is counted so: each pass takes the whole batch."""
    clip, shift = drawn((3, 4, 2, 5, 6)), torch.tensor([[0.0], [1.0], [2.0]]).double()
    method = make(lambda x, by: interacting(x) * (1 + by))
    found = method.explain(clip, [0, 1, 0], shift)
    for place, target in enumerate([0, 1, 0]):
        own = slice(place, place + 1)
        alone = make(lambda x, by=shift[own]: interacting(x) * (1 + by)).explain(clip[own], target)
        near(found.frame_scores[own], alone.frame_scores)
    estimate = method.estimate(clip, [0, 1, 0], shift)
    assert estimate.forward_passes == found.run.forward_passes


def test_two_frames_have_a_window():
    assert SlidingFrames(interacting).explain(drawn((1, 2, 2, 5, 6)), 0).window == 1
    assert (
        SlidingFrames(interacting, change="reverse").explain(drawn((1, 2, 2, 5, 6)), 0).window == 2
    )


def test_a_still_clip_does_not_hide_what_a_model_does_beside_its_encoder():
    wrapper, _ = family("gru_mean").build()
    wrapper.double().register_forward_pre_hook(
        lambda _, given: (given[0] - given[0].mean(1, True),)
    )
    clip = family("gru_mean").clip(torch.float64)
    SlidingFrames(wrapper).attribute(torch.zeros_like(clip), 1)
    found = SlidingFrames(wrapper).explain(clip, 1)
    assert "by clip" in found.run.path
    near(found.logits, wrapper(clip).detach())


def test_shorter_clips_are_those_of_their_own_example(monkeypatch):
    """Also where features of earlier frames had to be forgotten."""
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip(torch.float64)
    monkeypatch.setattr("temporal_attr.attributions._predictions.HELD", 60)
    both = SlidingFrames(wrapper.double(), 2, "drop").attribute(clip, [1, 2])
    alone = [
        SlidingFrames(wrapper, 2, "drop").attribute(clip[place : place + 1], place + 1)
        for place in range(2)
    ]
    near(both, torch.cat(alone))


@pytest.mark.parametrize("make", [SlidingFrames, DeletionCurve, FrameShapley, Occlusion, RISE])
def test_a_model_that_reads_nothing_has_a_summary(make):
    found = make(lambda x: x.flatten(1)[:, :2] * 0 + 1).explain(drawn(), 0)
    assert "nan" not in found.summary()


def test_what_is_only_rounded_otherwise_is_no_finding():
    wrapper, _ = family("late_fusion_mean").build()
    clip = family("late_fusion_mean").clip()
    summary = SlidingFrames(wrapper, 4, "reverse").explain(clip, 1).summary()
    assert "the same with any 4 frames reversed" in summary
    lstm, _ = family("lstm_last").build()
    assert "drops most" in SlidingFrames(lstm, 4, "reverse").explain(clip, 1).summary()


def test_the_table_of_a_curve_has_the_rank_of_each_frame():
    clip = torch.tensor([1.0, 4.0, 2.0, 3.0]).reshape(1, 4, 1, 1, 1).expand(1, 4, 3, 4, 4)
    found = DeletionCurve(lambda x: x.mean((3, 4)).amax(1), baselines=0.0).explain(clip, 0)
    assert found.order.tolist() == [[1, 3, 2, 0]]
    assert found.to_dataframe()["rank"].tolist() == [3, 0, 2, 1]


def test_a_found_layer_takes_clips_of_other_lengths_again():
    """Features of two clips of 3 frames have as many rows as those of one of 6."""
    wrapper, _ = family("layer_framewise").build()
    clip = family("layer_framewise").clip(torch.float64)
    method = FrameShapley(wrapper.double(), "removal")
    first = method.attribute(clip, 1)
    near(method.attribute(clip, 1), first)
