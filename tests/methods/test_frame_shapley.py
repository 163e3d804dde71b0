"""Shapley values of frames and Owen values of regions, against definitions and closed forms."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from temporal_attr import Blocks, ClipError, FrameShapley, LateFusion, OptionError, TargetError
from temporal_attr.attributions.frame_shapley._estimators import (
    PermutationSampling,
    by_all_coalitions,
    uniform_order,
)
from tests.helpers.families import family
from tests.references.shapley import owen, sampled, shapley, without

pytestmark = pytest.mark.usefixtures("as_user")

SMALL_CLIP = (1, 4, 3, 6, 6)


def drawn_clip(shape=SMALL_CLIP, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def interacting(clip):
    """Logits of any number of frames, in which frames multiply and order matters."""
    means = clip.mean((2, 3, 4))
    places = torch.arange(1, clip.shape[1] + 1, dtype=clip.dtype)
    first = (means * places).sum(1).tanh() + means.prod(1) * 5
    return torch.stack([first, means[:, -1] * means[:, 0] + clip.amax((1, 2, 3, 4))], 1)


def value_of(clip, target, baselines):
    """v of the reference: from a set of frames to the logit, by clips made in plain loops."""

    def value(present):
        shown = torch.from_numpy(np.ascontiguousarray(without(clip[0].numpy(), present, baselines)))
        return float(interacting(shown[None])[0, target])

    return value


BASELINES = {
    "neighbour": "neighbour",
    "removal": "removal",
    "number": 0.3,
    "mean": "mean",
    "blur": "blur",
    "tensor": drawn_clip(seed=4),
}


@pytest.mark.parametrize("kind", BASELINES)
def test_all_coalitions_give_the_definition(kind):
    clip, baselines = drawn_clip(), BASELINES[kind]
    given = baselines[0].numpy() if isinstance(baselines, torch.Tensor) else baselines
    found = FrameShapley(interacting, baselines).explain(clip, target=0)
    value = value_of(clip, 0, given)
    expected = shapley(value, range(4))
    # What is compared are sums of 16 values with weights of at most 1/4.
    assert np.allclose(found.frame_scores[0], expected, rtol=0, atol=1e-12)
    assert found.full_value.item() == pytest.approx(value(frozenset(range(4))), abs=1e-13)
    assert found.empty_value.item() == pytest.approx(value(frozenset()), abs=1e-13)
    assert found.evaluations == (16,)
    assert not found.standard_error.any()


@pytest.mark.parametrize("kind", ["neighbour", "number"])
def test_permutations_and_their_reverses_give_the_reference(kind):
    clip, baselines = drawn_clip(), BASELINES[kind]
    found = FrameShapley(interacting, baselines, n_samples=12, seed=5).explain(clip, target=1)
    draw, random = uniform_order(4), torch.Generator().manual_seed(5)
    orders = [draw(random).tolist() for _ in range(6)]
    scores, errors = sampled(value_of(clip, 1, baselines), orders)
    assert np.allclose(found.frame_scores[0], scores, rtol=0, atol=1e-12)
    assert np.allclose(found.standard_error[0], errors, rtol=0, atol=1e-12)
    assert found.permutations == (12,)


@pytest.mark.parametrize("name", ["gru_mean", "late_fusion_max", "conv3d_windows"])
@pytest.mark.parametrize("baselines", ["neighbour", "blur"])
def test_they_share_what_all_frames_add_to_none(name, baselines):
    wrapper, _ = family(name).build()
    clip = family(name).clip(torch.float64)
    for options in ({}, {"n_samples": 4}):
        found = FrameShapley(wrapper.double(), baselines, **options).explain(clip, [1, 3])
        gap = found.full_value - found.empty_value - found.frame_scores.sum(1)
        assert gap.abs().max() < 1e-12
        logits = wrapper(clip).gather(1, torch.tensor([[1], [3]]))[:, 0]
        assert torch.allclose(found.full_value, logits, rtol=0, atol=1e-12)


def frame_reader(weights):
    """A mean over frames of a linear classifier: frame t counts by what it shows alone."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 2)).double().eval()
    with torch.no_grad():
        network[1].weight.copy_(weights)
    return LateFusion(network), network


def test_of_a_mean_over_frames_each_has_its_own_share():
    torch.manual_seed(2)
    model, network = frame_reader(torch.randn(2, 108))
    clip = drawn_clip((2, 20, 3, 6, 6))
    found = FrameShapley(model, baselines=-0.5).explain(clip, target=1)
    own = network(clip.flatten(0, 1))[:, 1] - network(torch.full((1, 3, 6, 6), -0.5).double())[:, 1]
    assert torch.allclose(found.frame_scores, own.view(2, 20) / 20, rtol=0, atol=1e-13)
    assert "closed form" in found.run.path
    assert found.permutations == (0, 0)


def test_a_head_that_only_looks_like_a_mean_is_not_taken_for_one():
    model, _ = frame_reader(torch.ones(2, 108))
    model.register_forward_hook(lambda module, inputs, logits: logits**2)
    found = FrameShapley(model, baselines=0.0).explain(drawn_clip(), target=1)
    assert "closed form" not in found.run.path
    assert "by clip" in found.run.path
    gap = found.full_value - found.empty_value - found.frame_scores.sum(1)
    assert gap.abs().max() < 1e-12


def test_of_the_exclusive_or_of_two_frames_each_has_half():
    def differ(clip):
        seen = (clip.mean((2, 3, 4)) > 0).double()
        either = seen[:, 1] + seen[:, 3] - 2 * seen[:, 1] * seen[:, 3]
        return torch.stack([either, 1 - either], 1)

    clip = torch.ones(SMALL_CLIP, dtype=torch.float64)
    clip[:, 3] = -1
    # Absent frames are dark, so without frame 1 both are dark, and do not differ.
    found = FrameShapley(differ, baselines=-1.0).attribute(clip, target=0)
    assert torch.allclose(found[0], torch.tensor([0.0, 1, 0, 0]).double(), rtol=0, atol=1e-15)
    both = torch.ones(SMALL_CLIP, dtype=torch.float64)
    # Bright in both: each alone makes a difference that the other takes back.
    assert FrameShapley(differ, baselines=-1.0).attribute(both, target=0).abs().max() < 1e-15


def test_a_model_that_reads_one_frame():
    clip = drawn_clip((1, 5, 3, 6, 6))
    found = FrameShapley(lambda x: x[:, 2].flatten(1)[:, :3], baselines=0.0).attribute(clip, 1)
    assert torch.equal(found[0, [0, 1, 3, 4]], torch.zeros(4, dtype=torch.float64))
    assert found[0, 2] == pytest.approx(clip[0, 2].flatten()[1].item(), abs=1e-14)


def test_removal_from_a_mean_follows_the_harmonic_numbers():
    """Without others a frame is the whole mean; among s others it moves it by 1 / (s + 1)."""
    clip = drawn_clip((1, 5, 3, 6, 6))
    found = FrameShapley(lambda x: x.mean((1, 3, 4)), "removal").explain(clip, target=0)
    own = clip[0, :, 0].mean((1, 2))
    harmonic = float(sum(Fraction(1, k) for k in range(1, 6)))
    others = (own.sum() - own) / 4
    expected = (harmonic * own - (harmonic - 1) * others - own.mean()) / 5
    assert torch.allclose(found.frame_scores[0], expected, rtol=0, atol=1e-13)


class Game:
    """Random values of coalitions."""

    def __init__(self, players, seed):
        self.players = players
        self.values = np.random.default_rng(seed).normal(size=(2,) * players)

    def of(self, present):
        return torch.from_numpy(self.values[tuple(present.int().numpy().T)])

    def value(self, coalition):
        return self.values[tuple(int(player in coalition) for player in range(self.players))]


class NoBar:
    def update(self, count):
        pass


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_any_game(players, seed):
    game = Game(players, seed)
    found = by_all_coalitions(game, NoBar())
    assert np.allclose(found.values, shapley(game.value, range(players)), rtol=0, atol=1e-12)
    assert found.empty == game.values[(0,) * players]


def test_all_permutations_in_pairs_are_exact():
    game, left = Game(4, 1), iter(list(permutations(range(4))))
    sampling = PermutationSampling(game, lambda _: torch.tensor(next(left)), 24, None, 0)
    found = sampling.run(NoBar())
    assert np.allclose(found.values, shapley(game.value, range(4)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seeds", [20, pytest.param(200, marks=pytest.mark.simulation)])
def test_estimates_are_unbiased_within_their_own_error(seeds):
    game = Game(6, 3)
    truth = torch.from_numpy(shapley(game.value, range(6)))
    found = [
        PermutationSampling(game, uniform_order(6), 16, None, seed).run(NoBar())
        for seed in range(seeds)
    ]
    apart = torch.stack([one.values - truth for one in found])
    # Their mean over seeds is normal, with the spread that the seeds show.
    assert (apart.mean(0) / (apart.std(0) / seeds**0.5)).abs().max() < 4
    # Of values that are skewed, two errors cover somewhat less than 19 of 20.
    covered = (apart.abs() < 2 * torch.stack([one.error for one in found])).double().mean()
    assert 0.88 < covered < 0.98


def test_it_stops_when_the_error_is_small_enough():
    game = Game(6, 3)
    loose = PermutationSampling(game, uniform_order(6), 500, 0.2, 0).run(NoBar())
    tight = PermutationSampling(game, uniform_order(6), 5000, 0.05, 0).run(NoBar())
    for found, until in ((loose, 0.2), (tight, 0.05)):
        assert found.error.max() <= until * (found.values.max() - found.values.min())
    assert 8 <= len(loose.drawn) < len(tight.drawn) < 5000


def test_each_clip_stops_by_itself():
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip(torch.float64)
    clip[1] = clip[1, :1]  # a still clip: all frames are alike, but not their places
    method = FrameShapley(wrapper.double(), 0.0, n_samples=64, until=0.3)
    both = method.explain(clip, 1)
    singles = [method.explain(clip[place : place + 1], 1) for place in range(2)]
    assert both.permutations == tuple(one.permutations[0] for one in singles)
    assert torch.allclose(
        both.frame_scores, torch.cat([one.frame_scores for one in singles]), rtol=0, atol=1e-13
    )


def test_regions_have_owen_values():
    """On all nested orders of two frames with two regions each, drawn at random but many."""
    clip = drawn_clip((1, 2, 3, 4, 4))

    def value(present):
        shown = torch.full_like(clip, 0.2)
        for region in present:
            columns = slice(2 * (region % 2), 2 * (region % 2) + 2)
            shown[0, region // 2, ..., columns] = clip[0, region // 2, ..., columns]
        return float(interacting(shown)[0, 0])

    expected = owen(value, [[0, 1], [2, 3]])
    method = FrameShapley(interacting, 0.2, 400, feature_mask=Blocks(4, 2))
    found = method.explain(clip, target=0)
    scores = found.region_scores[0, :, 0, ::2].flatten()
    errors = found.region_error[0, :, 0, ::2].flatten()
    assert (np.abs(scores.numpy() - expected) < 4 * errors.numpy() + 1e-12).all()
    assert errors.max() < 0.1 * scores.abs().max()
    # The regions of a frame share what it has among frames.
    assert torch.allclose(scores.view(2, 2).sum(1), found.frame_scores[0], rtol=0, atol=1e-12)
    assert torch.equal(found.region_scores[0, 0, :, :2].unique(), scores[:1])


def test_a_frame_is_encoded_once():
    wrapper, _ = family("gru_mean").build()
    clip = family("gru_mean").clip()
    seen = []
    wrapper.encoder.register_forward_hook(lambda *call: seen.append(len(call[2])))
    method = FrameShapley(wrapper, "neighbour")
    method.attribute(clip, 1)  # the model is tried
    seen.clear()
    run = method.explain(clip, 1).run
    # Six frames and their mean, of two clips; the loop would encode 64 clips each.
    assert sum(seen) == 2 * 7
    assert run.forward_passes == 7 / 6


def test_a_run_that_is_stopped_keeps_its_permutations(monkeypatch):
    def interrupted(clip):
        calls.append(1)
        if len(calls) > 100:
            raise KeyboardInterrupt
        return interacting(clip)

    calls, clip = [], drawn_clip((1, 8, 3, 6, 6))
    method = FrameShapley(interrupted, 0.0, n_samples=100, perturbations_per_eval=1)
    with pytest.raises(KeyboardInterrupt):
        method.attribute(clip, 0)
    calls.clear()
    found = method.explain(clip, 0, on_stop="keep")
    assert not found.complete
    assert 0 < found.permutations[0] < 100
    assert "stopped" in found.summary()
    whole = FrameShapley(interacting, 0.0, n_samples=found.permutations[0]).explain(clip, 0)
    assert torch.equal(found.frame_scores, whole.frame_scores)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_samples": 3}, "an even n_samples"),
        ({"n_samples": 0}, "n_samples a whole number at least 2, got 0"),
        ({"until": -0.1}, "until at least 0, got -0.1"),
        ({"baselines": "nearest"}, 'baselines to be a number, "mean", "blur", "neighbour"'),
        ({"feature_mask": Blocks(2, 2)}, "a value for every pixel, for regions"),
        ({"feature_mask": Blocks(2, 2), "baselines": "removal"}, "a value for every pixel"),
        ({"objective": "chance"}, "objective to be"),
        ({"perturbations_per_eval": 0}, "perturbations_per_eval a whole number at least 1"),
    ],
)
def test_options_that_cannot_be(options, text):
    with pytest.raises(OptionError, match=text):
        FrameShapley(interacting, **options)


def test_what_does_not_fit_is_named():
    clip = drawn_clip()
    with pytest.raises(ClipError, match="baselines that fit"):
        FrameShapley(interacting, torch.zeros(1, 3, 3, 6, 6)).attribute(clip, 0)
    with pytest.raises(TargetError):
        FrameShapley(interacting).attribute(clip, 2)
    wrapper, _ = family("early_fusion").build()
    with pytest.raises(ClipError, match=r"takes clips of 1 frame\(s\), for baselines=\"removal\""):
        FrameShapley(wrapper, "removal").attribute(family("early_fusion").clip(), 0)
