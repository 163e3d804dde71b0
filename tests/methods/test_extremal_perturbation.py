"""Learned masks against plain loops, closed forms, and what is asked of learning itself."""

import numpy as np
import pytest
import torch

from temporal_attr import ClipError, ExtremalPerturbation, ModelError, OptionError
from temporal_attr.attributions.extremal_perturbation._masks import (
    Axis,
    MaskShape,
    area_penalty,
    jump_penalty,
    wanted_mask,
)
from tests.helpers.checks import assert_near
from tests.references import learned_masks as references

pytestmark = pytest.mark.usefixtures("as_user")


def drawn(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Places:
    """A linear model: the sum over places of their means over channels, times weights."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, clip):
        score = (clip.mean(2) * self.weights.to(clip)).sum((1, 2, 3))
        return torch.stack([score, -score], 1)


class Reads:
    """A model of frames that are 1 where they are shown: one number each, not linear."""

    def __init__(self, frames, seed=0):
        self.own = drawn(frames, seed=seed) * 2 - 0.7
        self.pairs = drawn(frames - 1, seed=seed + 1) - 0.5

    def __call__(self, clip):
        share = clip.mean((2, 3, 4))
        score = torch.tanh(share @ self.own) + (share[:, 1:] * share[:, :-1]) @ self.pairs
        return torch.stack([score, -2 * score], 1)

    def value_and_slopes(self, shown):
        """The same in plain Python."""
        own, pairs = self.own.tolist(), self.pairs.tolist()
        inside = np.tanh(np.dot(own, shown))
        value = inside + sum(
            p * a * b for p, a, b in zip(pairs, shown[1:], shown[:-1], strict=True)
        )
        slopes = [weight * (1 - inside**2) for weight in own]
        for place, pair in enumerate(pairs):
            slopes[place] += pair * shown[place + 1]
            slopes[place + 1] += pair * shown[place]
        return float(value), slopes


@pytest.mark.parametrize(
    ("size", "cells"),
    [
        ((4, 6, 8), (4, 3, 4)),
        ((5, 7, 6), (2, 3, 6)),
        ((3, 9, 5), (3, 2, 1)),
        ((1, 4, 4), (1, 1, 1)),
    ],
)
def test_masks_are_those_of_plain_loops(size, cells):
    grid = drawn(2, *cells)
    shape = MaskShape.of_grid(size, cells, grid)
    found = shape.mask(grid)
    for one, own in zip(found, grid, strict=True):
        expected = references.mask_of(own.numpy(), size)
        np.testing.assert_allclose(one.numpy(), expected, rtol=0, atol=1e-14)
    assert shape.mask(torch.zeros_like(grid)).eq(0).all()
    # A smooth maximum is a little less than the largest, and never more.
    ones = shape.mask(torch.ones_like(grid))
    assert ones.min() > 0.95
    assert ones.max() <= 1


def test_a_cell_of_its_own_is_its_frame_and_fades_in_space():
    grid = torch.zeros(1, 4, 4, 4, dtype=torch.float64)
    grid[0, 1, 1, 1] = 1
    mask = MaskShape.of_grid((4, 32, 32), (4, 4, 4), grid).mask(grid)[0]
    assert mask[[0, 2, 3]].eq(0).all()
    assert mask[1, 9:15, 9:15].min() > 0.99
    assert mask[1, 24:].eq(0).all()
    assert 0.3 < mask[1, 20, 12] < 0.5
    # The smooth maximum of two axes depends on their order by a little.
    assert_near(mask[1], mask[1].T, 0.03)


def test_an_axis_knows_the_cells_in_reach():
    axis = Axis.of(6, 3, 1.5, drawn(1))
    for place in range(6):
        at = (place + 0.5) / 2
        expected = [cell for cell in range(3) if abs(at - cell - 0.5) < 1.5]
        assert axis.cells[place][axis.inside[place]].tolist() == expected


@pytest.mark.parametrize("area", [0.1, 0.25, 0.3, 0.5, 0.9])
def test_penalties_are_those_of_plain_loops(area):
    ties = (drawn(3, 4, 3, 2, seed=2) * 4).round() / 4
    for masks in (drawn(3, 4, 3, 2), ties, torch.full((1, 4, 3, 2), 0.5, dtype=torch.float64)):
        assert_near(area_penalty(masks, area), [references.area_penalty(m, area) for m in masks])
        assert_near(jump_penalty(masks), [references.jump_penalty(m) for m in masks])
        found = wanted_mask(masks, area)
        assert_near(found, np.stack([references.wanted(m, area) for m in masks.numpy()]))
        assert_near(found.mean((1, 2, 3)), torch.full((len(masks),), area, dtype=torch.float64))


def test_places_close_together_keep_their_order():
    """Of a large mask neighbours in rank differ by less than what counts as equal."""
    mask = torch.linspace(0, 1, 3_000_000, dtype=torch.float64).reshape(1, 3, 1000, 1000)
    wanted = wanted_mask(mask, 1 / 3).flatten()
    assert wanted[:1_999_990].eq(0).all()
    assert wanted[2_000_010:].eq(1).all()


@pytest.mark.parametrize("game", ["preserve", "delete"])
@pytest.mark.parametrize(
    ("frames", "area", "smoothness", "seed"),
    [(6, 0.3, 0.0, 0), (5, 0.4, 0.2, 1), (8, 0.125, 0.05, 2)],
)
def test_frames_are_learned_as_by_plain_loops(frames, area, smoothness, seed, game):
    model = Reads(frames, seed)
    options = {"tolerance": 1e-3, "learning_rate": 0.05, "max_iterations": 60}
    result = ExtremalPerturbation(
        model, area, "frames", game, 0.0, smoothness_in_time=smoothness, **options
    ).explain(torch.ones(1, frames, 3, 2, 2, dtype=torch.float64), target=0)
    expected = references.learn_frames(
        model.value_and_slopes, frames, area, keep=game == "preserve", smoothness=smoothness,
        rate=0.05, most=60, tolerance=1e-3,
    )  # fmt: skip
    count = int(result.iterations[0])
    assert (count, bool(result.converged[0])) == (len(expected.loss), expected.converged)
    # Rounding of the model's sums, through as many steps.
    np.testing.assert_allclose(result.frame_scores[0], expected.mask, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.loss[0, :count], expected.loss, rtol=0, atol=1e-9)
    np.testing.assert_allclose(result.objective_values[0, :count], expected.values, atol=1e-9)
    assert float(result.score[0]) == pytest.approx(expected.score, abs=1e-9)
    assert expected.mask.std() > 0.1


def of_one_frame(read, seed):
    """A network of two layers that reads one frame."""
    layers = drawn(12, 8, seed=seed) - 0.5, drawn(8, seed=seed + 50) - 0.5

    def model(clip):
        score = torch.tanh(clip[:, read].flatten(1) @ layers[0]) @ layers[1]
        return torch.stack([score, -score], 1)

    return model


@pytest.mark.parametrize("game", ["preserve", "delete"])
@pytest.mark.parametrize("seed", range(5))
def test_the_frame_that_is_read_is_found(seed, game):
    frames, read = 6, (5 * seed + 2) % 6
    model, clip = of_one_frame(read, seed), drawn(1, frames, 3, 2, 2, seed=seed + 7) + 0.2
    target = int(model(clip).argmax())  # of the baseline both are 0
    result = ExtremalPerturbation(
        model, 1 / frames, "frames", game, 0.0, max_iterations=80, learning_rate=0.1
    ).explain(clip, target=target)
    expected = torch.zeros(frames, dtype=torch.float64)
    expected[read] = 1
    assert_near(result.frame_scores[0], expected, 0.02)
    assert_near(result.area, [1 / frames], 0.05)
    # The mask that keeps this frame keeps all that any mask can keep.
    gained, whole = result.score - result.baseline_value, result.full_value - result.baseline_value
    share = gained / whole if game == "preserve" else 1 - gained / whole
    assert_near(share, [1.0], 0.05)


@pytest.mark.parametrize("game", ["preserve", "delete"])
def test_the_places_that_count_are_found(game):
    """Of a linear model with a block of positive weights, among negative ones."""
    weights = torch.full((6, 12, 12), -0.1, dtype=torch.float64)
    weights[2:4, 3:6, 6:9] = 1
    inside = weights > 0
    clip = drawn(1, 6, 3, 12, 12, seed=3) + 0.5
    result = ExtremalPerturbation(
        Places(weights), 0.1, "space-time", game, 0.0, grid=(6, 4, 4),
        max_iterations=60, learning_rate=0.1,
    ).explain(clip, target=0)  # fmt: skip
    mask = result.attribution[0, :, 0]
    # The cell of the block is whole; and what its kernel shows of its neighbours is less.
    assert mask[inside].min() > 0.9
    assert mask[[0, 1, 4, 5]].max() < 0.01
    assert mask[~inside].max() < mask[inside].min()
    assert mask[:, :, :3].max() < 0.01
    kept = (clip.mean(2)[0] * weights * mask).sum()
    whole = (clip.mean(2)[0] * weights).sum()
    assert_near(result.score, (kept if game == "preserve" else whole - kept)[None])
    assert_near(result.area, mask.mean()[None])


def test_frames_of_a_linear_model_end_at_the_best_mask():
    weights = torch.tensor([0.3, -1.0, 2.0, 0.1, 1.5, -0.2, 0.8, 0.0]).double()
    model = Places(weights.view(8, 1, 1).expand(8, 2, 2) / 4)
    clip = torch.ones(1, 8, 3, 2, 2, dtype=torch.float64)
    for area, best in ((0.125, [2]), (0.25, [2, 4]), (0.375, [2, 4, 6])):
        result = ExtremalPerturbation(model, area, "frames", baselines=0.0).explain(clip, 0)
        expected = torch.zeros(8, dtype=torch.float64)
        expected[best] = 1
        assert_near(result.frame_scores[0], expected, 0.01)
        assert_near(result.score, weights[best].sum()[None], 0.02)
        assert result.converged.all()


def test_the_unit_of_the_logits_does_not_matter():
    model, clip = Reads(6), torch.ones(1, 6, 3, 2, 2, dtype=torch.float64)
    options = {"area": 0.3, "kind": "frames", "baselines": 0.0, "max_iterations": 50}
    found = ExtremalPerturbation(model, **options).attribute(clip, target=0)
    for factor in (1e-4, 1e5):
        scaled = ExtremalPerturbation(lambda clip: model(clip) * factor, **options)  # noqa: B023
        assert_near(scaled.attribute(clip, target=0), found, 1e-6)


def test_both_games_are_one_where_the_objective_is_a_sum():
    model, clip = Places(drawn(4, 3, 3) - 0.4), drawn(1, 4, 3, 3, 3, seed=5)
    masks = [
        ExtremalPerturbation(model, 0.3, game=game, baselines=0.0, max_iterations=12)
        for game in ("preserve", "delete")
    ]
    assert_near(*(one.attribute(clip, target=0) for one in masks), 1e-9)


def test_equal_places_get_equal_values():
    """Nothing tells frames apart, so neither does the mask: it is the area everywhere."""
    model = Places(torch.ones(6, 2, 2, dtype=torch.float64))
    clip = torch.ones(1, 6, 3, 2, 2, dtype=torch.float64)
    found = ExtremalPerturbation(model, 0.25, "frames", baselines=0.0).explain(clip, target=0)
    scores = found.frame_scores[0]
    assert_near(scores, scores[:1].expand(6), 0)
    assert_near(found.area, [0.25], 0.01)


def test_what_has_settled_is_not_learned_any_more():
    model, clip = Reads(6), torch.ones(1, 6, 3, 2, 2, dtype=torch.float64)
    options = {"area": 0.3, "kind": "frames", "baselines": 0.0, "max_iterations": 60}
    never = ExtremalPerturbation(model, tolerance=0.0, **options).explain(clip, target=0)
    soon = ExtremalPerturbation(model, tolerance=1e9, **options).explain(clip, target=0)
    assert (never.iterations.tolist(), never.converged.tolist()) == ([60], [False])
    assert (soon.iterations.tolist(), soon.converged.tolist()) == ([50], [True])
    assert "note: not settled after 60 iterations" in never.summary()
    assert "settled after 50 iterations" in soon.summary()
    assert torch.equal(never.loss[:, :50], soon.loss)
    # The best is kept: more iterations with the same weights are never worse.
    assert never.loss[0, 30:].min() <= soon.loss[0, 30:].min()
    at = int(never.loss[0, 30:].argmin()) + 30
    assert float(never.score[0]) == float(never.objective_values[0, at])


def test_clips_stop_by_themselves():
    """Each clip has iterations of its own, and what follows its last one is NaN."""
    weights = torch.tensor([1.0, 0.9, 0.2, 0.0]).double().view(4, 1, 1)

    def model(clip):
        share = clip.mean((2, 3, 4))
        score = share @ weights.flatten() + torch.sin(40 * share).sum(1) * (share.amax(1) > 1)
        return torch.stack([score, -score], 1)

    clips = torch.stack([torch.ones(4, 3, 2, 2), 3 * torch.ones(4, 3, 2, 2)]).double()
    options = {"tolerance": 1e-4, "max_iterations": 120}
    method = ExtremalPerturbation(model, 0.25, "frames", baselines=0.0, **options)
    result = method.explain(clips, target=0)
    counts = result.iterations.tolist()
    assert counts[0] != counts[1]
    for place, count in enumerate(counts):
        assert result.loss[place, :count].isfinite().all()
        assert result.loss[place, count:].isnan().all()
        single = method.explain(clips[place : place + 1], target=0)
        assert torch.equal(single.loss[0], result.loss[place, :count])
    assert result.loss.shape == (2, max(counts))


def test_further_arguments_belong_to_the_whole_batch():
    model, clips = Reads(5), drawn(3, 5, 3, 2, 2)
    shift = drawn(3, 5, 1, 1, 1, seed=9) - 0.5

    def moved(clip, shift):
        return model(clip * (1 + shift))

    options = {"area": 0.3, "kind": "frames", "baselines": 0.0, "max_iterations": 50}
    together = ExtremalPerturbation(moved, **options).attribute(clips, 0, shift)
    for place in range(3):
        own = slice(place, place + 1)
        alone = ExtremalPerturbation(moved, **options).attribute(clips[own], 0, shift[own])
        assert_near(together[own], alone, 1e-9)


class StopsAt:
    """A model that is interrupted at its n-th gradient."""

    def __init__(self, call):
        self.left, self.model = call, Reads(5)

    def __call__(self, clip):
        if clip.requires_grad:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.model(clip)


@pytest.mark.usefixtures("without_trials")
def test_a_run_that_is_stopped_keeps_its_mask():
    clip = torch.ones(2, 5, 3, 2, 2, dtype=torch.float64)
    options = {"area": 0.3, "kind": "frames", "baselines": 0.0, "max_iterations": 30}
    whole = ExtremalPerturbation(Reads(5), **options).explain(clip, target=0)
    kept = ExtremalPerturbation(StopsAt(8), **options).explain(clip, target=0, on_stop="keep")
    assert (kept.complete, whole.complete) == (False, True)
    assert kept.iterations.tolist() == [7, 30]
    assert torch.equal(kept.loss[0, :7], whole.loss[0, :7])
    assert torch.equal(kept.attribution[1], whole.attribution[1])
    assert "stopped after 7 iterations" in kept.summary()
    for call, on_stop in ((8, "raise"), (1, "keep")):
        with pytest.raises(KeyboardInterrupt):
            ExtremalPerturbation(StopsAt(call), **options).explain(clip, 0, on_stop=on_stop)


def test_half_precision_clips_are_learned_in_single():
    clip = drawn(1, 6, 3, 4, 4)
    model = Places(drawn(6, 4, 4, seed=6) - 0.4)
    # A few steps, since the order of nearly equal places turns on rounding.
    options = {"area": 0.3, "baselines": 0.0, "grid": (6, 2, 2)}
    options |= {"smoothness_in_time": 0.0, "max_iterations": 4}
    exact = ExtremalPerturbation(model, **options).attribute(clip, target=0)
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
        result = ExtremalPerturbation(model, **options).explain(clip.to(dtype), target=0)
        assert (result.attribution.dtype, result.loss.dtype) == (dtype, torch.float32)
        assert_near(result.attribution.double(), exact, tolerance)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"area": 0}, "area more than 0 and less than 1, got 0"),
        ({"area": 1.0}, "area more than 0 and less than 1, got 1.0"),
        ({"area": float("nan")}, "area from 0 to 1, got nan"),
        ({"kind": "space"}, 'kind to be "space-time" or "frames", got \'space\''),
        ({"game": "keep"}, 'game to be "preserve" or "delete", got \'keep\''),
        ({"baselines": "neighbour"}, "baselines to be a number, .* got 'neighbour'"),
        ({"baselines": "black"}, "got 'black'"),
        ({"grid": (2, 2)}, r"three counts of cells, .* got \(2, 2\)"),
        ({"grid": (2, 2, 0)}, "each count of grid a whole number at least 1, got 0"),
        ({"grid": (2, 2, 2), "kind": "frames"}, 'no grid with kind="frames"'),
        ({"objective": "loss"}, "objective to be .* got 'loss'"),
        ({"objective": "score"}, "got 'score'"),
        ({"max_iterations": 0}, "max_iterations a whole number at least 1, got 0"),
        ({"tolerance": -1}, "tolerance at least 0, got -1"),
        ({"learning_rate": 1.5}, "learning_rate from 0 to 1, got 1.5"),
        ({"smoothness_in_time": -0.1}, "smoothness_in_time at least 0, got -0.1"),
        ({"memory": "hole"}, "got 'hole'"),
    ],
)
def test_options_are_checked_when_they_are_given(options, text):
    with pytest.raises(OptionError, match=text):
        ExtremalPerturbation(Reads(4), **options)


def test_clips_that_do_not_fit_are_refused():
    clip = drawn(2, 4, 3, 4, 4)
    with pytest.raises(ClipError, match=r"at least \(5, 2, 2\) frames.* got one of \(4, 4, 4\)"):
        ExtremalPerturbation(Reads(4), grid=(5, 2, 2)).attribute(clip, target=0)
    for call in ("attribute", "estimate"):
        method = ExtremalPerturbation(Reads(4), 0.02, grid=(4, 2, 2))
        with pytest.raises(ClipError, match=r"at least 0\.\d+ with a grid .* got 0.02"):
            getattr(method, call)(clip, target=0)
    clip[1] = 0.5
    for baselines in (0.5, "mean", "blur", clip):
        text = (
            "clip 0, which a tensor" if torch.is_tensor(baselines) else "clip 1, which baselines="
        )
        with pytest.raises(ClipError, match=text):
            ExtremalPerturbation(Reads(4), baselines=baselines).attribute(clip, target=0)


def test_a_model_that_is_not_finite_between_clip_and_baseline():
    def model(clip):
        score = clip.mean((1, 2, 3, 4))
        # A root has no slope where it is 0, as it is halfway.
        return torch.stack([(score - 0.5).abs().sqrt() * score, score], 1)

    clip = torch.ones(1, 4, 3, 2, 2, dtype=torch.float64)
    with pytest.raises(ModelError, match="finite objective of masked clips"):
        ExtremalPerturbation(model, kind="frames", baselines=0.0).attribute(clip, target=0)


def test_models_that_only_differ_between_do_not_break_the_unit():
    """Clip and baseline are told alike, and the mask still finds the frame that is not."""

    def model(clip):
        share = clip.mean((2, 3, 4))
        score = (share[:, 2] * (1 - share[:, 2])) * 4 + share[:, 0] - share[:, 3]
        return torch.stack([score, -score], 1)

    clip = torch.ones(1, 4, 3, 2, 2, dtype=torch.float64)
    result = ExtremalPerturbation(model, 0.25, "frames", baselines=0.0).explain(clip, target=0)
    assert float(result.full_value[0]) == float(result.baseline_value[0]) == 0
    assert result.score > 0.9
    assert int(result.frame_scores[0].argmax()) == 0
