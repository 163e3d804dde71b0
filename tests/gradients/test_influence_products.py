"""The influence matrix of framewise models: few backward passes, and the numbers of one a row."""

import math

import pytest
import torch
from torch import nn

from temporal_attr import FrameRecurrent, FrameTransformer, LateFusion, TemporalGradient
from temporal_attr._run import RunContext
from temporal_attr.gradients import _framewise, _vector_jacobian
from temporal_attr.gradients._vector_jacobian import (
    FrameGroup,
    distinct_vectors,
    frame_groups,
    group_products,
)
from tests.helpers.checks import assert_near

FEATURES = 4
FRAMES = 12
CLASSES = 3
QUARTER = 3


def encoder(features=FEATURES):
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(20, features), nn.Tanh(),
    )  # fmt: skip


def recurrent():
    torch.manual_seed(0)
    memory = nn.LSTM(FEATURES, 6, batch_first=True)
    return FrameRecurrent(encoder(), memory, nn.Linear(6, CLASSES), "mean").double().eval()


def transformer():
    torch.manual_seed(1)
    layer = nn.TransformerEncoderLayer(FEATURES, 2, 8, batch_first=True)
    head = nn.Linear(FEATURES, CLASSES)
    return (
        FrameTransformer(encoder(), nn.TransformerEncoder(layer, 2), head, "mean").double().eval()
    )


def clip(batch=1):
    random = torch.Generator().manual_seed(5)
    return torch.randn(batch, FRAMES, 3, 9, 8, generator=random, dtype=torch.float64)


def row_by_row(model, clip, target):
    """One backward pass of bare autograd for each timestep, through all of the model."""
    leaf = clip.clone().requires_grad_()
    logits = model.frame_logits(leaf).logits[..., target]
    rows = []
    for step in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[:, step].sum(), leaf, retain_graph=True)
        rows.append(gradient.square().sum((2, 3, 4)).sqrt())
    return torch.stack(rows, 1)


@pytest.fixture(params=[recurrent, transformer], ids=["recurrent", "transformer"])
def model(request):
    return request.param()


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(("memory", "chunk"), [("whole", None), ("framewise", 5)])
def test_jacobians_give_what_a_pass_for_each_row_gives(model, batch, memory, chunk):
    clips = clip(batch)
    expected = row_by_row(model, clips, 2)
    found = TemporalGradient(model, memory=memory, chunk_size=chunk).explain(clips, 2)
    assert "frame Jacobians" in found.run.path
    torch.testing.assert_close(found.influence, expected, rtol=1e-12, atol=1e-12 * expected.max())
    # What a timestep does not read is zero, not rounding.
    assert torch.equal(found.influence == 0, expected == 0)


@pytest.mark.usefixtures("without_trials")
def test_what_a_jacobian_saves_is_counted():
    """Backward passes: one for each feature of a frame, or each timestep that reads it, if less."""
    seen = []
    model = recurrent()

    def count(module, inputs, output):
        if output.requires_grad:
            output.register_hook(lambda gradient: seen.append(len(gradient)))

    model.encoder[0].register_forward_hook(count)
    found = TemporalGradient(model, memory="framewise", chunk_size=QUARTER).explain(clip(), 0)
    # 12, 11, ... timesteps read the frames 0, 1, ...; of the last three frames, at most 3 do.
    groups = [FEATURES, FEATURES, FEATURES, 3]
    reads = [12, 9, 6, 3]
    assert all(0.75 * count >= FEATURES for count in reads[:-1])
    assert found.run.backward_passes == 1 + sum(groups) * QUARTER / FRAMES
    assert sum(seen) == found.run.backward_passes * FRAMES


def test_a_jacobian_of_nearly_as_many_rows_is_not_worth_it():
    vectors = torch.randn(8, 2, 7)
    (group,) = frame_groups(distinct_vectors(vectors), 2, features=7, pixels=5)
    assert (group.passes, group.jacobian) == (8, False)
    (group,) = frame_groups(distinct_vectors(torch.randn(10, 2, 7)), 2, features=7, pixels=5)
    assert (group.passes, group.jacobian) == (7, True)


def test_frames_that_need_as_many_passes_go_together():
    vectors = torch.ones(6, 5, 2) * torch.arange(1, 7)[:, None, None]
    for frame, read in enumerate([1, 6, 0, 5, 2]):
        vectors[read:, frame] = 0
    groups = frame_groups(distinct_vectors(vectors), 2, features=50, pixels=3)
    assert [group.frames.tolist() for group in groups] == [[1, 3], [4, 0], [2]]
    assert [group.passes for group in groups] == [6, 2, 0]


@pytest.mark.parametrize("jacobian", [False, True])
def test_products_are_those_of_an_explicit_jacobian(jacobian):
    torch.manual_seed(3)
    frames = torch.randn(3, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 40, 6, dtype=torch.float64)
    encoded = torch.einsum("fp,fpd->fd", frames.flatten(1), weight).unflatten(1, (2, 3))
    vectors = torch.randn(9, 3, 2, 3, dtype=torch.float64)
    vectors[4], vectors[5, 1] = vectors[2], 0
    expected = torch.einsum("nfd,fpd->nfp", vectors.flatten(2), weight).unflatten(2, (2, 4, 5))
    distinct = distinct_vectors(vectors)
    assert [len(own.rows) for own in distinct] == [8, 7, 8]
    run = RunContext()
    group = FrameGroup(torch.arange(3), 6 if jacobian else 8, jacobian)
    found = group_products(encoded, frames, distinct, group, torch.clone, run)
    assert_near(found, expected, 1e-13)
    assert run.finished(3).backward_passes == group.passes


def test_memory_is_bounded(model, monkeypatch):
    """With little room: the Jacobian of one frame at a time, of none, and heads again."""
    expected = row_by_row(model, clip(), 1)
    pixels = clip()[0, 0].numel()
    sizes = []
    jacobian = _vector_jacobian._jacobian

    def spied(encoded, leaf, run):
        found = jacobian(encoded, leaf, run)
        sizes.append(found.numel())
        return found

    monkeypatch.setattr(_vector_jacobian, "_jacobian", spied)
    method = TemporalGradient(model)
    whole = method.explain(clip(), 1)
    one = FEATURES * pixels
    for held, most in ((one + 1, one), (one - 1, None)):
        sizes.clear()
        monkeypatch.setattr(_vector_jacobian, "HELD", held)
        monkeypatch.setattr(_vector_jacobian, "TILE", 3 * pixels)
        found = method.explain(clip(), 1)
        assert max(sizes, default=None) == most
        assert_near(found.influence, expected, 1e-12)
    assert whole.run.backward_passes < found.run.backward_passes
    # Room for the gradients of all timesteps at five frames' features.
    monkeypatch.setattr(_framewise, "HELD", FRAMES * FEATURES * 5)
    parts = []
    groups = _framewise.distinct_vectors
    monkeypatch.setattr(
        _framewise,
        "distinct_vectors",
        lambda vectors: parts.append(vectors.shape[1]) or groups(vectors),
    )
    assert_near(method.explain(clip(), 1).influence, expected, 1e-12)
    assert parts == [5, 5, 2]


def test_an_encoder_that_fails_in_the_backward_pass_leaves_nothing_behind():
    model = recurrent()
    passes = []

    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            passes.append(1)
            if len(passes) == QUARTER:
                raise FloatingPointError("third pass")
            return gradient

    model.encoder.insert(0, nn.Identity())
    model.encoder[0].forward = Fails.apply
    before = {name: value.clone() for name, value in model.state_dict().items()}
    hooks = sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())
    clips = clip()
    copy = clips.clone()
    with pytest.raises(FloatingPointError, match="third pass"):
        TemporalGradient(model).explain(clips, 0)
    assert torch.equal(clips, copy)
    assert not clips.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in model.parameters())
    assert hooks == sum(len(m._forward_hooks) + len(m._backward_hooks) for m in model.modules())
    assert torch.is_grad_enabled()


def test_late_fusion_takes_no_jacobian():
    torch.manual_seed(2)
    model = LateFusion(nn.Sequential(encoder(), nn.Linear(FEATURES, CLASSES))).double().eval()
    found = TemporalGradient(model).explain(clip(), 0)
    assert (found.run.path, found.run.backward_passes) == ("whole", 2)
    assert_near(found.influence, row_by_row(model, clip(), 0), 1e-12)


def test_features_with_places_are_combined_too():
    """A convolution's maps as features: a Jacobian runs over all of their numbers."""
    torch.manual_seed(4)

    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(FRAMES, FRAMES)

        def forward(self, tokens):
            return torch.tanh(self.mix(tokens.transpose(1, 2)).transpose(1, 2))

    maps = nn.Sequential(nn.Conv2d(3, 1, 4, stride=4), nn.Tanh())
    length = math.prod(maps(torch.zeros(1, 3, 9, 8)).shape[1:])
    model = FrameTransformer(maps, Steps(), nn.Linear(length, CLASSES), "mean").double().eval()
    found = TemporalGradient(model).explain(clip(2), 1)
    assert "frame Jacobians" in found.run.path
    assert_near(found.influence, row_by_row(model, clip(2), 1), 1e-12)
