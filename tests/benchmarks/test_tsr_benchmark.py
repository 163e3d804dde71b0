"""What the benchmark of temporal saliency rescaling measures with."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, Saliency

from temporal_attr import Blocks, FrameMaskingTSR
from temporal_attr.zoo import build_model
from tests.helpers.checks import BENCHMARKS


@pytest.fixture
def scores(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tsr_scores

    return tsr_scores


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tsr_methods

    return tsr_methods


def slow_areas(given, weights, truth, points=20000):
    """The areas from their definition: groups of equal scores, one share d after another."""
    groups = sorted(set(given.tolist()), reverse=True)
    total, all_true = weights.sum(), weights[truth].sum()
    shares = (np.arange(points) + 0.5) / points
    left, found = shares * total, np.zeros(points)
    for group in groups:
        held = weights[given == group].sum()
        taken = np.minimum(left, held)
        if held:
            found += taken / held * weights[(given == group) & truth].sum()
        left = left - taken
    precision, recall = found / (shares * total), found / all_true
    return precision.mean(), recall.mean(), precision @ np.diff([0.0, *recall])


@pytest.mark.parametrize("seed", range(6))
def test_areas_are_those_of_their_definition(scores, seed):
    random = np.random.default_rng(seed)
    # Few different numbers, so that many are equal, among them 0.
    given = random.integers(0, 5, 30).astype(float)
    truth = random.random(30) < 0.3
    truth[0] = True
    given[0] = 3
    found = scores.areas(given, truth)
    weighted = slow_areas(given, given, truth)
    ranked = slow_areas(given, np.ones(30), truth)
    assert (found.aup, found.aur, found.aupr) == pytest.approx(weighted, abs=3e-4)
    assert (found.ranked_aup, found.ranked_aur, found.ap) == pytest.approx(ranked, abs=3e-4)


@pytest.mark.parametrize("value", [0.0, 0.1, 7.0])
def test_equal_scores_are_chance(scores, value):
    truth = np.arange(20) < 3
    found = scores.areas(np.full(20, value), truth)
    assert (found.aup, found.aupr, found.ap) == pytest.approx((0.15, 0.15, 0.15))
    assert (found.aur, found.ranked_aur) == pytest.approx((0.5, 0.5))


def test_scores_on_the_truth_alone_are_perfect_but_for_aur(scores):
    truth = np.arange(20) < 4
    found = scores.areas(truth.astype(float), truth)
    assert (found.aup, found.aupr, found.ap) == pytest.approx((1, 1, 1))
    assert (found.aur, found.ranked_aur) == pytest.approx((0.5, 0.9))


def test_one_true_feature_is_enough_for_the_weighted_areas(scores):
    truth = np.arange(20) < 4
    found = scores.areas(np.eye(20)[0], truth)
    assert (found.aup, found.aupr) == pytest.approx((1, 1))
    # A quarter of the true ones at precision 1, the others among the 19 that are left.
    assert 0.25 < found.ap < 0.5


def test_scores_beside_the_truth(scores):
    truth = np.arange(20) < 4
    found = scores.areas((~truth).astype(float), truth)
    assert (found.aup, found.aur, found.aupr) == (0, 0, 0)
    assert 0 < found.ap < 0.2


def test_areas_do_not_depend_on_the_unit(scores):
    random = np.random.default_rng(0)
    given, truth = random.random(50), random.random(50) < 0.2
    one, other = scores.areas(given, truth), scores.areas(1e-12 * given, truth)
    assert other.aup == pytest.approx(one.aup, rel=1e-12)
    assert other.aupr == pytest.approx(one.aupr, rel=1e-12)
    assert other.ap == one.ap


def test_areas_need_something_true(scores):
    with pytest.raises(ValueError, match="no feature is true"):
        scores.areas(np.ones(3), np.zeros(3, bool))


def test_variants_are_what_the_library_gives(methods):
    model = build_model("late-fusion", classes=3, size=32, widths=(4, 8))
    clip = torch.randn(1, 6, 3, 32, 32)
    settings = {"feature_mask": Blocks(*methods.BLOCK), "quantile": methods.QUANTILE}
    found = FrameMaskingTSR(Saliency(model), "two", **settings).explain(clip, target=1)
    every = methods.variants(found, two=True)
    one = FrameMaskingTSR(Saliency(model)).attribute(clip, target=1)
    scaled = FrameMaskingTSR(Saliency(model), "two", normalize=True, **settings)
    torch.testing.assert_close(every["one step"], one)
    torch.testing.assert_close(every["two steps, scaled"], scaled.attribute(clip, target=1))
    alone = Saliency(model).attribute(clip.clone().requires_grad_(), target=1)
    torch.testing.assert_close(every["alone"], alone)


def test_a_block_has_the_mean_of_its_pixels(methods):
    attribution = torch.randn(1, 2, 3, 32, 32)
    blocks = methods.in_blocks(attribution)
    part = attribution[0, 1, :, 8:16, 24:32].norm(dim=0).mean()
    torch.testing.assert_close(blocks[0, 1, 0, 8:16, 24:32], part.expand(8, 8))


@pytest.mark.parametrize("architecture", ["late-fusion", "lstm"])
def test_remembering_frames_changes_nothing(methods, architecture):
    model = build_model(architecture, classes=3, size=32, widths=(4, 8))
    clip = torch.randn(1, 5, 3, 32, 32)
    mask = methods.by_frame(clip)
    found = [
        FeatureAblation(one).attribute(clip, target=2, feature_mask=mask)
        for one in (model, methods.Remembering(model))
    ]
    torch.testing.assert_close(*found)


VARIANTS = {
    "alone": 0.3,
    "one step": 0.5,
    "two steps": 0.2,
    "alone, in blocks": 0.2,
    "one step, in blocks": 0.4,
    "time relevance": 0.305,
    "one step, mean": 0.5,
}


@pytest.fixture
def table(monkeypatch, methods):
    """Saliency on the 3D network, with numbers that are known; random numbers do better alone."""
    import tsr_table

    def outcome(name, variants):
        random = np.random.default_rng(len(name))
        numbers = {
            variant: {
                level: (value + 1e-4 * random.random((20, 6))).tolist()
                for level in ("frames", "pixels")
            }
            for variant, value in variants.items()
        }
        return methods.Outcome(methods.RESNET.name, 0, name, 142.0, 1.0, numbers)

    found = [outcome("chance", {"alone": 0.4}), outcome("Saliency", VARIANTS)]
    found += [outcome("superpixels", {"two steps": 0.6})]
    found += [outcome("blocks of 7 x 8", {"two steps": 0.45})]
    return tsr_table.Table(found)


def test_findings_are_made_from_the_numbers(table):
    from tsr_findings import findings

    lines = findings(table)
    said = "\n".join(lines)
    name = "`keyframe-tsr-inflated-resnet`"
    assert f"- {name}, frames: one step AP: raises 1 of 1 (Saliency +0.200)." in lines
    assert f"- {name}, pixels: one step AP: raises 1 of 1 (Saliency +0.200)." in lines
    relevance = f"- {name}, frames: the time relevance by itself AP: raises to no use 1 (Saliency"
    assert relevance in said
    assert f"{name}, frames: below random numbers are Saliency alone." in said
    blocks = "against the method alone, averaged over blocks, the second step AP: leaves 1 of 1"
    assert f"{name}, pixels: {blocks} undecided." in said
    worse = "against the method one step, averaged over blocks, the second step AP: lowers 1 of 1"
    assert f"{name}, pixels: {worse} (Saliency -0.200)." in said
    assert "superpixels 0.600, blocks of 7 x 8 0.450; of superpixels, AP: raises 1 of 1" in said
    assert "(less blocks of 7 x 8 +0.150)" in said


def test_no_number_gives_no_finding(methods):
    import tsr_table
    from tsr_findings import findings

    assert [line for line in findings(tsr_table.Table([])) if line.startswith("-")] == []
