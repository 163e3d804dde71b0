"""What the benchmark of relevance through attention measures with."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from temporal_attr import TemporalGradient, relevance
from temporal_attr.models import EarlyFusion
from temporal_attr.relevance import Composite, Gamma
from temporal_attr.synthetic import Motion, Order
from temporal_attr.zoo import build_model
from tests.helpers.checks import BENCHMARKS

pytestmark = pytest.mark.usefixtures("one_thread")

FRAMES, SIZE, GRID = 4, 16, (2, 2, 2)
"""A clip of eight tubelets."""


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import transformer_methods

    return transformer_methods


@pytest.fixture
def scores(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import transformer_scores

    return transformer_scores


@pytest.fixture
def rows(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import transformer_rows

    return transformer_rows


@pytest.fixture
def ranges(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import transformer_ranges

    return transformer_ranges


def clips(count, seed=0):
    return torch.randn(count, FRAMES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def transformer(name):
    options = {"frames": FRAMES, "size": SIZE, "tubelet": 2, "features": 8, "heads": 2}
    model = build_model(name, 3, seed=1, **options)
    with torch.no_grad():
        for part in model.parameters():
            # Attention that differs from token to token.
            part.mul_(3)
    return model


def linear():
    """Logits that are sums of pixels times numbers of any sign: what a tubelet adds is known."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(FRAMES * 3 * SIZE * SIZE, 2))
    return EarlyFusion(network, FRAMES).eval()


def tubelet_sums(values):
    """Sums over the tubelets of one clip, tubelet by tubelet."""
    found = []
    for t in range(GRID[0]):
        for row in range(GRID[1]):
            for column in range(GRID[2]):
                part = values[2 * t : 2 * t + 2, ..., 8 * row : 8 * row + 8, :]
                found.append(part[..., 8 * column : 8 * column + 8].sum().item())
    return np.array(found)


def attention_of(module, tokens):
    """Mean attention weights over heads, from the module's own numbers."""
    query, key, _ = module.read(tokens).chunk(3, -1)
    width = query.shape[-1] // module.heads
    found = 0.0
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        table = query[..., part] @ key[..., part].transpose(-1, -2) / math.sqrt(width)
        found = found + table.softmax(-1) / module.heads
    return found


def layer_matrices(model, clip):
    """Attention of every token to every other, layer by layer, with zeros where none is."""
    tokens = model._embed(model.to_layout(clip))[0]
    steps, places = 2, 4
    found = []
    for block in model.blocks:
        if hasattr(block, "attention"):
            norm, attention = block.attention
            found.append(attention_of(attention, norm(tokens)))
        else:
            norm, attention = block.over_time
            whole = torch.zeros(8, 8)
            for place in range(places):
                own = [step * places + place for step in range(steps)]
                part = attention_of(attention, norm(tokens[own]))
                for i, one in enumerate(own):
                    whole[one, own] = part[i]
            found.append(whole)
            read = tokens.unflatten(0, (steps, places)).transpose(0, 1)
            read = (read + block.over_time(read)).transpose(0, 1).flatten(0, 1)
            norm, attention = block.over_space
            whole = torch.zeros(8, 8)
            for step in range(steps):
                own = slice(step * places, (step + 1) * places)
                whole[own, own] = attention_of(attention, norm(read[own]))
            found.append(whole)
        tokens = block(tokens[None])[0]
    return found


@pytest.mark.parametrize("name", ["tubelet-transformer", "divided-transformer"])
def test_rollout_multiplies_the_attention_of_all_layers(methods, name):
    model, given = transformer(name), clips(2)
    with torch.no_grad():
        found = methods.attention_rollout(model, given, torch.tensor([0, 1]))
        for clip, own in zip(given, found, strict=True):
            rolled = torch.eye(8)
            for matrix in layer_matrices(model, clip[None]):
                torch.testing.assert_close(matrix.sum(1), torch.ones(8))
                rolled = (matrix / 2 + torch.eye(8) / 2) @ rolled
            expected = rolled.mean(0)
            assert expected.std() > 1e-3
            np.testing.assert_allclose(tubelet_sums(own), expected.numpy(), rtol=1e-4)


@pytest.mark.parametrize("baseline", ["background", "grey"])
def test_drops_are_those_without_each_tubelet(methods, baseline):
    model, clip = transformer("divided-transformer"), clips(1)
    found = methods.drops(model, clip, 2, baseline)
    # The lower of the two in the middle, of four frames.
    background = clip.sort(1).values[:, 1:2].expand_as(clip)
    other = background if baseline == "background" else 0 * clip
    with torch.no_grad():
        for number in range(8):
            t, row, column = np.unravel_index(number, GRID)
            without = clip.clone()
            part = (0, slice(2 * t, 2 * t + 2), slice(None))
            part += (slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
            without[part] = other[part]
            drop = (model(clip) - model(without))[0, 2]
            # Single precision, of logits of about 1.
            torch.testing.assert_close(found[number], drop, rtol=0, atol=1e-5)
    if baseline == "background":
        spread = methods.leave_one_out(model, clip, torch.tensor([2]))
        np.testing.assert_allclose(tubelet_sums(spread[0]), found.numpy(), atol=1e-5)


def test_presets_are_those_of_the_library(methods, monkeypatch):
    def wide(gamma: float = 0.25) -> Composite:
        return Composite(linear=Gamma(gamma))

    def other() -> int:
        return 3

    library = SimpleNamespace(wide=wide, other=other, _hidden=wide, number=2)
    monkeypatch.setattr(relevance, "composites", library, raising=False)
    assert methods.presets() == {"wide": Composite(linear=Gamma(0.25))}
    assert [name for name in methods.methods() if "LRP" in name] == ["LRP, wide"]


def test_of_a_linear_model_gradient_x_input_is_what_each_tubelet_adds(methods, scores):
    model, clip = linear(), clips(1)
    video = Order(frames=FRAMES, size=SIZE, distance=2).sample(0)
    question = scores.question_of(model, video, clip)
    method = methods.Method(methods.gradient_input)
    (found,) = zip(*scores.measured(model, method, [question]).values(), strict=True)
    found = dict(zip(scores.MEASURES, found, strict=True))
    assert found["left_out, grey"] == pytest.approx(1)
    # The logit without the k tubelets that add most, and with these alone.
    added = -np.sort(-question.drops["grey"].double().numpy())
    constant = question.logit - added.sum()
    counts = [*range(0, 8, scores.PER_STEP), 8]
    gone = [constant + added[k:].sum() for k in counts]
    come = [constant + added[:k].sum() for k in counts]
    shares = np.array(counts) / 8
    expected = np.trapezoid(come, shares) - np.trapezoid(gone, shares)
    assert expected > 0.1
    assert found["between, grey"] == pytest.approx(expected, abs=1e-4)
    bias = model.model[1].bias[video.label].item()
    assert found["kept"] == pytest.approx(1 - bias / question.logit, abs=1e-4)
    gradient = methods.Method(methods.gradient, signed=False)
    assert scores.measured(model, gradient, [question])["kept"] == [None]


def test_scores_that_are_the_truth_have_an_average_precision_of_1(methods, scores):
    model, clip = linear(), clips(1)
    video = Order(frames=FRAMES, size=SIZE, distance=2, duration=1).sample(0)
    assert not video.deciding_frames.all()
    question = scores.question_of(model, video, clip)
    truth = torch.from_numpy(video.region).float()[None, :, None].expand_as(clip)
    oracle = scores.measured(model, methods.Method(lambda *_: truth), [question])
    opposite = scores.measured(model, methods.Method(lambda *_: -truth), [question])
    for name in ("frames", "pixels"):
        assert oracle[name] == pytest.approx([1])
        # By its sign what opposes comes last, by its size first.
        assert opposite[name][0] < 0.6
        assert opposite[f"{name}_by_size"] == pytest.approx([1])


def test_frames_are_not_judged_where_all_decide(methods, scores):
    model, clip = linear(), clips(1)
    question = scores.question_of(
        model, Motion(frames=FRAMES, size=SIZE, classes=2).sample(0), clip
    )
    found = scores.measured(model, methods.Method(methods.gradient_input), [question])
    assert found["frames"] == found["frames_by_size"] == [None]


def test_matrices_of_a_timestep_a_frame_are_summed_over_two(ranges):
    model = build_model("inflated-resnet", 3, widths=(4,))
    given, targets = clips(2), torch.tensor([0, 2])
    found, logits = ranges.matrices_of(model, "gradient", given, targets)
    result = TemporalGradient(model).explain(given, target=targets)
    for example in range(2):
        for i in range(2):
            for j in range(2):
                block = result.influence[example, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
                torch.testing.assert_close(found[example, i, j], block.sum())
            own = result.step_logits[example, 2 * i : 2 * i + 2, targets[example]]
            torch.testing.assert_close(logits[example, i], own.mean())


def test_means_are_of_the_clips_that_have_a_number(rows):
    def row(seed, method, *values):
        return rows.Row("kind", "task", seed, "", method, 2, 0.1, {"measure": list(values)})

    here = [row(0, "one", 1.0, 3.0), row(1, "one", 5.0, None), row(0, "other", 0.0, 0.0)]
    table = rows.Rows(here)
    place = [("kind", "task")]
    assert table.value(place, "one", "measure").value == pytest.approx(3.5)
    # Not measured of all seeds.
    assert table.value(place, "other", "measure") is None
    table = rows.Rows([*here, row(1, "other", 1.0, 1.0)])
    change = table.change(place, "one", "other", "measure")
    assert change.value == pytest.approx((2 + 4) / 2)
