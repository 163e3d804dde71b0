"""Metrics of numbers against slow references, which were written from the definitions alone."""

import numpy as np
import pytest

from temporal_attr.evaluation import (
    AUP,
    AUPRC,
    AUR,
    EffectiveFrames,
    Entropy,
    Gini,
    IoU,
    MassAccuracy,
    PairAP,
    PeakDistance,
    PointingGame,
    RankAccuracy,
    TemporalRoughness,
    TopKIntersection,
)
from tests.helpers.scored_cases import case_of
from tests.references import evaluation_truth as slow

OF_TRUTH = {
    AUPRC(): slow.area_under_precision_recall,
    AUP(): slow.area_under_precision,
    AUP(ranked=True): lambda s, y: slow.area_under_precision(s, y, ranked=True),
    AUR(): slow.area_under_recall,
    AUR(ranked=True): lambda s, y: slow.area_under_recall(s, y, ranked=True),
    PointingGame(): slow.pointing_game,
    PointingGame(rule="mean-of-maxima"): slow.pointing_game_at_mean,
    MassAccuracy(): slow.mass_accuracy,
    RankAccuracy(): slow.rank_accuracy,
    TopKIntersection(): lambda s, y: slow.top_share(s, y, 1),
    TopKIntersection(k=3): lambda s, y: slow.top_share(s, y, 3),
    TopKIntersection(k=0.3): lambda s, y: slow.top_share(s, y, max(round(0.3 * s.size), 1)),
    IoU(): slow.intersection_over_union,
    IoU(quantile=0.4): lambda s, y: slow.intersection_over_union(s, y, 0.4),
    IoU(quantile=0.7): lambda s, y: slow.intersection_over_union(s, y, 0.7),
    PeakDistance(): slow.peak_distance,
}
OF_SCORES = {
    Entropy(): slow.entropy,
    Entropy(normalized=True): lambda s: slow.entropy(s, normalized=True),
    Gini(): slow.gini,
    EffectiveFrames(): slow.effective_frames,
    TemporalRoughness(): slow.temporal_roughness,
}


def drawn(seed, shape):
    """Scores of which some are equal, at most four at a time, and a truth."""
    random = np.random.default_rng(seed)
    few = random.permutation(np.repeat(np.arange(-2.0, 4), 4))
    scores = few[: np.prod(shape)] if seed % 2 else random.normal(size=np.prod(shape))
    truth = random.random(shape) < random.uniform(0.1, 0.8)
    truth.flat[seed] = True
    return scores.reshape(shape), truth


def near(value):
    return pytest.approx(value, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("metric", OF_TRUTH, ids=lambda metric: metric.name)
def test_metrics_of_truth(metric):
    for seed in range(6):
        scores, truth = drawn(seed, (7 + seed,))
        assert metric.score(case_of(scores, truth=truth)).value == near(
            OF_TRUTH[metric](scores, truth)
        )
        assert metric.score(case_of(-abs(scores), truth=truth)).value == near(
            OF_TRUTH[metric](-abs(scores), truth)
        )


@pytest.mark.parametrize("metric", list(OF_TRUTH)[:-1], ids=lambda metric: metric.name)
def test_metrics_of_truth_on_pixels(metric):
    of_pixels = type(metric)(**(vars(metric) | {"of": "pixels"}))
    for seed in range(4):
        scores, truth = drawn(seed, (3, 2, 3))
        found = of_pixels.score(case_of(pixels=scores, truth=truth)).value
        assert found == near(OF_TRUTH[metric](scores, truth))


@pytest.mark.parametrize("metric", OF_SCORES, ids=lambda metric: metric.name)
def test_metrics_of_scores(metric):
    for seed in range(6):
        scores, _ = drawn(seed, (seed + 1 + 6 * (seed < 1),))
        found = metric.score(case_of(scores)).value
        assert found == near(OF_SCORES[metric](scores))
    assert np.isnan(OF_SCORES[metric](np.zeros(4)))


def test_pairs():
    for seed in range(4):
        random = np.random.default_rng(seed)
        matrix = random.integers(-2, 5, (6, 6)).astype(float)
        pairs = random.random((6, 6)) < 0.2
        pairs[seed, 5] = True
        pairs |= pairs.T
        found = PairAP().score(case_of(matrix=matrix, pairs=pairs)).value
        assert found == near(slow.pair_precision(matrix, pairs))
