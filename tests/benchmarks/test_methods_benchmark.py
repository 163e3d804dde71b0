"""What the benchmark of methods on planted videos measures with."""

import numpy as np
import pytest
import torch

from temporal_attr.zoo import build_model
from tests.helpers.checks import BENCHMARKS

pytestmark = pytest.mark.usefixtures("one_thread", "as_user")


@pytest.fixture
def budgets(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import planted_budgets

    return planted_budgets


def scene(budgets):
    """A video whose cue is known, and the clip of an untrained model."""
    entry = budgets.MODELS["3D ResNet"]
    video = entry.make_task().sample(0)
    options = {"size": entry.size, **entry.options}
    model = build_model(entry.architecture, 4, 0, **options).eval()
    return model, video, video.clip(model.preprocessing).tensor


def test_methods_take_about_what_their_budget_says(budgets):
    model, video, clip = scene(budgets)
    for asked in budgets.ASKED:
        if asked.build is None or asked.only or asked.budget > 50:
            continue
        frames, pixels, cost = budgets.with_model(asked, asked.build(model), video, clip)
        assert 0 < frames <= 1, asked.name
        assert pixels is None or 0 < pixels <= 1, asked.name
        # A backward pass counts 2; the longest are a little over 50.
        assert cost <= (4 if asked.budget == 1 else 56), asked.name


def test_what_points_at_the_cue_finds_it(budgets):
    _, video, clip = scene(budgets)
    itself = next(asked for asked in budgets.ASKED if asked.name == "the clip itself")
    cue = torch.from_numpy(video.region)[None, :, None].expand_as(clip).float()
    assert budgets.without_model(itself, video, cue, 0) == (1.0, 1.0, 0.0)


def test_random_numbers_score_what_chance_does(budgets):
    _, video, clip = scene(budgets)
    random = next(asked for asked in budgets.ASKED if asked.name == "random numbers")
    found = [budgets.without_model(random, video, clip, number)[1] for number in range(3)]
    # The share of pixels that are the cue's, of thousands.
    assert np.mean(found) == pytest.approx(video.region.mean(), rel=0.1)
