"""Models that are blind to the order of frames, and how their explanations compare."""

from functools import partial

import numpy as np
import pytest
import torch

from temporal_attr import (
    LRP,
    FrameLogitsError,
    TemporalGradient,
)
from temporal_attr.evaluation.sanity import (
    ShuffledTwin,
    order_blind,
    random_orders,
)
from temporal_attr.models import FramewiseModel
from tests.helpers.checks import assert_near
from tests.helpers.families import family
from tests.helpers.judged import Weights, gradient, judged, pixel_sums, random_clip

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = (6, 3, 8, 8)


def test_all_orders_are_given_where_they_are_few_and_drawn_where_they_are_many():
    assert {tuple(row) for row in random_orders(3, 6).tolist()} == {
        (0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)
    }  # fmt: skip
    assert random_orders(1, 1).tolist() == [[0]]
    assert len(random_orders(2, 9)) == 2
    drawn = random_orders(16, 9, seed=1)
    assert drawn.shape == (9, 16)
    assert all(sorted(row) == list(range(16)) for row in drawn.tolist())
    assert torch.equal(drawn, random_orders(16, 9, seed=1))
    assert not torch.equal(drawn, random_orders(16, 9, seed=2))


@pytest.mark.parametrize("name", ["late_fusion_mean", "late_fusion_max", "late_fusion_module"])
def test_a_model_without_order_and_its_blind_twin_are_the_same(name):
    model, clip = family(name).build()[0].double(), family(name).clip(torch.float64)
    twin = order_blind(model, orders=4)
    assert isinstance(twin, FramewiseModel)
    assert_near(twin(clip), model(clip))
    assert_near(
        TemporalGradient(twin).attribute(clip, target=1),
        TemporalGradient(model).attribute(clip, target=1),
    )
    case = judged(gradient, model, clip[:1], target=1)
    for of in ("frames", "pixels"):
        score = ShuffledTwin(of, orders=4, similarity="cosine").score(case)
        assert score.value == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["lstm_last", "zoo_tam2d", "conv3d_windows", "early_fusion"])
def test_the_twin_is_the_mean_over_orders_and_so_is_its_gradient(name):
    model, clip = family(name).build()[0].double(), family(name).clip(torch.float64)
    orders = random_orders(6, 3, seed=5)
    twin = order_blind(model, orders=3, seed=5)
    expected = torch.stack([model(clip[:, order]) for order in orders]).mean(0)
    assert_near(twin(clip), expected)
    assert (expected - model(clip)).abs().max() > 1e-3 * expected.abs().max()
    leaf = clip.clone().requires_grad_()
    logits = torch.stack([model(leaf[:, order])[:, 2] for order in orders]).mean(0)
    (slow,) = torch.autograd.grad(logits.sum(), leaf)
    assert_near(TemporalGradient(twin).attribute(clip, target=2), slow)
    with pytest.raises(FrameLogitsError, match="sees each frame at many places"):
        twin.frame_logits(clip)


def test_a_twin_over_all_orders_cannot_see_order():
    model = family("lstm_last").build()[0].double()
    clip = family("lstm_last").clip(torch.float64)[:, :3]
    twin = order_blind(model, orders=6)
    assert_near(twin(clip.flip(1)), twin(clip))
    assert (model(clip.flip(1)) - model(clip)).abs().max() > 1e-3


def test_frames_of_a_framewise_model_are_encoded_once():
    model = family("lstm_last").build()[0]
    seen = []
    model.encoder.register_forward_hook(lambda part, given, out: seen.append(len(given[0])))
    order_blind(model, orders=5)(family("lstm_last").clip())
    assert seen == [12]


def test_relevance_passes_the_twin_and_is_the_mean_over_orders():
    model, clip = family("zoo_tam2d").build()[0].double(), random_clip((6, 3, 16, 16))
    orders = random_orders(6, 2)
    back = [LRP(model).attribute(clip[:, order], target=1)[:, order.argsort()] for order in orders]
    found = LRP(order_blind(model, orders=2)).attribute(clip, target=1)
    assert_near(found, torch.stack(back).mean(0), 1e-6)  # epsilon beside the logits


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_twin_of_a_linear_model_has_the_mean_of_its_weights_at_every_frame(wrapped):
    model, clip = Weights((3, 3, 8, 8)), random_clip((3, 3, 8, 8))
    own = partial(model.__call__) if wrapped else model
    rows = pixel_sums(model.rows()[1])
    mean = np.broadcast_to(rows.mean(0), rows.shape)
    # In float64 its gradient has frames that differ by rounding; cosine does not see that.
    cosine = (rows * mean).sum() / np.linalg.norm(rows) / np.linalg.norm(mean)
    score = ShuffledTwin("pixels", 6, "cosine").score(judged(gradient, own, clip, target=1))
    assert score.value == pytest.approx(cosine, abs=1e-12)
    assert score.forward_passes == 7
    blind = torch.stack([model(clip[:, order])[0, 1] for order in random_orders(3, 6)]).mean()
    logits = f"{model(clip)[0, 1].item():.4g}, and {blind.item():.4g} without order"
    assert score.note == f"the target's logit is {logits}"
