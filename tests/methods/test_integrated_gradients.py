"""Integrated gradients along paths of clips."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from torch import nn

from temporal_attr import (
    ClipError,
    ExpectedGradients,
    IntegratedGradients,
    ModelError,
    Normalization,
    OptionError,
    ToleranceWarning,
    load_result,
)
from temporal_attr.attributions._clip_paths import cells_of
from temporal_attr.perturbations import clip_baseline_of
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import family
from tests.references import paths as reference
from tests.references.masking import blurred

pytestmark = pytest.mark.usefixtures("as_user", "one_thread")

RULES = ("gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid")
CLASSES = 3


class Smooth(nn.Module):
    """A small network in which all frames meet, with no corner anywhere."""

    def __init__(self, frames=5):
        super().__init__()
        random = torch.Generator().manual_seed(4)
        shape = 6, frames * 3 * 2 * 2
        self.first = nn.Parameter(torch.randn(*shape, generator=random).double() / 4)
        self.second = nn.Parameter(torch.randn(CLASSES, 6, generator=random).double())

    def forward(self, clip):
        return torch.tanh(clip.flatten(1) @ self.first.T) @ self.second.T


@pytest.fixture
def model():
    return Smooth().eval()


@pytest.fixture
def clip():
    return torch.randn(2, 5, 3, 2, 2, generator=torch.Generator().manual_seed(2)).double()


def score_of(model, target):
    return lambda clip: model(clip[None])[0, target]


@pytest.mark.parametrize("rule", RULES)
def test_a_straight_path_is_that_of_the_definition(rule, model, clip):
    found = IntegratedGradients(model, "mean", 4, rule).attribute(clip, [0, 2])
    for example, target in enumerate((0, 2)):
        start = clip[example].mean((0, 2, 3), keepdim=True).expand(clip.shape[1:])
        score = score_of(model, target)
        expected = reference.straight_integral(score, start, clip[example], rule, 4)
        assert_near(found[example], expected)


# Captum rounds its weights to single precision, which these do not need.
EXACT = {"gausslegendre": 2, "riemann_left": 8, "riemann_right": 8, "riemann_middle": 8}


@pytest.mark.parametrize("name", ["conv3d_windows", "gru_mean", "late_fusion_max"])
@pytest.mark.parametrize("rule", EXACT)
def test_it_is_captums_where_captum_has_it(name, rule):
    wrapper, clip = family(name).build()[0].double(), family(name).clip(torch.float64)
    baseline, count = 0.3 * torch.randn_like(clip[:1]), EXACT[rule]
    theirs, gap = CaptumIntegratedGradients(wrapper).attribute(
        clip, baseline, [1, 2], n_steps=count, method=rule, return_convergence_delta=True
    )
    method = IntegratedGradients(wrapper, baseline, count, rule)
    ours, delta = method.attribute(clip, [1, 2], return_convergence_delta=True)
    assert_near(ours, theirs, 1e-10)
    assert_near(delta, gap, 1e-10)
    assert (gap.abs() > 1e-6).all()
    again = method.compute_convergence_delta(ours, baseline.expand_as(clip), clip, [1, 2])
    assert_near(again, delta, 1e-10)


def test_by_default_it_is_captums(model, clip):
    ours = IntegratedGradients(model).attribute(clip, 1)
    # Captum's weights are in single precision.
    assert_near(ours, CaptumIntegratedGradients(model).attribute(clip, target=1), 1e-7)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [2, 3, 20])
def test_a_path_of_speeds_is_the_sum_of_the_definition(rule, count, model, clip):
    found = IntegratedGradients(model, None, count, rule, "frames").attribute(clip, 1)
    expected = [reference.speeds_sum(score_of(model, 1), one, rule, count) for one in clip]
    assert_near(found, np.stack(expected), 1e-11)


def test_a_path_of_speeds_comes_to_its_integral(model, clip):
    """The sum has an error of second order, at corners too: 25 times less for 5 times more."""
    expected = reference.speeds_integral(score_of(model, 1), clip[0], 40)
    errors = []
    for count in (20, 100, 500):
        method = IntegratedGradients(model, None, count, "riemann_middle", "frames")
        gap = method.attribute(clip[:1], 1)[0].numpy() - expected
        errors.append(np.abs(gap).max() / np.abs(expected).max())
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 12
    assert errors[2] < errors[1] / 12


def test_speeds_of_two_frames_that_meet():
    """x_1 * x_2 of frames 0, 1, 4: worked out by hand, and exact where corners are cells' ends."""
    clip = torch.tensor([0.0, 1.0, 4.0]).double().reshape(1, 3, 1, 1, 1).expand(1, 3, 3, 1, 1)

    def product(clip):
        return (clip[:, 1, 0] * clip[:, 2, 0])[..., 0]

    for count in (2, 6):
        method = IntegratedGradients(product, None, count, "riemann_middle", "frames")
        assert_near(method.attribute(clip, 0)[0, :, 0, 0, 0], [0.0, 1.5, 2.5])


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", ["straight", "frames"])
def test_a_linear_model_needs_no_integral(rule, path, clip):
    weights = torch.randn(CLASSES, *clip.shape[1:]).double()

    def linear(clip):
        return torch.einsum("btchw,ktchw->bk", clip, weights)

    count = 2 if rule == "riemann_trapezoid" else 1
    result = IntegratedGradients(linear, "frozen", count, rule, path).explain(clip, 1)
    assert_near(result.attribution, weights[1] * (clip - clip[:, :1]))
    assert_near(result.convergence_delta + 1, torch.ones(2))
    assert_near(result.frame_scores, result.attribution.sum((2, 3, 4)))


def test_two_points_of_gauss_are_exact_for_cubes(clip):
    def cubes(clip):
        return (clip**3).sum((1, 3, 4))

    expected = torch.zeros_like(clip)
    expected[:, :, 1] = (clip**3 - 0.5**3)[:, :, 1]
    assert_near(IntegratedGradients(cubes, 0.5, 2).attribute(clip, 1), expected)
    one = IntegratedGradients(cubes, 0.5, 1).attribute(clip, 1)
    assert (one - expected).abs().max() > 0.01 * expected.abs().max()


@pytest.mark.parametrize("path", ["straight", "frames"])
def test_frames_that_are_not_read_get_nothing(path, clip):
    def third(clip):
        return torch.tanh(clip[:, 2]).sum((2, 3))

    result = IntegratedGradients(third, "frozen", 100, path=path).explain(clip, 0)
    assert not result.attribution[:, [0, 1, 3, 4]].any()
    total = third(clip)[:, 0] - third(clip[:, :1].expand_as(clip))[:, 0]
    assert_near(result.frame_scores[:, 2], total, 1e-3)


@pytest.mark.parametrize(
    ("baselines", "path"), [("mean_frame", "straight"), (0.0, "straight"), ("frozen", "frames")]
)
@pytest.mark.parametrize("objective", ["logit", "probability", "loss"])
def test_it_sums_to_the_difference(baselines, path, objective, model, clip):
    steps = 100 if path == "frames" else 60
    method = IntegratedGradients(model, baselines, steps, path=path, objective=objective)
    result = method.explain(clip, [0, 2])
    start = clip_baseline_of(clip, baselines)
    values = [method.objective(model(one), torch.tensor([0, 2])).detach() for one in (clip, start)]
    assert_near(result.clip_values, values[0])
    assert_near(result.baseline_values, values[1])
    difference = values[0] - values[1]
    assert (difference.abs() > 1e-3).all()
    gap = result.attribution.flatten(1).sum(1) - difference
    assert_near(1 + result.convergence_delta, 1 + gap)
    assert (gap.abs() < (1e-2 if path == "frames" else 1e-7) * difference.abs()).all()
    assert_near(result.frame_scores, result.attribution.sum((2, 3, 4)))


def test_what_does_not_move_gets_nothing_from_motion(model, clip):
    still = clip[:, 2:3].expand_as(clip)
    for baselines, path in (("frozen", "straight"), ("mean_frame", "straight"), (None, "frames")):
        result = IntegratedGradients(model, baselines, 3, path=path).explain(still, 1)
        assert result.attribution.abs().max() < 1e-15
        assert result.convergence_delta.abs().max() < 1e-15
        assert "frames with most" not in result.summary() or baselines == "mean_frame"
    one = torch.randn(1, 1, 3, 2, 2).double()
    assert not IntegratedGradients(Smooth(1), None, 3, path="frames").attribute(one, 1).any()


@pytest.mark.parametrize("frames", [1, 2, 5, 6])
def test_frequencies_are_those_of_the_definition(frames):
    model, clip = Smooth(frames), torch.randn(1, frames, 3, 2, 2).double()
    baseline = torch.randn(1, frames, 3, 2, 2).double()
    result = IntegratedGradients(model, baseline, 5).explain(clip, 1)
    gradient = reference.mean_gradient(score_of(model, 1), baseline[0], clip[0], "gausslegendre", 5)
    way = (clip - baseline)[0]
    expected = [(gradient * reference.component(way, f)).sum() for f in range(frames // 2 + 1)]
    assert_near(result.frequency_scores[0], expected, 1e-11)
    assert_near(result.frequency_scores.sum(1), result.frame_scores.sum(1), 1e-11)
    assert result.frequencies == tuple(range(frames // 2 + 1))


def test_a_flicker_of_one_frequency(clip):
    """Of a linear model that sees one frequency, only that one gets anything."""
    wave = torch.cos(2 * torch.pi * 2 * torch.arange(5).double() / 5)

    def of_wave(clip):
        return torch.einsum("btchw,t->bc", clip, wave)

    scores = IntegratedGradients(of_wave, "mean_frame", 1).explain(clip, 1).frequency_scores
    assert_near(scores[:, 2], of_wave(clip)[:, 1])
    assert scores[:, :2].abs().max() < 1e-14


BASELINES = {
    "black": lambda clip: torch.tensor([-1.0, -0.5, 0.0]).double().reshape(3, 1, 1).expand_as(clip),
    "mean": lambda clip: clip.mean((0, 2, 3), keepdim=True).expand_as(clip),
    "mean_frame": lambda clip: clip.mean(0, keepdim=True).expand_as(clip),
    "frozen": lambda clip: clip[:1].expand_as(clip),
    "blur": lambda clip: torch.tensor(
        np.stack([[blurred(one) for one in frame] for frame in clip])
    ),
}


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_what_their_names_say(name):
    clip = torch.randn(2, 4, 3, 8, 6).double()
    normalization = Normalization((0.5, 0.25, 0.0), (0.5, 0.5, 1.0))
    found = clip_baseline_of(clip, name, normalization)
    assert_near(found, torch.stack([BASELINES[name](one) for one in clip]), 1e-9)


def test_frames_in_another_order():
    clip = torch.arange(6.0).reshape(1, 6, 1, 1, 1).expand(2, 6, 3, 2, 2)
    orders = [clip_baseline_of(clip, "shuffled", seed=seed)[:, :, 0, 0, 0] for seed in range(5)]
    for order in orders:
        assert torch.equal(order[0], order[1])
        assert sorted(order[0].tolist()) == list(range(6))
        assert order[0].tolist() != list(range(6))
    assert len({tuple(order[0].tolist()) for order in orders}) == 5
    with pytest.raises(ClipError, match="at least 2 frames to shuffle"):
        clip_baseline_of(clip[:, :1], "shuffled")


def test_a_shuffled_baseline_says_what_order_brings(model, clip):
    results = [
        IntegratedGradients(model, "shuffled", 40, seed=seed).explain(clip, 1) for seed in (0, 0, 1)
    ]
    assert torch.equal(results[0].attribution, results[1].attribution)
    assert not torch.allclose(results[0].attribution, results[2].attribution)
    assert [one.run.seed for one in results] == [0, 0, 1]
    assert IntegratedGradients(model, n_steps=1).explain(clip, 1).run.seed is None
    # A model that cannot see order has nothing to attribute to it.
    result = IntegratedGradients(lambda clip: clip.tanh().mean((1, 3, 4)), "shuffled").explain(
        clip, 1
    )
    assert_near(result.clip_values, result.baseline_values)
    assert result.attribution.abs().max() > 1e-3


def test_more_steps_until_it_is_close_enough(clip):
    """Of two clips one needs more: each has as many as by itself."""

    def steep(clip):
        return torch.sigmoid(4 * clip.sum((1, 3, 4))) + clip.abs().sum((1, 3, 4)) / 100

    pair = torch.stack([clip[0] / 50, clip[1]])
    method = IntegratedGradients(steep, 0.0, 2, tolerance=1e-3)
    result = method.explain(pair, 1)
    assert result.n_steps.tolist() != [2, 2]
    assert result.n_steps[0] < result.n_steps[1]
    within = 1e-3 * (result.clip_values - result.baseline_values).abs()
    assert (result.convergence_delta.abs() <= within).all()
    for example in (0, 1):
        alone = method.explain(pair[example : example + 1], 1)
        assert alone.n_steps.tolist() == result.n_steps[example : example + 1].tolist()
        assert_near(alone.attribution[0], result.attribution[example])
        steps = int(result.n_steps[example])
        fixed = IntegratedGradients(steep, 0.0, steps).attribute(pair, 1)
        assert_near(fixed[example], result.attribution[example])
    total = sum(2 * 2**k for k in range(10) if 2 * 2**k <= result.n_steps[1])
    few = sum(2 * 2**k for k in range(10) if 2 * 2**k <= result.n_steps[0])
    assert result.run.forward_passes == pytest.approx((total + few) / 2 + 2)
    estimate = IntegratedGradients(steep, 0.0, 2, tolerance=1e-3, max_steps=64).estimate(pair, 1)
    assert estimate.certainty == "at most"
    assert estimate.backward_passes == 2 + 4 + 8 + 16 + 32 + 64


def test_a_tolerance_that_is_not_reached_is_said(clip, tmp_path):
    def corner(clip):
        return (clip - 0.1234).abs().sum((1, 3, 4))

    method = IntegratedGradients(corner, 0.0, 2, tolerance=1e-9, max_steps=9)
    with pytest.warns(ToleranceWarning, match="2 of 2 clips .* 1e-09 by 8 steps"):
        result = method.explain(clip, 1)
    with pytest.warns(ToleranceWarning):
        method.attribute(clip, 1)
    assert result.unmet.all()
    assert result.n_steps.tolist() == [8, 8]
    assert "tolerance of 1e-09 was NOT reached" in result.summary()
    loaded = load_result(result.save(tmp_path / "result"))
    assert loaded.unmet.all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not IntegratedGradients(corner, 0.0, 2, tolerance=0.5).explain(clip, 1).unmet.any()


@pytest.mark.parametrize("at_a_time", [None, 1, 3])
def test_what_the_model_takes_after_the_clip_belongs_to_its_example(at_a_time, model, clip):
    shift = torch.tensor([[0.1, 0.2, 0.3], [-1.0, 2.0, 0.5]]).double()

    def shifted(clip, shift):
        return torch.tanh(model(clip) + shift)

    method = IntegratedGradients(
        shifted, "mean_frame", 4, tolerance=1e-4, internal_batch_size=at_a_time
    )
    both = method.attribute(clip, [0, 2], shift)
    for example, target in enumerate((0, 2)):
        own = slice(example, example + 1)
        assert_near(both[own], method.attribute(clip[own], target, shift[own]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_clips(dtype, clip):
    weights = torch.randn(CLASSES, *clip.shape[1:])

    def linear(clip):
        return torch.einsum("btchw,ktchw->bk", clip, weights.to(clip))

    half = clip.to(dtype)
    result = IntegratedGradients(linear, "frozen", 4).explain(half, 1)
    assert result.attribution.dtype == result.frame_scores.dtype == torch.float32
    expected = weights[1].to(dtype).float() * (half - half[:, :1]).float()
    # The gradient is exact; so is the difference of two numbers of half precision but for rounding.
    assert_near(result.attribution, expected, torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    ("name", "memories"),
    [("gru_mean", ("framewise", "offload")), ("conv3d_windows", ("checkpoint", "offload"))],
)
def test_memory_paths_give_the_same(name, memories):
    wrapper, clip = family(name).build()[0].double(), family(name).clip(torch.float64)
    whole = IntegratedGradients(wrapper, "frozen", 3, memory="whole").attribute(clip, 1)
    for memory in memories:
        method = IntegratedGradients(wrapper, "frozen", 3, memory=memory)
        assert_near(method.attribute(clip, 1), whole)
        assert memory in method.explain(clip, 1).run.path


def test_fewer_clips_at_a_time_where_memory_is_short(model, clip):
    def greedy(clips):
        if len(clips) > 1 and clips.requires_grad:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return model(clips)

    result = IntegratedGradients(greedy, "frozen", 3).explain(clip, 1)
    assert_near(result.attribution, IntegratedGradients(model, "frozen", 3).attribute(clip, 1))
    assert "along the path with 3 clips" in result.run.tried
    assert result.run.chunk_size == 1
    fixed = IntegratedGradients(greedy, "frozen", 3, memory="whole", internal_batch_size=2)
    with pytest.raises(torch.OutOfMemoryError):
        fixed.attribute(clip, 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [2, 7, 64])
def test_points_lie_within_their_parts(rule, count):
    cells = cells_of(rule, count)
    assert cells[0].begin == 0
    assert cells[-1].end == 1
    for one, after in pairwise(cells):
        assert one.end == after.begin
    assert all(one.begin <= one.alpha + 1e-15 and one.alpha - 1e-15 <= one.end for one in cells)
    weights = [weight for _, weight in reference.rule_points(rule, count)]
    np.testing.assert_allclose([one.weight for one in cells], weights, rtol=0, atol=1e-14)


def test_the_result_says_what_it_is(model, clip):
    result = IntegratedGradients(model, "mean_frame", 20, objective="probability").explain(clip, 1)
    said = result.summary()
    assert "of the baseline (mean_frame)" in said
    assert "(20 steps)" in said
    assert "what changes over time" in said
    assert result.meaning == "integrated gradient of the probability"
    table = result.to_dataframe(table="frequency_scores")
    assert table.frequency.tolist() == [0, 1, 2, 0, 1, 2]
    clips = result.to_dataframe(table="clips")
    assert {"baseline_values", "clip_values", "convergence_delta", "n_steps"} <= set(clips)
    speeds = IntegratedGradients(model, path="frames", n_steps=3).explain(clip, 1)
    assert (speeds.frequency_scores, speeds.frequencies) == (None, None)
    assert (speeds.path, speeds.baselines) == ("frames", "frozen")


WRONG = {
    "baselines": ({"baselines": "neighbour"}, 'baselines to be a number, "black", "mean"'),
    "black": ({"baselines": "black"}, "a normalization, which says what input value a black"),
    "start": ({"baselines": 0.0, "path": "frames"}, 'baselines "frozen" for the path "frames"'),
    "path": ({"path": "round"}, 'path to be "straight" or "frames"'),
    "rule": ({"rule": "simpson"}, 'rule to be "gausslegendre", "riemann_left"'),
    "one": ({"rule": "riemann_trapezoid", "n_steps": 1}, "n_steps a whole number from 2"),
    "none": ({"n_steps": 0}, "n_steps a whole number from 1 to"),
    "tolerance": ({"tolerance": -1.0}, "tolerance at least 0"),
    "max": ({"tolerance": 0.1, "max_steps": 20}, "max_steps a whole number from 50"),
    "size": ({"internal_batch_size": 0}, "internal_batch_size a whole number at least 1"),
}


@pytest.mark.parametrize("case", WRONG)
def test_options_are_checked_at_once(case, model):
    options, text = WRONG[case]
    assert_refused(OptionError, text, IntegratedGradients, model, **options)


def test_a_baseline_that_does_not_fit(model, clip):
    method = IntegratedGradients(model, torch.zeros(2, 4, 3, 2, 2))
    assert_refused(ClipError, r"baselines that fit \(2, 5, 3, 2, 2\)", method.attribute, clip, 1)
    infinite = torch.full((1,), float("inf"))
    assert_refused(ClipError, "finite baselines", IntegratedGradients, model, infinite)


@pytest.mark.parametrize("kind", [IntegratedGradients, ExpectedGradients])
def test_a_model_whose_clips_see_each_other_is_refused(kind, model, clip):
    """Points of one path go through together, and must not change each other's gradients."""

    def mixing(clips):
        return model(clips - clips.mean(0))

    text = "a model that predicts each clip of a batch by itself"
    assert_refused(ModelError, text, kind(mixing).attribute, clip[:1], 1)


def test_gradients_that_are_not_finite_are_named(clip):
    """At zeros, where the path begins, a square root has none."""

    def rooted(clip):
        return clip.abs().sqrt().sum((1, 3, 4))

    text = "a finite attribution, got .* NaN or infinite"
    at_start = IntegratedGradients(rooted, 0.0, 3, "riemann_left")
    assert_refused(ModelError, text, at_start.attribute, clip, 1)
    assert IntegratedGradients(rooted, 0.0, 3).attribute(clip, 1).isfinite().all()
