"""Expected gradients: the mean of integrated gradients over references, from random points."""

import numpy as np
import pytest
import torch

from temporal_attr import ClipError, ExpectedGradients, IntegratedGradients, OptionError
from temporal_attr.attributions.expected_gradients._draws import drawn, groups_of, standard_error
from tests.helpers.checks import assert_near, assert_refused
from tests.methods.test_integrated_gradients import CLASSES, Smooth, score_of
from tests.references import paths as reference

pytestmark = pytest.mark.usefixtures("as_user", "one_thread")
FRAMES = 3
SHAPE = (FRAMES, 3, 2, 2)


@pytest.fixture
def model():
    return Smooth(FRAMES).eval()


@pytest.fixture
def clip():
    return torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(2)).double()


@pytest.fixture
def references():
    return torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(3)).double()


def still(clip):
    return [one.expand_as(clip) for one in clip[:, None]]


def by_seed(model, references, clip, seeds, n_samples):
    """Frame scores and what was said of their error, by one seed after another."""
    method = ExpectedGradients(model, references, n_samples)
    found, said = [], []
    for seed in range(seeds):
        method.seed = seed
        result = method.explain(clip, 1)
        found.append(result.frame_scores[0].numpy())
        said.append(result.frame_error[0].numpy())
    return np.array(found), np.array(said)


@pytest.mark.parametrize("kind", ["tensor", "still"])
def test_the_mean_over_seeds_is_that_over_references(kind, model, clip, references):
    given = references if kind == "tensor" else kind
    among = references if kind == "tensor" else still(clip[0])
    expected = reference.reference_mean(score_of(model, 1), among, clip[0], 20).sum((1, 2, 3))
    found, _ = by_seed(model, given, clip, 40, 16)
    error = found.std(0, ddof=1) / 40**0.5
    # Student's t of 39 degrees of freedom: one of six is beyond 4.2 in 1200 such tests.
    assert (np.abs(found.mean(0) - expected) < 4.2 * error).all()
    assert (error < 0.2 * np.abs(expected).max()).all()


@pytest.mark.simulation
@pytest.mark.parametrize("n_samples", [16, 40, 26])
@pytest.mark.parametrize("kind", ["tensor", "still"])
def test_the_stated_error_is_the_one_that_there_is(
    kind, n_samples, model, clip, references, check_measured
):
    given = references if kind == "tensor" else kind
    among = references if kind == "tensor" else still(clip[0])
    expected = reference.reference_mean(score_of(model, 1), among, clip[0], 40).sum((1, 2, 3))
    seeds = 200
    found, said = by_seed(model, given, clip, seeds, n_samples)
    off = np.abs(found.mean(0) - expected) / np.sqrt((said**2).mean(0) / seeds)
    check_measured(
        "largest deviation of the mean, in stated standard errors", off.max(), 0, 3.7, seeds
    )
    # Of the variance of 200 normal numbers the standard error is a tenth.
    for frame in range(FRAMES):
        ratio = (said[:, frame] ** 2).mean() / found[:, frame].var(ddof=1)
        check_measured(f"stated over true variance, frame {frame}", ratio, 0.65, 1.5, seeds)


@pytest.mark.simulation
def test_groups_that_cover_the_path_vary_less_than_independent_points(
    model, clip, references, check_measured
):
    """The same number of points: 40 in 8 groups of 5, and 40 by themselves."""
    seeds, count = 200, 40
    found, _ = by_seed(model, references, clip, seeds, count)
    random, plain = np.random.default_rng(0), []
    score = score_of(model, 1)
    for _ in range(seeds):
        total = np.zeros(FRAMES)
        for _ in range(count):
            start, alpha = references[random.integers(4)], random.random()
            gradient = reference.gradient_at(score, start + alpha * (clip[0] - start))
            total += (gradient * (clip[0] - start).numpy()).sum((1, 2, 3)) / count
        plain.append(total)
    ratio = (found.var(0, ddof=1) / np.var(plain, 0, ddof=1)).max()
    check_measured("variance over that of independent points", ratio, 0, 0.6, seeds)


def test_one_reference_and_a_linear_model(clip, references):
    weights = torch.randn(CLASSES, *SHAPE).double()

    def linear(clip):
        return torch.einsum("btchw,ktchw->bk", clip, weights)

    result = ExpectedGradients(linear, references[:1], 7).explain(clip, 1)
    assert_near(result.attribution, weights[1] * (clip - references[:1]))
    assert result.frame_error.max() < 1e-14
    assert (result.convergence_delta.abs() < 1e-13).all()


def test_still_clips_of_every_frame_are_the_mean_frame(clip):
    """Of a linear model, where each group has every frame once."""
    weights = torch.randn(CLASSES, *SHAPE).double()

    def linear(clip):
        return torch.einsum("btchw,ktchw->bk", clip, weights)

    result = ExpectedGradients(linear, "still", 8 * FRAMES).explain(clip, 1)
    assert_near(result.attribution, IntegratedGradients(linear, "mean_frame", 1).attribute(clip, 1))
    assert result.frame_error.max() < 1e-14
    # The order of frames brings nothing where it is not seen, pixel by pixel.
    same = weights[:, :1].expand_as(weights)
    blind = ExpectedGradients(
        lambda clip: torch.einsum("btchw,ktchw->bk", clip, same), "shuffled", 5
    )
    found = blind.attribute(clip, 1)
    assert found.abs().max() > 0.1
    assert found.sum(1).abs().max() < 1e-13


def test_what_is_drawn_covers_path_and_references():
    random = np.random.default_rng(5)
    found = drawn(40, 3, random)
    assert (found.groups, found.count, len(found.references)) == (8, 40, 40)
    for start in range(0, 40, 5):
        own = slice(start, start + 5)
        assert sorted(int(5 * alpha) for alpha in found.alphas[own]) == list(range(5))
        counts = np.bincount(found.references[own], minlength=3)
        assert sorted(counts) == [1, 2, 2]
        assert sorted(found.references[start : start + 3]) == [0, 1, 2]
    assert drawn(9, None, random).references == tuple(range(9))


@pytest.mark.parametrize("count", [2, 3, 8, 9, 50, 97, 100])
def test_groups_are_of_one_size(count):
    groups = groups_of(count)
    assert count % groups == 0
    assert groups >= min(count, 8)
    assert not any(count % fewer == 0 for fewer in range(8, groups))


def test_the_standard_error_is_that_of_the_means_of_groups():
    samples = torch.randn(2, 12, 5).double()
    means = np.array(
        [[one[3 * g : 3 * g + 3].mean(0).tolist() for g in range(4)] for one in samples]
    )
    expected = means.std(1, ddof=1) / 2
    assert_near(standard_error(samples, 4), expected)


@pytest.mark.parametrize("references", ["still", "shuffled", "tensor"])
def test_sums_and_values(references, model):
    clips = torch.randn(2, *SHAPE).double()
    given = torch.randn(3, *SHAPE).double() if references == "tensor" else references
    result = ExpectedGradients(model, given, 24, objective="probability").explain(clips, [0, 2])
    assert_near(result.frame_scores, result.attribution.sum((2, 3, 4)))
    chances = model(clips).softmax(1).detach()
    assert_near(result.clip_values, chances[[0, 1], [0, 2]])
    gap = result.attribution.flatten(1).sum(1) - (result.clip_values - result.reference_values)
    assert_near(1 + result.convergence_delta, 1 + gap)
    if references != "shuffled":
        # 24 samples are 8 groups of 3: each of the three references comes up eight times.
        among = given if references == "tensor" else None
        for example, target in enumerate((0, 2)):
            own = torch.stack(still(clips[example])) if among is None else among
            expected = model(own).softmax(1)[:, target].mean().detach()
            assert_near(result.reference_values[example], expected)
    assert result.references == references
    assert result.run.seed == 0
    distinct = {"still": 3, "tensor": 3, "shuffled": 24}[references]
    assert (result.run.forward_passes, result.run.backward_passes) == (24 + 1 + distinct, 24)
    said = result.summary()
    assert f"of the references drawn ({references})" in said
    assert "(24 samples)" in said
    assert "of 3 frames' scores are larger than twice their standard error" in said


def test_arguments_and_half_precision(model):
    clips = torch.randn(2, *SHAPE).double()
    shift = torch.tensor([[0.1, 0.2, 0.3], [-1.0, 2.0, 0.5]]).double()
    method = ExpectedGradients(lambda clip, shift: torch.tanh(model(clip) + shift), "still", 4)
    both = method.attribute(clips, [0, 2], shift)
    for example, target in enumerate((0, 2)):
        own = slice(example, example + 1)
        assert_near(both[own], method.attribute(clips[own], target, shift[own]))
    half = ExpectedGradients(lambda clip: clip.mean((1, 3, 4)), "still", 4).explain(clips.half(), 1)
    assert half.attribution.dtype == half.frame_error.dtype == torch.float32


def test_options_and_references_are_checked(model, clip, references):
    for options, text in (
        ({"references": "black"}, 'references to be "still"'),
        ({"n_samples": 1}, "n_samples a whole number from 2"),
        ({"seed": -1}, "seed a whole number from 0"),
        ({"internal_batch_size": 0}, "internal_batch_size a whole number at least 1"),
    ):
        assert_refused(OptionError, text, ExpectedGradients, model, **options)
    text = r"references \(references, time, channel, height, width\)"
    assert_refused(ClipError, text, ExpectedGradients, model, references[0])
    broken = references.clone()
    broken[0, 0, 0, 0, 0] = float("nan")
    assert_refused(ClipError, "finite values", ExpectedGradients, model, broken)
    other = ExpectedGradients(model, references[:, :2])
    text = r"references \(references, time, ...\) like the clip, \('any', 3, 3, 2, 2\)"
    assert_refused(ClipError, text, other.attribute, clip, 1)
    one = ExpectedGradients(Smooth(1).eval(), "shuffled")
    assert_refused(ClipError, "at least 2 frames to shuffle", one.attribute, clip[:, :1], 1)
