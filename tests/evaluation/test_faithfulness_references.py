"""Metrics that remove features, against slow references written from the definitions alone."""

import math

import numpy as np
import pytest
import torch

from temporal_attr.evaluation import (
    ABPC,
    ROAD,
    AverageDrop,
    AverageIncrease,
    Deletion,
    Insertion,
    LeaveOneOut,
    MinimalNecessaryFrames,
    MinimalSufficientFrames,
    SaCo,
    SensitivityN,
)
from temporal_attr.evaluation._case import Case, Explanation
from temporal_attr.evaluation.faithfulness._imputation import NEIGHBOURS
from temporal_attr.evaluation.faithfulness._sensitivity_n import drawn_subsets
from temporal_attr.perturbations import Blocks, Tubes, baseline_of
from tests.references import evaluation_faithfulness as slow

SHAPE = (5, 2, 4, 4)
NEAR = {"abs": 1e-9, "nan_ok": True}


class Drawn:
    """A clip, scores and a model that bends, all drawn, in float64."""

    def __init__(self, seed):
        draw = torch.Generator().manual_seed(seed)
        options = {"generator": draw, "dtype": torch.float64}
        self.clip = torch.randn(SHAPE, **options)
        self.attribution = torch.randn(SHAPE, **options)
        self.frame_scores = torch.randn(SHAPE[0], **options)
        inner = torch.randn(2 * SHAPE[1] * 16, 6, **options) / 3
        outer = torch.randn(6, 3, **options)

        def model(clips):
            # Each frame with the next, so that order and neighbours count.
            flat = clips.flatten(2)
            pairs = torch.cat([flat, flat.roll(-1, 1)], 2)
            return ((pairs @ inner).tanh() @ outer).mean(1)

        self.model = model
        self.target = int(model(self.clip[None]).argmax())
        explanation = Explanation(self.frame_scores, self.attribution)
        self.case = Case(model, self.clip[None], self.target, explanation, seed=seed)

    def predict(self, clip):
        """The probabilities of one clip."""
        return self.model(torch.as_tensor(clip)[None]).softmax(1)[0].numpy()

    def frames(self, baseline):
        """Frames as features of the references."""
        view = slow.frames_view(self.clip.numpy(), baseline)
        return slow.Game(self.predict, self.target, view, SHAPE[0])

    def places(self, mask, baseline, total=False):
        """Features of pixels, and their scores."""
        labels = mask.labels(self.clip[None])[0].numpy()
        other = baseline_of(self.clip[None], baseline)[0].numpy()
        view = slow.places_view(self.clip.numpy(), labels, other)
        scores = slow.feature_scores(self.attribution.sum(1).numpy(), labels, total)
        return slow.Game(self.predict, self.target, view, int(labels.max()) + 1), scores


@pytest.fixture(scope="module", params=range(2))
def drawn(request):
    return Drawn(request.param)


def check(metric, drawn, expected):
    found = metric.score(drawn.case).value
    assert found == pytest.approx(expected, **NEAR)


@pytest.mark.parametrize("baseline", ["neighbour", "removal", "mean", "blur", 0.5])
def test_curves_of_frames(drawn, baseline):
    game, scores = drawn.frames(baseline), drawn.frame_scores.numpy()
    check(Deletion(baselines=baseline), drawn, slow.deletion(game, scores))
    check(Deletion(baselines=baseline, order="least"), drawn, slow.deletion(game, scores, "least"))
    check(Insertion(baselines=baseline), drawn, slow.insertion(game, scores))
    check(ABPC(baselines=baseline), drawn, slow.area_between(game, scores))
    fewer = Deletion(baselines=baseline, steps=2).score(drawn.case)
    assert fewer.value == pytest.approx(slow.deletion(game, scores, counts=[0, 2, 5]), **NEAR)


@pytest.mark.parametrize("mask", [Tubes(2, 2, 1), Blocks(2, 3)])
@pytest.mark.parametrize("baseline", ["blur", 0.5])
def test_features_of_pixels(drawn, mask, baseline):
    game, scores = drawn.places(mask, baseline)
    sums = drawn.places(mask, baseline, total=True)[1]
    given = {"features": mask, "baselines": baseline}
    check(Deletion(**given), drawn, slow.deletion(game, scores))
    check(Insertion(**given), drawn, slow.insertion(game, scores))
    check(LeaveOneOut(**given), drawn, slow.leave_one_out(game, scores))
    subsets = [row.nonzero()[:, 0].tolist() for row in drawn_subsets(game.count, 2, 100, 0)]
    check(SensitivityN(n=2, **given), drawn, slow.sensitivity_n(game, sums, subsets))


@pytest.mark.parametrize("baseline", ["neighbour", "blur", 0.5])
def test_minimal_frames(drawn, baseline):
    game, scores = drawn.frames(baseline), drawn.frame_scores.numpy()
    expected = slow.minimal_sufficient(game, scores, fewest=1)
    check(MinimalSufficientFrames(baseline), drawn, expected)
    check(MinimalNecessaryFrames(baseline), drawn, slow.minimal_necessary(game, scores))
    for share in (0.5, 0.8, 1.0):
        least = share * game.without(())
        expected = slow.minimal_sufficient(game, scores, least, fewest=1)
        check(MinimalSufficientFrames(baseline, share), drawn, expected)


@pytest.mark.parametrize("baseline", ["neighbour", "blur"])
def test_correlations_of_frames(drawn, baseline):
    game, scores = drawn.frames(baseline), drawn.frame_scores.numpy()
    other = drawn.frames("blur" if baseline == "neighbour" else "neighbour")
    found = LeaveOneOut(baselines=baseline).score(drawn.case)
    assert found.value == pytest.approx(slow.leave_one_out(game, scores), **NEAR)
    assert found.curves["ceiling"][0] == pytest.approx(slow.ceiling(game, other), **NEAR)
    assert found.curves["drops"] == pytest.approx(slow.drops(game), **NEAR)
    for n in (1, 3):
        subsets = [row.nonzero()[:, 0].tolist() for row in drawn_subsets(5, n, 100, 0)]
        assert len(subsets) == math.comb(5, n)
        expected = slow.sensitivity_n(game, scores, subsets)
        check(SensitivityN(n=n, baselines=baseline), drawn, expected)
    for groups in (2, 3, 5):
        expected = slow.saco(game, scores, groups)
        check(SaCo(baselines=baseline, groups=groups), drawn, expected)


@pytest.mark.parametrize("of", ["frames", "pixels"])
@pytest.mark.parametrize("baseline", ["blur", 0.5])
def test_drop_and_increase(drawn, of, baseline):
    other = baseline_of(drawn.clip[None], baseline)[0].numpy()
    scores = drawn.frame_scores if of == "frames" else drawn.attribution.sum(1)
    given = (drawn.predict, drawn.clip.numpy(), drawn.target, scores.numpy(), other)
    expected = slow.kept_by_scores(*given)
    check(AverageDrop(of, baseline), drawn, expected.drop)
    check(AverageIncrease(of, baseline), drawn, expected.increase)


@pytest.mark.parametrize("order", ["most", "least"])
def test_road_without_its_noise(drawn, order):
    scores = drawn.attribution.sum(1).flatten().numpy()
    ranked = np.argsort(-scores if order == "most" else scores).tolist()
    counts = [round(share * scores.size) for share in (0.1, 0.5, 0.8)]
    given = (drawn.predict, drawn.clip.numpy(), drawn.target, ranked, counts, dict(NEIGHBOURS))
    expected = slow.road_curve(*given)
    found = ROAD((0.1, 0.5, 0.8), order=order, noise=0.0).score(drawn.case)
    assert found.curves["objective"][1:] == pytest.approx(expected, **NEAR)
    whole = drawn.predict(drawn.clip)[drawn.target]
    area = slow.trapezoid([0, 0.1, 0.5, 0.8], [whole, *expected]) / 0.8
    assert found.value == pytest.approx(area, **NEAR)
