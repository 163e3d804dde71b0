"""Agreement of a saliency video with the flow, against slow loops, closed forms and enumeration."""

import itertools
import math

import pytest
import scipy
import torch
from hypothesis import given
from hypothesis import strategies as st

from temporal_attr import ClipError, OptionError, load_clip
from temporal_attr.clips import FullShuffle, draw_orders
from temporal_attr.measures import flow_agreement, frame_scores, optical_flow, saliency_video
from tests.helpers.checks import NAN, assert_refused, examples, seeds

some_examples = examples(20)

# Correlations of a few ranks in float64, summed in another order.
CLOSE = {"rtol": 0, "atol": 1e-12, "equal_nan": True}


def after(maps, first=0.0):
    """A saliency whose frames from the second on are these maps."""
    return torch.cat([torch.full_like(maps[:, :1], first), maps], 1)


def parts(agreement):
    return agreement.frames, agreement.value, agreement.chance, agreement.p_value


def assert_same_agreement(found, expected):
    for name in ("rank_correlation", "intersection"):
        pairs = zip(parts(getattr(found, name)), parts(getattr(expected, name)), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, **CLOSE)


def slow_spearman(first, second):
    """Of two lists: Pearson's correlation of ranks, equal values at the mean of theirs."""
    if len(set(first)) == 1 or len(set(second)) == 1:
        return NAN
    ranks = [
        [sum(w < v for w in side) + (1 + sum(w == v for w in side)) / 2 for v in side]
        for side in (first, second)
    ]
    middle = (len(first) + 1) / 2
    up, down = 0.0, [0.0, 0.0]
    for a, b in zip(*ranks, strict=True):
        up += (a - middle) * (b - middle)
        down[0] += (a - middle) ** 2
        down[1] += (b - middle) ** 2
    return up / math.sqrt(down[0] * down[1])


def slow_intersection(first, second, top):
    if len(set(first)) == 1 or len(set(second)) == 1:
        return NAN
    count = max(1, round(top * len(first)))
    sides = [[at_the_top(pixel, pixels, count) for pixel in pixels] for pixels in (first, second)]
    return sum(one * other for one, other in zip(*sides, strict=True)) / count


def at_the_top(pixel, pixels, count):
    """The probability that a pixel is among the top, where equal pixels are drawn at random."""
    above = sum(other > pixel for other in pixels)
    equal = sum(other == pixel for other in pixels)
    return min(max((count - above) / equal, 0), 1)


def mean_of_known(numbers):
    known = [number for number in numbers if not math.isnan(number)]
    return math.fsum(known) / len(known) if known else NAN


def slow_agreement(saliency, magnitude, measure, orders):
    """Of lists of maps (frames of saliency from the second on, and pairs of flow)."""
    places = range(len(magnitude))
    table = [[measure(one, other) for other in magnitude] for one in saliency]
    frames = [table[p][p] for p in places]
    value = mean_of_known(frames)
    shuffled = [mean_of_known([table[order[p]][p] for p in places]) for order in orders]
    shuffled = [number for number in shuffled if not math.isnan(number)]
    as_good = [number for number in shuffled if number >= value - 1e-9]
    p_value = NAN if math.isnan(value) else (1 + len(as_good)) / (1 + len(shuffled))
    return frames, value, mean_of_known(shuffled), p_value


# --- saliency of an attribution


def test_saliency_is_the_length_over_channels():
    attribution = torch.randn(2, 3, 3, 4, 5, dtype=torch.float64)
    saliency = saliency_video(attribution)
    assert saliency.shape == (2, 3, 4, 5)
    for place in itertools.product(range(2), range(3), range(4), range(5)):
        clip, frame, row, column = place
        length = math.sqrt(sum(x**2 for x in attribution[clip, frame, :, row, column].tolist()))
        assert saliency[place].item() == pytest.approx(length, rel=1e-14)
    # The length over the pixels of these lengths is the frame's score.
    torch.testing.assert_close(saliency.flatten(2).norm(dim=2), frame_scores(attribution))
    grey = attribution[:, :, :1]
    assert torch.equal(saliency_video(grey), grey.abs().squeeze(2))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (1, 2, 3, 4, 5, 2), (7,)])
def test_what_is_no_attribution(shape):
    text = rf"an attribution \(batch.*, got shape \({shape[0]},.* shaped like its input"
    assert_refused(ClipError, text, saliency_video, torch.zeros(shape))


# --- against slow loops


@given(
    seed=seeds,
    time=st.integers(5, 7),
    size=st.tuples(st.integers(1, 4), st.integers(1, 5)),
    levels=st.sampled_from([2, 4, 1000]),
    top=st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9]),
)
@some_examples
def test_a_slow_loop_finds_the_same(seed, time, size, levels, top):
    generator = torch.Generator().manual_seed(seed)
    shape = (2, time, *size)
    saliency = torch.randint(levels, shape, generator=generator).double() - levels // 2
    magnitude = torch.randint(levels, shape, generator=generator).double()[:, 1:]
    saliency[0, 1 + seed % (time - 1)] = 3.0
    magnitude[1, seed % 3] = 0.0
    shuffles = 5 + seed % 15
    found = flow_agreement(saliency, magnitude, top, shuffles, seed)
    orders = draw_orders(FullShuffle(), time - 1, shuffles, seed).tolist()
    for agreement, measure in (
        (found.rank_correlation, slow_spearman),
        (found.intersection, lambda *maps: slow_intersection(*maps, top)),
    ):
        for clip in range(2):
            maps = [side[clip].flatten(1).tolist() for side in (saliency[:, 1:], magnitude)]
            expected = slow_agreement(*maps, measure, orders)
            for part, numbers in zip(parts(agreement), expected, strict=True):
                assert part.dtype == torch.float64
                wanted = torch.tensor(numbers, dtype=torch.float64)
                torch.testing.assert_close(part[clip], wanted, **CLOSE)


def test_the_correlation_is_that_of_scipy():
    saliency, magnitude = torch.rand(1, 6, 9, 11).round(decimals=1), torch.rand(1, 5, 9, 11)
    found = flow_agreement(saliency, magnitude).rank_correlation
    for pair in range(5):
        sides = (saliency[0, pair + 1].flatten(), magnitude[0, pair].flatten())
        expected = scipy.stats.spearmanr(*sides).statistic
        assert found.frames[0, pair].item() == pytest.approx(expected, abs=1e-12)


# --- closed forms


def test_what_is_the_same_agrees_and_what_is_opposite_does_not():
    magnitude = torch.rand(2, 6, 8, 8)
    same = flow_agreement(after(magnitude), magnitude)
    opposite = flow_agreement(after(-magnitude), magnitude)
    for found, correlation, met in ((same, 1.0, 1.0), (opposite, -1.0, 0.0)):
        ones = torch.ones(2, 6, dtype=torch.float64)
        torch.testing.assert_close(found.rank_correlation.frames, correlation * ones, **CLOSE)
        assert torch.equal(found.intersection.frames, met * ones)
    # No other order agrees as well; every one agrees better with the opposite.
    for name in ("rank_correlation", "intersection"):
        assert getattr(same, name).p_value.tolist() == [1 / 21] * 2
        assert getattr(opposite, name).p_value.tolist() == [1] * 2
        assert (getattr(same, name).chance.abs() < 0.3).all()


def test_the_flow_into_a_frame_counts():
    # Pixel t moves from frame t - 1 to t: the first frame of the saliency is not asked.
    magnitude = torch.eye(6).reshape(1, 6, 2, 3)
    found = flow_agreement(after(magnitude, first=9.0), magnitude, top=1 / 6).intersection
    assert found.frames.tolist() == [[1.0] * 6]
    late = torch.cat([magnitude, magnitude[:, :1]], 1)
    assert flow_agreement(late, magnitude, top=1 / 6).intersection.value.item() == 0
    nothing = torch.full((1, 1, 2, 3), 1e30)
    assert_same_agreement(
        flow_agreement(after(magnitude), magnitude),
        flow_agreement(torch.cat([nothing, magnitude], 1), magnitude),
    )


def test_what_all_frames_share_is_chance():
    # One thing moves in the middle, and the saliency is there: in any order of frames.
    row = torch.exp(-((torch.arange(9) - 4.0) ** 2) / 4)
    middle = (row[:, None] * row).expand(1, 8, 9, 9)
    magnitude = middle * (1 + torch.rand(1, 8, 9, 9) / 5)
    still = flow_agreement(after(middle), magnitude)
    for agreement in (still.rank_correlation, still.intersection):
        assert agreement.value.item() > 0.7
        torch.testing.assert_close(agreement.chance, agreement.value, **CLOSE)
        assert agreement.p_value.item() == 1
    # With what is of each frame on top, that alone is above chance.
    both = flow_agreement(after(magnitude), magnitude)
    for agreement in (both.rank_correlation, both.intersection):
        assert 0.7 < agreement.chance.item() < 1
        assert agreement.p_value.item() == 1 / 21


def test_equal_pixels_share_what_is_left_of_the_top():
    magnitude = torch.tensor([[0.0, 1, 0], [0, 0, 1]]).expand(1, 5, 2, 3)
    saliency = after(torch.tensor([[0.0, 0, 0], [7, 7, 7]]).expand(1, 5, 2, 3))
    # Of saliency pixels 3, 4 and 5 are first, of flow 1 and 5. At the top of three, say, are the
    # former, and the latter with a quarter of each of the others: 5, and a quarter of 3 and of 4.
    for count, met in enumerate([1 / 6, 2 / 3, 3 / 2, 8 / 3, 25 / 6], start=1):
        found = flow_agreement(saliency, magnitude, top=count / 6)
        assert found.intersection.value.item() == pytest.approx(met / count, abs=1e-12)


def test_pixels_that_fill_up_the_top_are_chance():
    # Saliency and flow are at different places, but below the top all is 0 on both sides.
    magnitude, saliency = torch.zeros(1, 6, 20, 20), torch.zeros(1, 7, 20, 20)
    for pair in range(6):
        magnitude[0, pair, 12, 2 * pair] = 1
        saliency[0, pair + 1, 15, 18 - 2 * pair] = 1
    found = flow_agreement(saliency, magnitude)
    # 39 places of 40 are shared by 399 pixels, on either side; the one beside them meets a share.
    share = 39 / 399
    met = (2 * share + 398 * share**2) / 40
    assert found.intersection.value.item() == pytest.approx(met, abs=1e-12)
    assert found.intersection.chance.item() == pytest.approx(met, abs=1e-12)
    assert found.intersection.p_value.item() == 1
    exact = flow_agreement(saliency, magnitude, top=1 / 400)
    assert exact.intersection.value.item() == 0
    # Equal ranks do not know the place: one pixel of 400, and another.
    assert found.rank_correlation.value.item() == pytest.approx(-1 / 399, abs=1e-12)


def test_the_top_is_whole_pixels():
    magnitude = torch.arange(10.0).reshape(1, 1, 2, 5).expand(1, 5, 2, 5)
    saliency = after(magnitude.roll(1, -1))
    # Of 4, 0, 1, 2, 3 and 9, 5, 6, 7, 8: the largest is pixel 5, then 9, 8, 7, 6; then 0.
    for top, met in ((1e-9, 0), (0.1, 0), (0.149, 0), (0.151, 1 / 2), (0.3, 2 / 3), (0.51, 1)):
        found = flow_agreement(saliency, magnitude, top=top).intersection
        assert found.value.item() == pytest.approx(met, abs=1e-12)
    assert flow_agreement(saliency, magnitude, top=0.999).intersection.value.item() == 1


# --- what is constant


def test_constant_frames_have_no_number():
    maps = torch.rand(1, 5, 4, 4)
    saliency, magnitude = after(maps), maps.clone()
    saliency[0, 2], magnitude[0, 3] = 0.7, 0.0
    found = flow_agreement(saliency, magnitude)
    for agreement in (found.rank_correlation, found.intersection):
        assert agreement.frames.isnan().tolist() == [[False, True, False, True, False]]
        assert agreement.value.item() == pytest.approx(1, abs=1e-12)
        assert -1 < agreement.chance.item() < 0.5
        assert agreement.p_value.item() == 1 / 21


@pytest.mark.parametrize("side", ["saliency", "flow"])
def test_a_clip_without_a_number(side):
    maps, level = torch.rand(2, 5, 4, 4), torch.tensor(0.1)
    saliency, magnitude = after(maps), maps.clone()
    (saliency if side == "saliency" else magnitude)[0] = level
    found = flow_agreement(saliency, magnitude)
    for agreement in (found.rank_correlation, found.intersection):
        for part in parts(agreement):
            assert part[0].isnan().all()
            assert not part[1].isnan().any()


def test_orders_without_a_number_are_left_out():
    # The one frame with saliency meets the one with flow in no other order of the two.
    maps = torch.rand(1, 1, 4, 4)
    blank = torch.zeros_like(maps)
    two = torch.cat([blank, maps], 1)
    found = flow_agreement(after(two), two, shuffles=1)
    for agreement in (found.rank_correlation, found.intersection):
        assert agreement.value.item() == pytest.approx(1, abs=1e-12)
        assert agreement.chance.isnan().all()
        assert agreement.p_value.item() == 1
    # Of the 23 other orders of four, the 5 that keep that frame in its place count.
    blank = blank.expand(1, 3, 4, 4)
    maps = [torch.cat([side, blank], 1) for side in (after(maps)[:, 1:], maps)]
    found = flow_agreement(after(maps[0]), maps[1], shuffles=23).rank_correlation
    assert (found.chance.item(), found.p_value.item()) == (pytest.approx(1, abs=1e-12), 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_rounding_is_constant(dtype):
    level = torch.tensor(0.1, dtype=dtype)
    rounded = torch.nextafter(level.float(), torch.tensor(1.0)) if dtype == torch.float32 else None
    maps = torch.rand(1, 5, 4, 4).to(dtype)
    saliency = level.repeat(1, 6, 4, 4)
    saliency[..., 2] = level * (1 + torch.finfo(dtype).eps / 2) if rounded is None else rounded
    assert flow_agreement(saliency, maps).rank_correlation.value.isnan().all()
    assert flow_agreement(after(maps), saliency[:, 1:]).intersection.value.isnan().all()
    # What is more than that has ranks, however small.
    saliency[..., 2] = level * (1 + 4 * torch.finfo(dtype).eps)
    assert not flow_agreement(saliency, maps).rank_correlation.value.isnan().any()


# --- invariances


@given(seed=seeds, top=st.floats(0.01, 0.99))
@some_examples
def test_only_the_order_of_pixels_counts(seed, top):
    generator = torch.Generator().manual_seed(seed)
    saliency = torch.randint(50, (2, 6, 3, 4), generator=generator).double()
    magnitude = torch.randint(50, (2, 5, 3, 4), generator=generator).double()
    found = flow_agreement(saliency, magnitude, top)
    scales = torch.rand(2, 6, 1, 1, generator=generator) + 0.5
    stretched = flow_agreement((saliency / 10).exp() * scales, magnitude.sqrt() * 1e-3, top)
    assert_same_agreement(stretched, found)
    # Correlation, which knows no first pixel, does not mind where pixels are.
    places = torch.randperm(12, generator=generator)
    moved = [side.flatten(2)[..., places].reshape(side.shape) for side in (saliency, magnitude)]
    other = flow_agreement(*moved, top)
    for one, two in zip(parts(other.rank_correlation), parts(found.rank_correlation), strict=True):
        torch.testing.assert_close(one, two, **CLOSE)
    for agreement, least in ((found.rank_correlation, -1), (found.intersection, 0)):
        for part in (agreement.frames, agreement.value, agreement.chance):
            assert ((part >= least) & (part <= 1)).all()
        assert ((agreement.p_value >= 1 / 21) & (agreement.p_value <= 1)).all()


def test_both_ways_round():
    first, second = torch.rand(1, 6, 5, 5), torch.rand(1, 6, 5, 5)
    one, other = flow_agreement(after(first), second), flow_agreement(after(second), first)
    for name in ("rank_correlation", "intersection"):
        sides = (getattr(one, name).frames, getattr(other, name).frames)
        torch.testing.assert_close(*sides, **CLOSE)


def test_a_batch_is_its_clips():
    saliency, flow = torch.rand(3, 6, 4, 5), torch.randn(3, 5, 4, 5, 2)
    found = flow_agreement(saliency, flow)
    for clip in range(3):
        alone = flow_agreement(saliency[clip : clip + 1], flow[clip : clip + 1])
        for name in ("rank_correlation", "intersection"):
            pairs = zip(parts(getattr(found, name)), parts(getattr(alone, name)), strict=True)
            for whole, one in pairs:
                assert torch.equal(whole[clip], one[0])
    none = flow_agreement(saliency[:0], flow[:0])
    assert [part.shape for part in parts(none.intersection)] == [(0, 5), (0,), (0,), (0,)]


def test_a_flow_is_its_magnitude():
    saliency, flow = torch.rand(2, 6, 4, 5), torch.randn(2, 5, 4, 5, 2)
    assert_same_agreement(
        flow_agreement(saliency, flow), flow_agreement(saliency, flow.norm(dim=-1))
    )
    # Two wide is no two components.
    narrow = flow_agreement(saliency[..., :2], flow[..., 0, :].contiguous())
    assert narrow.rank_correlation.frames.shape == (2, 5)


def test_types_and_gradients():
    saliency, flow = torch.rand(1, 6, 4, 5).half(), torch.randn(1, 5, 4, 5, 2)
    found = flow_agreement(saliency, flow)
    again = flow_agreement(saliency.double().requires_grad_(), flow.requires_grad_())
    assert_same_agreement(again, found)
    assert not any(part.requires_grad for part in parts(again.rank_correlation))
    strided = saliency.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    assert_same_agreement(flow_agreement(strided, flow), found)


def test_the_seed_draws_the_orders():
    saliency, magnitude = torch.rand(1, 9, 4, 5), torch.rand(1, 8, 4, 5)
    found = [flow_agreement(saliency, magnitude, seed=seed) for seed in (0, 0, 1)]
    assert_same_agreement(found[0], found[1])
    assert not torch.equal(found[0].intersection.chance, found[2].intersection.chance)
    assert torch.equal(found[0].intersection.frames, found[2].intersection.frames)


# --- chance


def test_all_orders_are_the_exact_chance():
    saliency, magnitude = torch.rand(1, 5, 3, 3), torch.rand(1, 4, 3, 3)
    found = flow_agreement(saliency, magnitude, top=0.3, shuffles=23)
    maps = [side[0].flatten(1).tolist() for side in (saliency[:, 1:], magnitude)]
    # Of the 24 orders, with the natural one.
    every = list(itertools.permutations(range(4)))
    for agreement, measure in (
        (found.rank_correlation, slow_spearman),
        (found.intersection, lambda *pair: slow_intersection(*pair, 0.3)),
    ):
        levels = [
            sum(measure(maps[0][order[p]], maps[1][p]) for p in range(4)) / 4 for order in every
        ]
        assert agreement.chance.item() == pytest.approx(sum(levels[1:]) / 23, abs=1e-12)
        share = sum(level >= levels[0] - 1e-12 for level in levels) / 24
        assert agreement.p_value.item() == pytest.approx(share, abs=1e-12)


@pytest.mark.simulation
def test_flow_agreement_of_what_is_unrelated(check_measured):
    trials = 3000
    saliency, magnitude = torch.rand(trials, 8, 6, 5), torch.rand(trials, 7, 6, 5)
    found = flow_agreement(saliency, magnitude, top=0.2, shuffles=19)
    # Spearman's rho of n pixels varies by 1 / (n - 1), and hits are hypergeometric: 6 of 30.
    variances = (1 / 29, 0.2 * 0.8 / 6 * 24 / 29)
    for name, expected, variance in zip(
        ("rank_correlation", "intersection"), (0.0, 0.2), variances, strict=True
    ):
        agreement = getattr(found, name)
        error = 4 * (variance / (7 * trials)) ** 0.5
        ends = (expected - error, expected + error, trials)
        check_measured(f"mean `{name}` with unrelated flow", agreement.value.mean().item(), *ends)
        check_measured(f"chance of `{name}`, mean", agreement.chance.mean().item(), *ends)
        ends = (0.95 * variance, 1.05 * variance, trials)
        check_measured(f"variance of `{name}` over frames", agreement.frames.var().item(), *ends)
    # Without ties a p-value is below a share of the orders as often as that share says; equal
    # numbers of hits only raise it.
    for level in (1, 4, 10):
        error = 4 * (0.25 / trials) ** 0.5
        below = [
            (agreement.p_value <= level / 20 + 1e-9).double().mean().item()
            for agreement in (found.rank_correlation, found.intersection)
        ]
        text = f"share of p-values of `{{}}` at most {level / 20}"
        ends = (level / 20 - error, level / 20 + error, trials)
        check_measured(text.format("rank_correlation"), below[0], *ends)
        check_measured(text.format("intersection"), below[1], 0, level / 20 + error, trials)


@pytest.mark.simulation
def test_slow_drift_is_no_order_like_any_other(check_measured):
    # As documented: neighbouring frames are alike, and then p is small more often than it should.
    trials = 600
    saliency = torch.randn(trials, 13, 4, 4).cumsum(1)
    magnitude = torch.randn(trials, 12, 4, 4).cumsum(1)
    p_value = flow_agreement(saliency, magnitude, shuffles=19).rank_correlation.p_value
    share = (p_value <= 0.05 + 1e-9).double().mean().item()
    check_measured("share of p-values at most 0.05 where everything drifts", share, 0.08, 1, trials)


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "flipping_a_pancake.mkv"])
def test_a_real_clip(real_video, name):
    pixels = load_clip(real_video(name), 10, "dense").tensor
    pixels = torch.nn.functional.interpolate(pixels[0], (64, 80), mode="area")[None]
    flow = optical_flow(pixels)
    # Two algorithms find much the same, and more of it in the same frame than in another.
    other = torch.linalg.vector_norm(optical_flow(pixels, "dis"), dim=-1)
    found = flow_agreement(after(other), flow)
    for agreement in (found.rank_correlation, found.intersection):
        assert agreement.frames.shape == (1, 9)
        assert 0.4 < agreement.value.item() < 0.9
        assert agreement.value.item() > agreement.chance.item() + 0.15
        assert agreement.p_value.item() == 1 / 21
    # What changes is near what moves, though not the same.
    changed = saliency_video(torch.cat([pixels[:, :1], pixels.diff(dim=1)], 1))
    found = flow_agreement(changed, flow).rank_correlation
    assert 0.1 < found.value.item() < 0.5
    assert found.p_value.item() == 1 / 21
    # Where things stand is in every frame, and what it has in common with the flow is chance.
    mean = saliency_video(pixels.mean(1, keepdim=True).expand_as(pixels))
    still = flow_agreement(mean, flow)
    for agreement in (still.rank_correlation, still.intersection):
        torch.testing.assert_close(agreement.chance, agreement.value, **CLOSE)
        assert agreement.p_value.item() == 1


# --- errors


MAPS = (torch.rand(2, 6, 4, 5), torch.rand(2, 5, 4, 5))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("top", [-0.1, 1.1, NAN, "0.1", True, None])
def test_a_top_out_of_its_range(top):
    text = f"top from 0 to 1, got {top!r}. Choose another"
    assert_refused(OptionError, text, flow_agreement, *MAPS, top=top)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("top", [0, 1, 1.0])
def test_a_top_of_nothing_or_all(top):
    text = f"top between 0 and 1, got {top}. Try 0.1"
    assert_refused(OptionError, text, flow_agreement, *MAPS, top=top)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("shape", [(6, 4, 5), (1, 6, 3, 4, 5), (1, 2, 4, 5), (1, 6, 0, 5)])
def test_what_is_no_saliency(shape):
    text = rf"saliency \(batch.* at least 3 frames, got shape \({shape[0]}, .* no order\."
    assert_refused(ClipError, text, flow_agreement, torch.zeros(shape), MAPS[1])


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    "shape", [(2, 6, 4, 5), (2, 5, 5, 4), (1, 5, 4, 5), (2, 5, 4, 5, 3), (2, 5), (2, 6, 4, 5, 2)]
)
def test_the_flow_of_another_clip(shape):
    text = rf"flow of shape \(2, 5, 4, 5\), or with 2 .*, got shape \({shape[0]}, .* Take the flow"
    assert_refused(ClipError, text, flow_agreement, MAPS[0], torch.zeros(shape))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_maps_that_are_not_finite(bad):
    for at, (name, count) in enumerate((("saliency", 240), ("flow", 200))):
        maps = [side.clone() for side in MAPS]
        maps[at][1, 2, 3, 1:3] = bad
        text = f"finite {name}, got 2 of {count} NaN or infinite. Look"
        assert_refused(ClipError, text, flow_agreement, *maps)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_maps_that_are_no_floats(dtype):
    for at, name in enumerate(("saliency", "flow")):
        maps = list(MAPS)
        maps[at] = maps[at].to(dtype)
        text = f"{name} to be a tensor of floats .*, got {dtype} .* Convert"
        assert_refused(ClipError, text, flow_agreement, *maps)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("time", "orders"), [(3, 1), (4, 5), (5, 23)])
def test_more_shuffles_than_orders(time, orders):
    saliency, magnitude = MAPS[0][:, :time], MAPS[1][:, : time - 1]
    text = f"at most {orders} orders of {time - 1} frames .*, got {orders + 1}. Ask for fewer"
    assert_refused(OptionError, text, flow_agreement, saliency, magnitude, shuffles=orders + 1)
    found = flow_agreement(saliency, magnitude, shuffles=orders)
    assert found.intersection.p_value.min() >= 1 / (orders + 1)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"shuffles": 0}, "number of shuffles a whole number from 1 to 16777216, got 0"),
        ({"shuffles": 2.5}, "number of shuffles a whole number from 1 to 16777216, got 2.5"),
        ({"seed": -1}, "seed a whole number from 0 to 4294967295, got -1"),
    ],
)
def test_orders_out_of_their_range(options, text):
    assert_refused(OptionError, text, flow_agreement, *MAPS, **options)
