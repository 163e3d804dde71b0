"""The reference architectures: their definitions, and what each timestep can and cannot see."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from temporal_attr import ClipError, OptionError
from temporal_attr.zoo import (
    ARCHITECTURES,
    AttentionPooling,
    InputCellAttention,
    NetVLAD,
    TemporalAggregation,
    TemporalPyramid,
    build_model,
    factorised_width,
)
from temporal_attr.zoo._transformer import Attention
from tests.helpers.checks import assert_near_by_spread
from tests.helpers.families import CLASSES, vivid
from tests.references import definitions as references
from tests.references import zoo as zoo_references

pytestmark = pytest.mark.usefixtures("one_thread")  # Two would wait for each other.

# In double precision a network and its reference differ in the order of sums only: some hundred
# roundings of 1e-16 each. A wrong term, weight or sign is larger by far.
ROUNDING = 1e-12
# The least change, in spreads of the logits, that counts as one: a thousand times what rounding
# makes, and small enough for a frame that is seen through the outer weights of many kernels only.
SEEN = 1e-9
LEARNED = ("attention", "netvlad", "pyramid")
RECURRENT = ("lstm", "gru", "input-cell-attention")


def assert_near_reference(found, expected):
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    assert found.dtype == expected.dtype == torch.float64
    assert_near_by_spread(found, expected, ROUNDING)


def seeded_noise(*shape, seed=7):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# What each timestep sees, from arithmetic alone: boolean (timesteps, frames) matrices.


def band(frames, half):
    return np.abs(np.subtract.outer(np.arange(frames), np.arange(frames))) <= half


def strided_reach(frames, kernel, stride):
    """Of a convolution with zeros outside: output n stands at frame n * stride."""
    return band(frames, kernel // 2)[::stride]


def through(outer, inner):
    return (outer.astype(int) @ inner.astype(int)) > 0


def slowfast_reach(frames, alpha, lateral, kernel, stages, blocks):
    looked = np.eye(frames, dtype=bool)[::alpha]
    followed = strided_reach(frames, kernel, 1)
    for stage in range(stages):
        # The lateral reads the fast pathway as it is before the stage.
        looked = looked | through(strided_reach(frames, lateral, alpha), followed)
        span = 1 if stage < stages // 2 else kernel
        for _ in range(2 * blocks):
            looked = through(strided_reach(frames // alpha, span, 1), looked)
            followed = through(strided_reach(frames, kernel, 1), followed)
    seen = followed.copy()
    seen[::alpha] |= looked
    return seen


@dataclass(frozen=True)
class ZooCase:
    """A model's settings, what it sees, and its timesteps' logits by the slow definition."""

    architecture: str
    frames: int
    reach: Callable[[int], np.ndarray]
    reference: Callable[[Any, Any], torch.Tensor]
    options: dict[str, Any] = field(default_factory=dict)
    size: int = 16

    def __str__(self):
        options = {key: value for key, value in self.options.items() if key != "frames"}
        settings = [f"{key}={value}" for key, value in options.items()]
        return ",".join([self.architecture, *settings, f"T={self.frames}"]).replace(" ", "")

    def clip(self, batch=2, seed=7):
        return seeded_noise(batch, self.frames, 3, self.size, self.size, seed=seed)

    def model(self, **options):
        model = build_model(self.architecture, CLASSES, seed=1, **self.options, **options)
        return lively(model, self.clip(batch=4, seed=3))


def lively(model, clip):
    """`vivid` in double precision, with place embeddings and centres worth a frame's feature."""
    model = vivid(model.double(), clip)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "place":
                parameter.normal_()
    return model


def pooled_by_definition(model, kind, features):
    """Clip logits of late fusion from features (batch, time, feature)."""
    state = model.state_dict()
    if kind in ("mean", "max", "last"):
        weight, bias = state["classifier.weight"], state["classifier.bias"]
        return torch.from_numpy(references.late_fusion_logits(features, weight, bias, kind))
    part = {key[12:]: value for key, value in state.items() if key.startswith("aggregation.")}
    if kind == "attention":
        parts = (part["project.weight"], part["score.weight"])
        pooled = zoo_references.attention_pool(features, *parts)
    elif kind == "netvlad":
        parts = (part["centres"], part["assign.weight"], part["assign.bias"])
        pooled = zoo_references.netvlad(features, *parts)
    else:
        pooled = zoo_references.temporal_pyramid(features, (1, 2, 4, 8))
    return torch.from_numpy(pooled) @ state["classifier.weight"].T + state["classifier.bias"]


def encoded(case, model, clip, prefix, grid):
    state = model.state_dict()
    state = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
    stages, blocks = len(case.options["widths"]), case.options.get("blocks", 1)
    rows = zoo_references.frame_features(clip.flatten(0, 1), state, blocks, stages, grid)
    return rows.unflatten(0, clip.shape[:2])


def late_reference(case, model, clip):
    features = encoded(case, model, clip, "encoder.", case.options.get("grid", 1))
    kind = case.options.get("pooling", "mean")
    alone = features.flatten(0, 1).unsqueeze(1)
    return pooled_by_definition(model, kind, alone).unflatten(0, clip.shape[:2])


def early_reference(case, model, clip):
    stacked = torch.cat(list(clip.unbind(1)), 1).unsqueeze(1)
    features = encoded(case, model, stacked, "model.0.", 1)
    return features @ model.model[1].weight.T + model.model[1].bias


def recurrent_reference(case, model, clip):
    state = model.state_dict()
    features = encoded(case, model, clip, "encoder.0.", case.options["grid"])
    features = features @ state["encoder.1.weight"].T + state["encoder.1.bias"]
    part = {key[10:]: value for key, value in state.items() if key.startswith("recurrent.")}
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    if case.architecture == "input-cell-attention":
        cell = [part[f"cell.{name}"] for name in names]
        scores = (part["score.0.weight"], part["score.2.weight"])
        outputs = zoo_references.input_cell_attention(features, *scores, *cell)
    else:
        run = {"lstm": references.lstm_outputs, "gru": references.gru_outputs}[case.architecture]
        outputs = run(features, *(part[f"{name}_l0"] for name in names))
    return torch.from_numpy(outputs) @ state["classifier.weight"].T + state["classifier.bias"]


def volume_reference(case, model, clip):
    stages, blocks = len(case.options["widths"]), case.options.get("blocks", 1)
    return zoo_references.volume_frame_logits(clip, model.state_dict(), blocks, stages)


def slowfast_reference(case, model, clip):
    stages, blocks = len(case.options["widths"]), case.options.get("blocks", 1)
    alpha = case.options.get("alpha", 4)
    return zoo_references.slowfast_frame_logits(clip, model.state_dict(), alpha, blocks, stages)


def transformer_reference(case, model, clip):
    state = model.state_dict()
    features = encoded(case, model, clip, "encoder.0.", case.options["grid"])
    features = features @ state["encoder.1.weight"].T + state["encoder.1.bias"]
    tokens = features + state["place"][: clip.shape[1]]
    heads, depth = case.options["heads"], case.options["depth"]
    tokens = zoo_references.transformer(tokens, state, heads, depth)
    return tokens @ state["classifier.weight"].T + state["classifier.bias"]


def volume_transformer_reference(definition):
    def reference(case, model, clip):
        names = ("tubelet", "patch", "heads", "depth")
        options = {name: case.options[name] for name in names}
        return definition(clip, model.state_dict(), **options)

    return reference


def late(frames, **options):
    options = {"widths": (4, 8), **options}
    return ZooCase("late-fusion", frames, lambda t: np.eye(t, dtype=bool), late_reference, options)


def early(frames, **options):
    options = {"widths": (4, 8), "frames": frames, **options}
    return ZooCase(
        "early-fusion", frames, lambda t: np.ones((1, t), bool), early_reference, options
    )


def volume_case(architecture, frames, size=16, **options):
    options = {"widths": (4, 8), **options}
    kernel, blocks = options.get("temporal_kernel", 3), options.get("blocks", 1)
    modules = blocks * len(options["widths"])
    layers = modules if architecture == "tam2d" else 1 + 2 * modules
    half = layers * (kernel // 2)
    return ZooCase(architecture, frames, lambda t: band(t, half), volume_reference, options, size)


def slowfast_case(frames, size=16, **options):
    # At least four channels on the fast pathway, and four places in the last map: with one, a ReLU
    # may close the only way from a frame to a timestep.
    options = {"widths": (4, 8), "beta": 1.0, **options}

    def reach(t):
        return slowfast_reach(
            t,
            options.get("alpha", 4),
            options.get("lateral_kernel", 5),
            options.get("temporal_kernel", 3),
            len(options["widths"]),
            options.get("blocks", 1),
        )

    return ZooCase("slowfast", frames, reach, slowfast_reference, options, size)


def causal_case(architecture, frames, size=16, **options):
    options = {"widths": (4, 8), "hidden": 6, "grid": 2, **options}
    past = lambda t: np.tri(t, dtype=bool)  # noqa: E731
    return ZooCase(architecture, frames, past, recurrent_reference, options, size)


def frame_tokens(frames, longest=16, **options):
    options = {"features": 8, "heads": 2, "depth": 1, "grid": 2, **options}
    options = {"widths": (4, 8), "frames": longest, **options}
    full = lambda t: np.ones((t, t), bool)  # noqa: E731
    return ZooCase("temporal-transformer", frames, full, transformer_reference, options)


def volume_transformer(architecture, frames, tubelet, patch, **options):
    options = {"features": 8, "heads": 2, "depth": 1, **options}
    options |= {"frames": frames, "size": 16, "tubelet": tubelet, "patch": patch}
    full = lambda t: np.ones((t // tubelet, t), bool)  # noqa: E731
    definition = {
        "tubelet-transformer": zoo_references.tubelet_frame_logits,
        "divided-transformer": zoo_references.divided_frame_logits,
    }[architecture]
    return ZooCase(architecture, frames, full, volume_transformer_reference(definition), options)


CASES = [
    late(7),
    late(5, pooling="last"),
    late(6, pooling="attention", blocks=2),
    late(6, pooling="netvlad"),
    late(9, pooling="pyramid", grid=2, widths=(4,)),
    early(8),
    early(5, blocks=2, widths=(4,)),
    volume_case("inflated-resnet", 16),
    volume_case("inflated-resnet", 15, temporal_kernel=5, widths=(4,)),
    volume_case("inflated-resnet", 16, temporal_kernel=7, widths=(4,)),
    volume_case("inflated-resnet", 13, blocks=2, widths=(4,)),
    volume_case("inflated-resnet", 16, blocks=2),
    volume_case("inflated-resnet", 6, temporal_kernel=1),
    volume_case("factorised-resnet", 16),
    volume_case("factorised-resnet", 15, temporal_kernel=5, widths=(4,)),
    volume_case("factorised-resnet", 13, blocks=2, widths=(4,)),
    volume_case("tam2d", 16),
    volume_case("tam2d", 13, temporal_kernel=5),
    volume_case("tam2d", 16, temporal_kernel=7),
    volume_case("tam2d", 11, blocks=2),
    volume_case("tam2d", 16, temporal_kernel=5, blocks=2, widths=(4,)),
    volume_case("tam2d", 9, widths=(4, 4, 4), size=32),
    slowfast_case(16),
    slowfast_case(16, lateral_kernel=3),
    slowfast_case(16, lateral_kernel=1),
    slowfast_case(12, alpha=2),
    slowfast_case(14, alpha=2, lateral_kernel=3),
    slowfast_case(16, alpha=2, blocks=2, widths=(8,), beta=0.5),
    slowfast_case(12, alpha=2, lateral_kernel=3, temporal_kernel=1),
    slowfast_case(12, temporal_kernel=5, lateral_kernel=1),
    slowfast_case(16, lateral_kernel=3, widths=(4, 4, 4), size=32),
    slowfast_case(16, lateral_kernel=3, blocks=2),
    slowfast_case(5, alpha=1, lateral_kernel=1, widths=(4,)),
    causal_case("lstm", 9),
    causal_case("lstm", 16, blocks=2, hidden=5),
    causal_case("gru", 9),
    causal_case("gru", 5, grid=3, size=24),
    causal_case("input-cell-attention", 7),
    causal_case("input-cell-attention", 12, widths=(4,), hidden=3),
    frame_tokens(9),
    frame_tokens(16, depth=2, heads=4),
    frame_tokens(5, longest=5, heads=1),
    volume_transformer("tubelet-transformer", 8, 2, 8),
    volume_transformer("tubelet-transformer", 12, 4, 4, depth=2, heads=4),
    volume_transformer("tubelet-transformer", 5, 1, 16, heads=1),
    volume_transformer("divided-transformer", 6, 1, 8),
    volume_transformer("divided-transformer", 12, 3, 4, depth=2, heads=4),
    volume_transformer("divided-transformer", 5, 1, 16, heads=1),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def first(architecture):
    return next(case for case in CASES if case.architecture == architecture)


FIRST = [first(name) for name in ARCHITECTURES]
each_architecture = pytest.mark.parametrize("case", FIRST, ids=lambda case: case.architecture)


def middle_weights(steps, count):
    """Equal weights of `count` timesteps, as many before them as after, or one fewer."""
    before = (steps - count) // 2
    after = steps - count - before
    assert after - before in (0, 1)
    return torch.tensor([0.0] * before + [1 / count] * count + [0.0] * after, dtype=torch.float64)


def last_weights(steps, count):
    return torch.tensor([0.0] * (steps - count) + [1 / count] * count, dtype=torch.float64)


# Definitions.


@each_case
def test_frame_logits_are_those_of_the_definition_and_add_up_to_the_logits(case):
    model, clip = case.model(), case.clip()
    steps, pooling = len(case.reach(case.frames)), case.options.get("pooling")
    only_last = pooling == "last" or case.architecture in RECURRENT
    with torch.no_grad():
        logits, found = model(clip), model.frame_logits(clip)
        expected = case.reference(case, model, clip)
    assert found.logits.shape == (2, steps, CLASSES)
    assert_near_reference(found.logits, expected)
    if pooling in LEARNED:
        assert model.exactness == "none"
        return
    weights = last_weights(steps, 1 if only_last else steps)
    assert model.exactness == "linear"
    torch.testing.assert_close(found.weights, weights, rtol=0, atol=1e-15)
    assert_near_reference(found.clip_logits(), (expected * weights[:, None]).sum(1))
    assert_near_reference(logits, (expected * weights[:, None]).sum(1))


@pytest.mark.parametrize("kind", ["mean", "max", "last", *LEARNED])
@pytest.mark.parametrize("frames", [1, 6, 11])
def test_late_fusion_pools_by_the_definition(kind, frames):
    case = late(frames, pooling=kind)
    model, clip = case.model(), case.clip(batch=3)
    with torch.no_grad():
        features = encoded(case, model, clip, "encoder.", 1)
        assert_near_reference(model(clip), pooled_by_definition(model, kind, features))


def test_max_late_fusion_adds_up_with_its_winners_held():
    case = late(8, pooling="max")
    model, clip = case.model(), case.clip()
    with torch.no_grad():
        found, steps = model(clip), model.frame_logits(clip)
    assert model.exactness == "frozen"
    assert_near_reference(steps.clip_logits(), found)


@pytest.mark.parametrize(("batch", "frames", "features"), [(2, 5, 6), (1, 1, 4), (3, 12, 9)])
def test_attention_pooling_matches_the_definition(batch, frames, features):
    pool = AttentionPooling(features, hidden=7).double()
    x = 3 * seeded_noise(batch, frames, features)
    parts = (pool.project.weight, pool.score.weight)
    assert_near_reference(pool(x).detach(), zoo_references.attention_pool(x, *parts))
    if frames > 1:
        weights = zoo_references.attention_weights(x, *parts)
        assert np.ptp(weights, axis=1).min() > 0.1 / frames


@pytest.mark.parametrize(
    ("batch", "frames", "features", "centres"), [(2, 5, 6, 3), (3, 1, 4, 2), (2, 12, 3, 8)]
)
def test_netvlad_matches_the_definition(batch, frames, features, centres):
    pool = NetVLAD(features, centres).double()
    x = 3 * seeded_noise(batch, frames, features)
    parts = (pool.centres, pool.assign.weight, pool.assign.bias)
    found = pool(x).detach()
    assert_near_reference(found, zoo_references.netvlad(x, *parts))
    # Each centre's share has the same length, and all together length 1.
    lengths = found.unflatten(1, (centres, features)).norm(dim=2)
    torch.testing.assert_close(lengths, torch.full_like(lengths, centres**-0.5))


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 8, 13, 16])
@pytest.mark.parametrize("levels", [(1, 2, 4, 8), (3,), (1, 5)])
def test_temporal_pyramid_matches_the_definition(frames, levels):
    x = seeded_noise(2, frames, 3)
    found = TemporalPyramid(3, levels)(x)
    assert_near_reference(found, zoo_references.temporal_pyramid(x, levels))


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("frames", [1, 4, 9])
def test_temporal_aggregation_matches_the_definition(kernel, frames):
    module = TemporalAggregation(3, kernel).double()
    # Weights as large at the borders as in the middle, and of both signs.
    nn.init.normal_(module.sum.weight)
    x = seeded_noise(2, 3, frames, 2, 3)
    found = module(x).detach()
    assert_near_reference(found, zoo_references.temporal_aggregation(x, module.sum.weight))
    assert 0 < (found == 0).sum() < found.numel()


def test_temporal_aggregation_begins_about_the_identity():
    weight = TemporalAggregation(400, 5).sum.weight.detach().reshape(400, 5)
    # The mean of 400 weights is within a tenth of what they scatter about, by less than a half.
    torch.testing.assert_close(weight.mean(0), torch.eye(5)[2], rtol=0, atol=0.1)
    assert 0.01 < weight.std(0).min() <= weight.std(0).max() < 0.5


@pytest.mark.parametrize(
    ("batch", "frames", "features", "hidden", "reads"),
    [(2, 6, 5, 4, 3), (1, 1, 3, 2, 1), (3, 10, 2, 5, 4)],
)
def test_input_cell_attention_matches_the_definition(batch, frames, features, hidden, reads):
    step = InputCellAttention(features, hidden, reads, attention=6).double()
    x = 3 * seeded_noise(batch, frames, features)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    parts = [step.score[0].weight, step.score[2].weight]
    parts += [getattr(step.cell, name) for name in names]
    memory, outputs = None, []
    for frame in x.unbind(1):
        output, memory = step(frame, memory)
        outputs.append(output.detach())
    assert_near_reference(torch.stack(outputs, 1), zoo_references.input_cell_attention(x, *parts))


@pytest.mark.parametrize(
    ("batch", "tokens", "features", "heads"), [(2, 5, 6, 3), (1, 1, 4, 1), (2, 9, 8, 8)]
)
def test_attention_matches_the_definition(batch, tokens, features, heads):
    module = Attention(features, heads).double()
    x = 3 * seeded_noise(batch, tokens, features)
    parts = (module.read.weight, module.read.bias, module.write.weight, module.write.bias)
    assert_near_reference(module(x).detach(), zoo_references.self_attention(x, *parts, heads))


channels = st.integers(1, 40)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), channels, channels)
def test_a_factorised_convolution_has_as_many_parameters_as_fit(time, space, inside, outside):
    full = zoo_references.full_parameters(time, space, inside, outside)
    middle = factorised_width(time, space, inside, outside)
    count = zoo_references.factorised_parameters
    # One channel is the least, even where that is more than fits.
    assert count(time, space, inside, middle, outside) <= full or middle == 1
    assert count(time, space, inside, middle + 1, outside) > full


@settings(max_examples=8, deadline=None)
@given(st.sampled_from([3, 5, 7]), st.integers(1, 9), st.integers(1, 9))
def test_each_split_convolution_of_a_network_has_as_many_parameters_as_fit(kernel, low, high):
    options = {"temporal_kernel": kernel, "widths": (low, high)}
    split = build_model("factorised-resnet", 2, **options)
    whole = build_model("inflated-resnet", 2, **options)
    for part, full in zip(split.layers, whole.layers, strict=True):
        for place in (1, 4):
            outside, inside = full.main[place].weight.shape[:2]
            weights = [part.main[place][0].weight, part.main[place][3].weight]
            middle, count = weights[0].shape[0], sum(weight.numel() for weight in weights)
            sides = (kernel, 3, inside)
            whole_count = zoo_references.full_parameters(*sides, outside)
            assert count == zoo_references.factorised_parameters(*sides, middle, outside)
            assert count <= whole_count
            assert zoo_references.factorised_parameters(*sides, middle + 1, outside) > whole_count


def test_temporal_aggregation_adds_a_kernel_for_each_channel_of_a_block():
    for kernel, blocks in ((3, 1), (5, 1), (3, 2)):
        counts = {}
        for name, options in (("late-fusion", {}), ("tam2d", {"temporal_kernel": kernel})):
            model = build_model(name, CLASSES, blocks=blocks, **options)
            counts[name] = sum(parameter.numel() for parameter in model.parameters())
        # A module stands in front of each block, so it has the channels that the block reads.
        read = {1: 16 + 16 + 32, 2: (16 + 16) + (16 + 32) + (32 + 64)}[blocks]
        assert counts["tam2d"] - counts["late-fusion"] == kernel * read


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("widths", [(4, 8), (6, 6, 4)])
@pytest.mark.parametrize("kernel", [None, 1, 5])
def test_residual_networks_have_the_parameters_of_their_definition(blocks, widths, kernel):
    # Two 3x3 convolutions and norms a block, and a pointwise one with norm where the shape changes.
    span = 1 if kernel is None else kernel
    count, inside = 25 * span * 3 * widths[0] + 2 * widths[0], widths[0]
    for width in widths:
        for block in range(blocks):
            count += 9 * span * (inside * width + width * width) + 2 * 2 * width
            count += inside * width + 2 * width if block == 0 else 0
            inside = width
    count += (inside + 1) * CLASSES
    name, options = "late-fusion", {}
    if kernel is not None:
        name, options = "inflated-resnet", {"temporal_kernel": kernel}
    model = build_model(name, CLASSES, widths=widths, blocks=blocks, **options)
    found = sum(parameter.numel() for parameter in model.parameters())
    assert found == count


# What a timestep sees.


@each_case
def test_a_replaced_frame_changes_exactly_the_timesteps_that_see_it(case):
    model, frames = case.model(), case.frames
    clips, others = case.clip(), case.clip(seed=11)
    replaced = clips.repeat(frames, 1, 1, 1, 1)
    for t in range(frames):
        replaced[2 * t : 2 * t + 2, t] = others[:, t]
    with torch.no_grad():
        before = model.frame_logits(clips).logits
        after = model.frame_logits(replaced).logits.unflatten(0, (frames, 2))
    # Largest change over both clips and all classes, (timestep, frame), in spreads of the logits.
    change = ((after - before).abs().amax((1, 3)) / before.std()).T.numpy()
    allowed = case.reach(frames)
    assert change.shape == allowed.shape
    assert change[~allowed].max(initial=0) < ROUNDING
    assert change[allowed].min() > SEEN


def test_the_impulse_cases_tell_settings_apart():
    # Where all timesteps see all frames, a reach that is too large would go unnoticed.
    bounded = [case for case in CASES if not case.reach(case.frames).all()]
    names = [case.architecture for case in bounded]
    for name in ("inflated-resnet", "factorised-resnet", "tam2d", "slowfast"):
        assert names.count(name) >= 3
    reaches = {case.reach(16).tobytes() for case in CASES if case.architecture == "slowfast"}
    assert len(reaches) >= 8


@pytest.mark.parametrize("kind", LEARNED)
def test_a_frame_of_learned_pooling_predicts_as_a_clip_of_itself(kind):
    case = late(5, pooling=kind)
    model, clip = case.model(), case.clip()
    with torch.no_grad():
        alone = torch.stack([model(clip[:, t : t + 1]) for t in range(5)], 1)
        assert model.exactness == "none"
        assert_near_reference(model.frame_logits(clip).logits, alone)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_timestep_with_memory_predicts_the_clip_so_far(name):
    case = first(name)
    model, clip = case.model(), case.clip()
    with torch.no_grad():
        prefixes = torch.stack([model(clip[:, : t + 1]) for t in range(case.frames)], 1)
        assert_near_reference(model.frame_logits(clip).logits, prefixes)


BLIND = [late(8, pooling=kind) for kind in ("mean", "max", "attention", "netvlad")]
SIGHTED = [
    late(8, pooling="pyramid"),
    late(8, pooling="last"),
    *(case for case in FIRST if case.architecture != "late-fusion"),
]


def reordered(case):
    """Logits of clips, and of the same frames in another order that moves each of them."""
    clip = case.clip(batch=4)
    order = torch.arange(case.frames).roll(case.frames // 2 - 1).flip(0)
    model = case.model()
    with torch.no_grad():
        return model(clip), model(clip[:, order])


@pytest.mark.parametrize("case", BLIND, ids=str)
def test_pooling_that_is_blind_to_order(case):
    logits, shuffled = reordered(case)
    assert_near_reference(shuffled, logits)


@pytest.mark.parametrize("case", SIGHTED, ids=str)
def test_models_that_see_order(case):
    logits, shuffled = reordered(case)
    assert (shuffled - logits).abs().max() > 1e-3 * logits.std()


# Ensembles.

STEPPED = [case for case in FIRST if case.architecture not in ("late-fusion", "early-fusion")]
each_stepped = pytest.mark.parametrize("case", STEPPED, ids=lambda case: case.architecture)


@each_stepped
def test_an_ensemble_averages_the_middle_or_the_last_timesteps(case):
    steps = len(case.reach(case.frames))
    recurrent = case.architecture in RECURRENT
    alpha = case.options.get("alpha", 4) if case.architecture == "slowfast" else 1
    clip = case.clip()
    for ensemble in ("all", *range(alpha, steps + 1, alpha)):
        options = case.options | {"ensemble": ensemble}
        model = build_model(case.architecture, CLASSES, **options).double()
        count = steps if ensemble == "all" else ensemble
        expected = (last_weights if recurrent else middle_weights)(steps, count)
        with torch.no_grad():
            found, logits = model.frame_logits(clip), model(clip)
        torch.testing.assert_close(found.weights, expected, rtol=0, atol=1e-15)
        assert torch.equal(found.weights != 0, expected != 0)
        # Weights that are wrong are only seen where the timesteps differ.
        assert found.logits.std(1).max() > 1e-3 * found.logits.std()
        assert_near_reference(logits, found.logits[:, expected > 0].mean(1))
        assert_near_reference(found.clip_logits(), logits)


@each_stepped
def test_an_ensemble_of_more_timesteps_than_there_are_is_refused(case):
    steps = len(case.reach(case.frames))
    alpha = case.options.get("alpha", 4) if case.architecture == "slowfast" else 1
    options = case.options | {"ensemble": steps + alpha}
    model = build_model(case.architecture, CLASSES, **options)
    clip = case.clip().float()
    for ask in (model, model.frame_logits):
        with pytest.raises(ClipError, match=f"at least {steps + alpha} timesteps.*got {steps}"):
            ask(clip)


def test_each_pathway_of_slowfast_has_its_share_of_an_ensemble():
    # Whatever the window, it holds one slow frame in alpha, so each pathway's mean has weight 1.
    for alpha, frames in ((2, 12), (4, 16), (3, 12)):
        for ensemble in range(alpha, frames + 1, alpha):
            options = {"alpha": alpha, "ensemble": ensemble, "widths": (4, 4)}
            model = build_model("slowfast", CLASSES, **options)
            with torch.no_grad():
                weights = model.frame_logits(torch.randn(1, frames, 3, 16, 16)).weights
            assert weights[::alpha].sum().item() == pytest.approx(1 / alpha)


def test_slowfast_averages_each_pathway_over_its_own_frames():
    case = slowfast_case(16)
    model, clip = case.model(), case.clip()
    with torch.no_grad():
        features = model.features(clip)
        slow, fast = features[:, ::4, :8] / 4, features[..., 8:]
        merged = torch.cat([slow.mean(1), fast.mean(1)], 1)
        between = features[..., :8].unflatten(1, (4, 4))[:, :, 1:]
        assert torch.equal(between, torch.zeros_like(between))
        assert_near_reference(
            model(clip), merged @ model.classifier.weight.T + model.classifier.bias
        )


# Gradients.


@pytest.mark.parametrize("case", [*FIRST, *BLIND[1:], SIGHTED[0]], ids=str)
def test_every_row_of_every_parameter_gets_a_gradient(case):
    model = case.model(**({"ensemble": "all"} if case in STEPPED else {}))
    model(case.clip(batch=6)).square().sum().backward()
    largest = max(parameter.grad.abs().max() for parameter in model.parameters())
    for name, parameter in model.named_parameters():
        rows = parameter.grad.flatten(1) if parameter.ndim > 1 else parameter.grad[:, None]
        reached = rows.abs().amax(1) > 1e-12 * largest
        if name.endswith("read.bias"):
            # A constant that is added to all keys cancels in the softmax.
            size = len(parameter) // 3
            assert not reached[size : 2 * size].any(), name
            reached = torch.cat([reached[:size], reached[2 * size :]])
        if name == "place" and case.architecture == "temporal-transformer":
            assert not reached[case.frames :].any()
            reached = reached[: case.frames]
        assert reached.all(), (name, reached)


# Building.


def states(model):
    return list(model.state_dict().items())


# Without run-time checks, since beartype draws the items that it looks at.
@pytest.mark.usefixtures("as_user")
@each_architecture
def test_weights_come_from_the_seed_alone(case):
    def build(seed):
        return build_model(case.architecture, CLASSES, seed=seed, **case.options)

    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    one = build(3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]
    torch.rand(1)
    again, other = build(3), build(4)
    assert [name for name, _ in states(one)] == [name for name, _ in states(again)]
    for (_, first_value), (_, value) in zip(states(one), states(again), strict=True):
        assert torch.equal(first_value, value)
    others = dict(other.named_parameters())
    # Affines begin at 0 and 1, and place embeddings as waves.
    random_ones = [name for name in others if others[name].std() > 0 and name != "place"]
    assert len(random_ones) >= 4
    for name in random_ones:
        assert not torch.equal(others[name], dict(one.named_parameters())[name]), name
    assert not any(part.training for part in one.modules())


@pytest.mark.parametrize("features", [8, 10, 64])
def test_place_embeddings_begin_as_waves_that_tell_places_apart(features):
    options = {"features": features, "heads": 2, "frames": 12}
    over_time = build_model("temporal-transformer", CLASSES, seed=1, **options).place
    tubelets, divided = (
        build_model(name, CLASSES, seed=2, size=32, **options) for name in VOLUME_TRANSFORMERS
    )
    over_tubelets, over_patches = (each.place.flatten(1).T for each in (tubelets, divided))
    counted = ((over_time, 12), (over_tubelets, 6 * 4 * 4), (over_patches, 12 * 4 * 4))
    for learned, count in counted:
        places = learned.detach()
        assert places.shape == (count, features)
        distances = torch.cdist(places, places) + torch.eye(count)
        assert distances.min() > 0.1
    # Wavelengths from 2 pi up: sin(t) first, and cos(t) half-way.
    times = torch.arange(12.0)
    torch.testing.assert_close(over_time[:, 0].detach(), times.sin())
    torch.testing.assert_close(over_time[:, features // 2].detach(), times.cos())
    # Half of a token's features say when: there, places of a time are alike.
    for model in (tubelets, divided):
        when = model.place[: features - 2 * (features // 4)]
        assert torch.equal(when, when[:, :, :1, :1].expand_as(when))


def test_divided_attention_reads_its_place_in_all_frames_then_its_frame():
    # Of what a token reads, by one block: an attention writes nothing where its output is zero.
    model = volume_transformer("divided-transformer", 6, 1, 8).model()
    (block,) = model.blocks
    tokens = seeded_noise(1, 6 * 4, 8).requires_grad_()

    def read(silent):
        kept = silent.weight.detach().clone(), silent.bias.detach().clone()
        with torch.no_grad():
            silent.weight.zero_()
            silent.bias.zero_()
        # The token of frame 2, place 1.
        (found,) = torch.autograd.grad(block(tokens)[0, 2 * 4 + 1].square().sum(), tokens)
        with torch.no_grad():
            silent.weight.copy_(kept[0])
            silent.bias.copy_(kept[1])
        return (found[0].abs().amax(1) > 0).reshape(6, 4)

    over_time = torch.zeros(6, 4, dtype=torch.bool)
    over_time[:, 1] = True
    assert torch.equal(read(block.over_space[1].write), over_time)
    over_space = torch.zeros(6, 4, dtype=torch.bool)
    over_space[2] = True
    assert torch.equal(read(block.over_time[1].write), over_space)


def test_the_random_state_of_accelerators_is_left_alone(monkeypatch):
    # torch.manual_seed seeds every device, also those whose state is not kept.
    reseeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", reseeded.append)
    build_model("tam2d", CLASSES, seed=3, widths=(4,))
    assert reseeded == []


def test_the_default_seed_is_zero():
    one, two = (build_model("gru", CLASSES, widths=(4,), **seed) for seed in ({}, {"seed": 0}))
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(states(one), states(two), strict=True))


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("slowfast", {"widths": (49,), "beta": 1 / 49}),
        ("factorised-resnet", {"widths": (1, 2), "temporal_kernel": 1}),
    ],
)
def test_the_narrowest_networks_that_are_allowed_have_channels(architecture, options):
    model = build_model(architecture, CLASSES, **options).double()
    model = lively(model, seeded_noise(4, 8, 3, 16, 16, seed=3))
    one, other = seeded_noise(1, 8, 3, 16, 16), seeded_noise(1, 8, 3, 16, 16, seed=8)
    with torch.no_grad():
        assert (model(one) - model(other)).abs().max() > 1e-3


SMALL_WIDTHS = {"widths": (4, 8)}
VOLUME_TRANSFORMERS = ("tubelet-transformer", "divided-transformer")
REFUSED = [
    ("late_fusion", {}, "an architecture, one of late-fusion, .*got 'late_fusion'"),
    *(
        (name, {"depht": 3}, f"options of {name}, of which there are .*, got .depht.")
        for name in ARCHITECTURES
    ),
    *((name, {"classes": 1}, "classes a whole number at least 2, got 1") for name in ARCHITECTURES),
    *(
        (
            name,
            {"temporal_kernel": kernel},
            f"temporal_kernel (to be odd|a whole number).*got {kernel}",
        )
        for name in ("inflated-resnet", "factorised-resnet", "tam2d", "slowfast")
        for kernel in (2, 4, 0, -1)
    ),
    ("slowfast", {"lateral_kernel": 4}, "lateral_kernel to be odd.*got 4"),
    ("slowfast", {"alpha": 0}, "alpha a whole number at least 1, got 0"),
    ("slowfast", {"beta": -0.1}, "beta from 0 to 1, got -0.1"),
    ("slowfast", {"beta": 2.0}, "beta from .* to 1, got 2"),
    ("slowfast", {"ensemble": 6}, r"ensemble to be a multiple of alpha \(4\), got 6"),
    *(
        (name, {"widths": ()}, "widths of at least one stage")
        for name in ARCHITECTURES
        if name not in VOLUME_TRANSFORMERS
    ),
    *(
        (name, {"widths": (4, 0)}, "widths a whole number at least 1, got 0")
        for name in ARCHITECTURES
        if name not in VOLUME_TRANSFORMERS
    ),
    *(
        (name, {"blocks": 0}, "blocks a whole number at least 1, got 0")
        for name in ARCHITECTURES
        if name not in VOLUME_TRANSFORMERS
    ),
    *(
        (name, {"size": 8}, "size a whole number at least 16, got 8")
        for name in ARCHITECTURES
        if name not in VOLUME_TRANSFORMERS
    ),
    ("late-fusion", {"pooling": "median"}, "pooling to be one of .*netvlad.*got 'median'"),
    ("late-fusion", {"grid": 0}, "grid a whole number at least 1, got 0"),
    ("early-fusion", {"frames": 0}, "frames a whole number at least 1, got 0"),
    *(
        (case.architecture, {"ensemble": value}, f'ensemble (to be )?"all" or .*got {value!r}')
        for case in STEPPED
        for value in (0, -2, "some")
    ),
    ("lstm", {"hidden": 0}, "hidden a whole number at least 1, got 0"),
    ("lstm", {"cell": "gru"}, "options of lstm, .*got 'cell'"),
    ("late-fusion", {"pooling_options": {"levels": (1,)}}, "no options for mean pooling, got"),
    *(
        (name, {"features": value}, f"features a whole number at least 1, got {value}")
        for name in ("temporal-transformer", *VOLUME_TRANSFORMERS)
        for value in (0, -4)
    ),
    ("temporal-transformer", {"heads": 3}, "heads to divide the feature length 64, got 3"),
    ("temporal-transformer", {"heads": 0}, "heads a whole number at least 1, got 0"),
    ("temporal-transformer", {"depth": 0}, "depth a whole number at least 1, got 0"),
    ("temporal-transformer", {"frames": 0}, "frames a whole number at least 1, got 0"),
    *(
        (name, options, message)
        for name in VOLUME_TRANSFORMERS
        for options, message in (
            ({"frames": 0}, "frames a whole number at least 1, got 0"),
            ({"heads": 5}, "heads to divide the feature length 64, got 5"),
            ({"frames": 9, "tubelet": 2}, "tubelet to divide 9, got 2"),
            ({"size": 20, "patch": 8}, "patch to divide 20, got 8"),
            ({"tubelet": 0}, "tubelet a whole number from 1 to 16, got 0"),
            ({"patch": 64}, "patch a whole number from 1 to 48, got 64"),
        )
    ),
]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(("architecture", "options", "message"), REFUSED)
def test_settings_out_of_range_are_named(architecture, options, message):
    with pytest.raises(OptionError, match=message):
        build_model(architecture, **{"classes": CLASSES, **options})


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("architecture", "options", "shape", "message"),
    [
        ("slowfast", SMALL_WIDTHS, (10, 3, 16, 16), "a multiple of 4 frames .*got 10"),
        ("slowfast", {"alpha": 2, **SMALL_WIDTHS}, (7, 3, 16, 16), "a multiple of 2 .*got 7"),
        ("early-fusion", {"frames": 6, **SMALL_WIDTHS}, (5, 3, 16, 16), "6 frames.*got 5"),
        (
            "temporal-transformer",
            {"frames": 6, **SMALL_WIDTHS},
            (7, 3, 16, 16),
            "at most 6 frames.*place embedding, got 7",
        ),
        *(
            (
                name,
                {"frames": 8, "size": 16},
                shape,
                f"8 frames of 16 x 16.*got {shape[0]} x 16 x {shape[3]}",
            )
            for name in VOLUME_TRANSFORMERS
            for shape in ((6, 3, 16, 16), (8, 3, 16, 24))
        ),
        *(
            (name, SMALL_WIDTHS, (16, 2, 16, 16), "3.*got.*2")
            for name in ARCHITECTURES
            if name not in VOLUME_TRANSFORMERS
        ),
    ],
)
def test_clips_that_do_not_fit_are_refused(architecture, options, shape, message):
    model = build_model(architecture, CLASSES, **options)
    for ask in (model, model.frame_logits):
        with pytest.raises(ClipError, match=message):
            ask(torch.rand(1, *shape))


@each_architecture
def test_the_preprocessing_asks_for_the_size(case):
    options = {"size": 16} if case.architecture in VOLUME_TRANSFORMERS else {"size": 24}
    preprocessing = build_model(case.architecture, CLASSES, **options).preprocessing
    assert preprocessing.resize == (options["size"], options["size"])
    grey = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 3, 1, 1)
    values = preprocessing.normalization.apply(grey)[:, :, 0, 0]
    torch.testing.assert_close(values, torch.tensor([[-2.0] * 3, [22 / 9] * 3]))
