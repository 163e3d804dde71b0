"""Sets of clips, and what a probe can be given."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from temporal_attr import (
    DataError,
    LateFusion,
    OptionError,
    ShuffleProbe,
    ShuffleSet,
    TemporalGradient,
)
from temporal_attr.clips import FullShuffle, LocalShuffle, Reversal, draw_orders
from temporal_attr.measures import hierarchical_bootstrap
from temporal_attr.zoo import build_model
from tests.helpers.families import CLASSES, image_encoder, vivid


def mean_of_each(drawn):
    return drawn.mean(tuple(range(1, drawn.ndim)))


def random_clips(batch=1, frames=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, frames, 3, 16, 16, generator=generator)


@pytest.fixture(scope="module")
def model():
    return build_model("tam2d", CLASSES, widths=(4, 8))


def covered(shared, trials=600):
    """How often the interval holds the true mean, where orders have an effect on all clips."""
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(trials):
        effects = random.normal(size=8)
        groups = [random.normal() * 0.1 + effects + random.normal(size=8) * 0.1 for _ in range(10)]
        found = hierarchical_bootstrap(
            groups, mean_of_each, resamples=300, seed=trial, shared=shared
        )
        hits += found.low <= 0 <= found.high
    return hits / trials


@pytest.mark.simulation
def test_orders_that_all_clips_were_shown_do_not_average_out_over_clips(check_measured):
    # With 8 orders a percentile interval covers about 0.88; 600 trials are known to 0.012.
    text = "coverage of 95 % intervals over clips with 8 orders in common, {}"
    check_measured(text.format("resampled as shared"), covered(shared=True), 0.84, 0.95, 600)
    check_measured(
        text.format("resampled as if each clip had its own"), covered(False), 0, 0.7, 600
    )


def test_shared_samples_are_drawn_alike_for_all_groups():
    # What is one number for an order is its own mean whatever clips are drawn.
    effects = np.array([1.0, 2.0, 4.0])
    found = hierarchical_bootstrap([effects, effects, effects], mean_of_each, shared=True)
    alone = hierarchical_bootstrap([effects], mean_of_each, shared=True)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), abs=0.35)
    with pytest.raises(OptionError, match="as many in each group, got 2, 3. Draw them for each"):
        hierarchical_bootstrap([effects, effects[:2]], mean_of_each, shared=True)


def test_a_set_says_whether_its_clips_were_shown_the_same_orders(model):
    probe = ShuffleProbe(model, shuffles=4)
    same = [probe.explain(random_clips(seed=n), 1) for n in range(4)]
    others = [ShuffleProbe(model, 4, seed=n).explain(random_clips(seed=n), 1) for n in range(4)]
    for results, shared in ((same, True), (others, False)):
        groups = [one.logit_drop_samples for one in map(samples_of, results)]
        expected = hierarchical_bootstrap(groups, mean_of_each, shared=shared)
        found = ShuffleSet.of(results).means["logit_drop"]
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def samples_of(result):
    class Samples:
        logit_drop_samples = result.samples(0)["logit_drop"][0].numpy()

    return Samples


def test_the_p_value_of_a_set_is_of_the_mean_over_clips(model):
    results = [ShuffleProbe(model, shuffles=9).explain(random_clips(seed=n), 1) for n in range(3)]
    found = ShuffleSet.of(results)
    levels = np.zeros(10)
    for one in results:
        scores = torch.cat([one.ordered_scores, one.shuffled_scores[0]]).double().mean(1)
        levels += (scores / scores.mean()).numpy() / 3
    far = abs(levels - levels.mean())
    assert found.p_value == pytest.approx((far >= far[0] * (1 - 1e-9)).mean())
    assert found.summary().count("note: 3 of 3: 9 order(s) are few") == 1


def test_what_was_measured_in_another_way_is_not_averaged(model):
    one = ShuffleProbe(model, shuffles=4).explain(random_clips(), 1)
    others = {
        "flow": ShuffleProbe(model, shuffles=4).explain(random_clips(), 1, flow=None),
        "LocalShuffle": ShuffleProbe(model, 4, shuffling=LocalShuffle(2)).explain(
            random_clips(), 1
        ),
        "probability": ShuffleProbe(TemporalGradient(model, "probability"), 4).explain(
            random_clips(), 1
        ),
    }
    for text, other in others.items():
        with pytest.raises(DataError, match=f"shuffled and scored in the same way.*{text}"):
            ShuffleSet.of([one, other])


def test_a_head_that_works_in_place():
    torch.manual_seed(0)
    head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(24, CLASSES)).eval()
    model = vivid(LateFusion(image_encoder(), head), random_clips(2))
    found = ShuffleProbe(model, 5).attribute(random_clips(), 1)
    by_clip = ShuffleProbe(TemporalGradient(model, memory="whole"), 5).attribute(random_clips(), 1)
    torch.testing.assert_close(found, by_clip, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_has_statistics_of_single(dtype, model):
    half = build_model("tam2d", CLASSES, widths=(4, 8)).to(dtype)
    given = random_clips().to(dtype)
    probe = ShuffleProbe(half, 5)
    assert probe.attribute(given, 1).dtype == dtype
    result = probe.explain(given, 1)
    assert result.ratios.dtype == torch.float32
    exact = ShuffleProbe(build_model("tam2d", CLASSES, widths=(4, 8)), 5).explain(given.float(), 1)
    # Eight bits of a bfloat16's fraction, over some twenty layers.
    torch.testing.assert_close(result.mrr, exact.mrr, rtol=0.03, atol=0)
    assert probe.curve(given, 1).values["mrr"].isfinite().all()


def test_arguments_of_the_model_belong_to_the_whole_batch(model):
    weight = torch.rand(6)  # as long as the batch and as the clip

    def weighted(batch, weight):
        return model(batch * weight[:, None, None, None])

    batch = random_clips(batch=6)
    found = ShuffleProbe(weighted, shuffles=4).explain(
        batch, 2, additional_forward_args=weight, flow=None
    )
    for order, logits in zip(found.permutations, found.shuffled_logits.unbind(1), strict=True):
        torch.testing.assert_close(logits, weighted(batch[:, order], weight).detach())


def test_a_method_gets_its_own_arguments(model):
    windows = {"sliding_window_shapes": (1, 3, 8, 8), "strides": (1, 3, 8, 8)}
    probe = ShuffleProbe(Occlusion(model), shuffles=2, method_arguments=windows)
    found = probe.attribute(random_clips(), 1)
    scores = []
    for order in torch.cat([torch.arange(6)[None], draw_orders(FullShuffle(), 6, 2)]):
        attribution = Occlusion(model).attribute(random_clips()[:, order], target=1, **windows)
        placed = attribution[0].flatten(1).norm(dim=1)
        scores.append(torch.zeros(6, dtype=placed.dtype).scatter(0, order, placed))
    expected = ((scores[1] + scores[2]) / 2 / scores[0]).float()
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=0)


def test_the_chunks_of_a_gradient_that_is_given_are_kept(model):
    framewise = build_model("gru", CLASSES, widths=(4, 8))
    given = TemporalGradient(framewise, chunk_size=3)
    assert ShuffleProbe(given, 2).explain(random_clips(), 1).run.chunk_size == 3
    assert ShuffleProbe(given, 2, chunk_size=7).explain(random_clips(), 1).run.chunk_size == 7
    # Of six frames, as many clips as have so many, and at least one.
    given = TemporalGradient(model, chunk_size=13)
    assert ShuffleProbe(given, 2).explain(random_clips(), 1).run.chunk_size == 12
    assert ShuffleProbe(given, 2, chunk_size=3).explain(random_clips(), 1).run.chunk_size == 6


def test_frames_that_get_a_score_only_when_shuffled_are_counted():
    torch.manual_seed(0)
    model = LateFusion(image_encoder(), nn.Linear(24, CLASSES).eval(), "last").eval()
    result = ShuffleProbe(model, 20).explain(random_clips(), 1, flow=None)
    (note,) = result.notes[0]
    assert note.startswith("5 of 6 frames have no score in order, and no ratio; 5 of them get one")
    words = result.categories[0]
    assert words["mrr"] == words["relative_drop"] == "no category, as most frames have no ratio"


@pytest.mark.usefixtures("as_user")
def test_options_that_say_nothing(model):
    with pytest.raises(OptionError, match='reduction to be "l2", "l1", "max" or a function'):
        ShuffleProbe(model, reduction="sum")
    with pytest.raises(OptionError, match=r"shuffling to be FullShuffle\(\), .* got 'full'"):
        ShuffleProbe(model, shuffling="full")
    with pytest.raises(
        OptionError, match=r"at most 1 orders of 6 frames from Reversal\(\), got 20"
    ):
        ShuffleProbe(model, shuffling=Reversal()).attribute(random_clips(), 1)
    with pytest.raises(OptionError, match=r"segment_overlap in \[0, 1\), got 1"):
        ShuffleProbe(model, segment_overlap=1.0)


def test_a_curve_in_words(model):
    text = ShuffleProbe(model, shuffles=20).curve(random_clips(), 1).summary()
    assert text.startswith("clip 0: target 1\nblock length  orders  probability_drop  mrr")
    assert text.splitlines()[2].split()[:2] == ["1", "20"]
    assert text.splitlines()[3].split()[:2] == ["2", "5"]
    assert text.endswith("note: fewer orders than asked for at some lengths; there are no more")
