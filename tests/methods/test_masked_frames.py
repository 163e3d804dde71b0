"""Masks by frame on a framewise model: the numbers of masked clips, and what that costs."""

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, Saliency
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from temporal_attr import Blocks, FrameMaskingTSR, LateFusion, ModelError, TemporalGradient
from temporal_attr._run import RunContext
from temporal_attr.attributions.frame_masking_tsr import _by_frame
from temporal_attr.attributions.frame_masking_tsr._frame_gradient import FrameGradient
from temporal_attr.attributions.frame_masking_tsr._unmasked_frames import (
    UnmaskedFrame,
    frame_changes,
)
from temporal_attr.gradients import is_out_of_memory, logit
from tests.helpers.families import CLASSES, family, image_encoder

# Checks of shapes in every small function would take as long as the functions again.
pytestmark = pytest.mark.usefixtures("as_user")

FRAMEWISE = (
    "late_fusion_mean",
    "late_fusion_last",
    "late_fusion_max",
    "late_fusion_module",
    "lstm_last",
    "lstm_two_layers",
    "lstm_time_first",
    "gru_bidirectional",
    "rnn_last",
    "step_mean",
    "step_own_readout",
    "zoo_input_cell_attention",
)
# What is promised of each sum by frame.
PROMISED = {torch.float32: 1e-4, torch.float64: 1e-9}


def model_of(name, dtype=torch.float64):
    torch.manual_seed(0)
    return family(name).build()[0].to(dtype)


def clips_of(name, dtype=torch.float64):
    return family(name).clip(dtype)


def whole_clips(model):
    """The same model as a function of clips, of which nothing else is known."""

    def of_clips(clip):
        return model(clip)

    return of_clips


def both(make, model, clip, target=(1, 2), **options):
    """What is found by frame, and by clip."""
    quick = FrameMaskingTSR(make(model), **options).explain(clip, list(target[: len(clip)]))
    slow = FrameMaskingTSR(make(whole_clips(model)), **options).explain(
        clip, list(target[: len(clip)])
    )
    assert "by frame" in quick.run.path
    assert "by clip" not in quick.run.path
    assert slow.run.path.split(", then ")[-1] == "by clip"
    assert "by frame" not in slow.run.path
    return quick, slow


def require_equal(quick, slow):
    """Every sum, and what is made of them."""
    # A sum over nothing but rounding (a model that does not read a frame) is told to rounding only.
    tolerance = PROMISED[slow.attribution.dtype]
    largest = slow.time_relevance.max().item()
    floor = 1e-6 * tolerance * largest
    np.testing.assert_allclose(
        quick.time_relevance, slow.time_relevance, rtol=tolerance, atol=floor
    )
    np.testing.assert_allclose(
        quick.time_contribution, slow.time_contribution, atol=0.1 * tolerance
    )
    assert quick.masks == slow.masks
    assert torch.equal(quick.kept, slow.kept)
    np.testing.assert_allclose(
        quick.attribution, slow.attribution, rtol=2 * tolerance, atol=floor * largest
    )


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *((name, torch.float64) for name in FRAMEWISE),
        *((name, torch.float32) for name in ("late_fusion_max", "lstm_two_layers", "step_mean")),
    ],
)
def test_the_numbers_are_those_of_masked_clips(name, dtype):
    model = model_of(name, dtype)
    found = both(
        TemporalGradient, model, clips_of(name, dtype), steps="two", feature_mask=Blocks(8, 4)
    )
    require_equal(*found)
    assert found[0].attribution.count_nonzero() > 0


METHODS_OF_GRADIENTS = {
    "probability": lambda model: TemporalGradient(model, "probability"),
    "loss": lambda model: TemporalGradient(model, "loss"),
    "own objective": lambda model: TemporalGradient(model, lambda out, _: out.square().sum(1)),
    "saliency": Saliency,
    "input times gradient": InputXGradient,
}


@pytest.mark.parametrize("steps", ["one", "two"])
@pytest.mark.parametrize("method", METHODS_OF_GRADIENTS)
def test_every_gradient_that_is_made_frame_by_frame(method, steps):
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    options = {"feature_mask": Blocks(4, 4)} if steps == "two" else {}
    require_equal(*both(METHODS_OF_GRADIENTS[method], model, clip, steps=steps, **options))


def test_saliency_with_its_sign():
    model, clip = model_of("gru_bidirectional"), clips_of("gru_bidirectional")
    options = {"method_arguments": {"abs": False}, "steps": "two", "feature_mask": Blocks(8, 8)}
    signed, slow = both(Saliency, model, clip, **options)
    require_equal(signed, slow)
    sizes = FrameMaskingTSR(Saliency(model)).explain(clip, [1, 2])
    assert (sizes.time_relevance < signed.time_relevance).all()


@pytest.mark.parametrize("baselines", [0.7, "mean", "blur", "neighbour"])
@pytest.mark.parametrize("window", [1, 3])
def test_any_baselines_and_windows(baselines, window):
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    options = {
        "baselines": baselines,
        "window": window,
        "steps": "two",
        "feature_mask": Blocks(8, 8),
    }
    require_equal(*both(InputXGradient, model, clip, **options))


def test_masks_and_kept_frames_and_scaling():
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    parts = torch.arange(256).reshape(16, 16) // 37
    quick, slow = both(
        TemporalGradient,
        model,
        clip,
        steps="two",
        feature_mask=parts,
        quantile=0.55,
        normalize=True,
    )
    assert torch.equal(quick.kept, slow.kept)
    assert quick.kept.sum() == 6
    assert quick.masks == slow.masks == 2 * 6 + 6 * 7
    np.testing.assert_allclose(quick.attribution, slow.attribution, rtol=1e-7, atol=1e-12)


@pytest.mark.usefixtures("without_trials")
def test_directions_serve_many_masks_and_the_run_says_so():
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    counted = CountedEncode(model)
    with counted:
        result = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(2, 2)).explain(clip, [1, 2])
    assert result.run.path == "whole, then by frame, then by frame, combined directions"
    # Encoded are: all frames for the logits, for R(X) twice, once for the features with one of
    # them again for what it takes, and once to see that they lead to R(X); masked frames, once; and
    # for each frame as many copies as there are products at a time, 5 and then 16.
    frames, masked = 2 * 6, 2 * 6 * 65
    assert counted.frames == 5 * frames + 1 + masked + frames * (5 + 16)
    plain = FrameMaskingTSR(TemporalGradient(model)).explain(clip, [1, 2])
    assert plain.run.path == "whole, then by frame"


class CountedEncode:
    """Counts the frames that a model encodes, and the most at a time."""

    def __init__(self, model, refuse_from=10**9):
        self.model, self.sizes, self.refuse_from = model, [], refuse_from

    @property
    def frames(self):
        return sum(self.sizes)

    def __enter__(self):
        encode = type(self.model).encode

        def counted(frames):
            self.sizes.append(len(frames))
            if len(frames) >= self.refuse_from:
                raise MemoryError(f"no room for {len(frames)} frames")
            return encode(self.model, frames)

        self.model.encode = counted
        return self

    def __exit__(self, *_):
        del self.model.encode


def test_no_more_frames_at_a_time_than_asked_for_and_the_same_numbers(monkeypatch):
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    whole = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4)).attribute(clip, 1)
    method = TemporalGradient(model, memory="framewise", chunk_size=3)
    # Room for a few masks at a time only, each group with products of its own.
    monkeypatch.setattr(_by_frame, "HELD", 6 * 24 * 7)
    with CountedEncode(model) as counted:
        tsr = FrameMaskingTSR(method, "two", Blocks(4, 4), perturbations_per_eval=3)
        found = tsr.attribute(clip, 1)
    # The logits are those of whole clips, and at least one goes at a time.
    assert [size for size in counted.sizes if size > 3] == [6, 6]
    np.testing.assert_allclose(found, whole, rtol=1e-8)


def test_chunks_shrink_where_memory_is_short():
    model, clip = model_of("lstm_last"), clips_of("lstm_last")[:1]
    whole = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4)).attribute(clip, 1)
    with CountedEncode(model, refuse_from=7):
        found = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4)).attribute(clip, 1)
        fixed = FrameMaskingTSR(
            TemporalGradient(model), "two", Blocks(4, 4), perturbations_per_eval=8
        )
        with pytest.raises(MemoryError, match="no room for 8 frames"):
            fixed.attribute(clip, 1)
    np.testing.assert_allclose(found, whole, rtol=1e-8)


class Normed(nn.Module):
    """An encoder that does not see the length of its features: a gradient along them is lost."""

    def __init__(self):
        super().__init__()
        self.look = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.Tanh())

    def forward(self, frames):
        features = self.look(frames)
        return 100 * features / features.norm(dim=1, keepdim=True)


class Lengths(nn.Module):
    """Pools by how long features are, so that most of its gradient lies along them."""

    def forward(self, features):
        long = features.square().sum(2, keepdim=True)
        return ((1 + 0.01 * long.tanh()) * features).cumsum(1).tanh().mean(1) + long.mean(1)


def test_where_gradients_cancel_in_the_encoder():
    torch.manual_seed(0)
    model = LateFusion(Normed().double(), nn.Linear(6, CLASSES).double(), Lengths()).eval()
    clip = torch.randn(1, 4, 3, 8, 8, dtype=torch.float64)
    require_equal(*both(TemporalGradient, model, clip, steps="two", feature_mask=Blocks(1, 1)))


def test_directions_of_very_different_gain():
    """Directions that masks hardly have may count a million times as much as those they have."""
    torch.manual_seed(0)
    uneven = nn.Linear(12, 12, bias=False).double()
    with torch.no_grad():
        rotation, _ = torch.linalg.qr(torch.randn(12, 12, dtype=torch.float64))
        uneven.weight.copy_(torch.diag(10.0 ** torch.linspace(-4, 4, 12).double()) @ rotation)
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh()
    ).double()
    head = nn.Sequential(nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, CLASSES)).double()

    class Mixed(nn.Module):
        def forward(self, features):
            return (features.cumsum(1) * 1e-4).tanh().mean(1)

    model = LateFusion(nn.Sequential(encoder, uneven), head, Mixed()).eval()
    clip = torch.randn(1, 4, 3, 8, 8, dtype=torch.float64)
    require_equal(*both(TemporalGradient, model, clip, steps="two", feature_mask=Blocks(1, 1)))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    features=st.integers(1, 6),
    rows=st.integers(1, 40),
    rank=st.integers(1, 6),
    absolute=st.booleans(),
    alone=st.booleans(),
    held=st.sampled_from([0, 2**20]),
)
def test_sums_are_those_of_products(seed, features, rows, rank, absolute, alone, held):
    random = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    encoder = nn.Sequential(nn.Conv2d(3, features, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1))
    model = LateFusion(nn.Sequential(encoder, nn.Flatten()).double(), nn.Linear(features, 2)).eval()
    frame = torch.randn(3, 9, 9, generator=random, dtype=torch.float64)
    base = torch.randn(features, generator=random, dtype=torch.float64)
    mixture = torch.randn(rows, rank, generator=random, dtype=torch.float64)
    vectors = mixture @ torch.randn(rank, features, generator=random, dtype=torch.float64)
    if alone:
        # One that has a direction to itself, and hardly any of it.
        vectors[-1] = 1e-7 * torch.randn(features, generator=random, dtype=torch.float64)
    gradient = FrameGradient(model, logit, absolute=absolute)
    jacobian = torch.autograd.functional.jacobian(
        lambda pixels: model.encode(pixels[None])[0], frame
    ).flatten(1)
    expected = (vectors @ jacobian).abs().sum(1)
    if absolute:
        before = base @ jacobian
        expected = ((before + vectors @ jacobian).abs() - before.abs()).abs().sum(1)
    given = UnmaskedFrame(gradient, frame, base, flops=10**7, at_a_time=4, held=held)
    found = frame_changes(given, vectors, torch.zeros(rows, dtype=torch.float64), RunContext())
    # The size of a sum of two differs from the first's by rounding of either.
    floor = 1e-12 * (base @ jacobian).abs().sum() if absolute else 0
    np.testing.assert_allclose(found.sums, expected, rtol=1e-10, atol=float(floor))
    if rows > features and held:
        assert min(features, rank) <= found.directions <= features
    else:
        assert found.directions == 0


def test_a_mask_that_is_alone_in_a_direction_of_large_gain():
    """One detector looks at one pixel, which is in one mask; all else hardly counts."""
    torch.manual_seed(0)

    class Detector(nn.Module):
        def forward(self, frames):
            brightness = frames.mean((1, 2, 3)) * 1e-3
            return torch.stack([brightness, brightness**2, 1e3 * frames[:, 0, 3, 5].tanh()], 1)

    class Products(nn.Module):
        def forward(self, features):
            return features.mean(1) + features.mean(1).square() + 0.1 * features.square().mean(1)

    model = LateFusion(Detector(), nn.Linear(3, CLASSES), Products()).double().eval()
    clip = torch.randn(1, 4, 3, 12, 12, dtype=torch.float64)
    options = {"steps": "two", "feature_mask": Blocks(1, 1)}
    for size in (1, None):
        require_equal(*both(TemporalGradient, model, clip, perturbations_per_eval=size, **options))


def test_small_effects_on_many_frames_add_up():
    """Each of the others changes by next to nothing, and all together count."""
    torch.manual_seed(0)

    class Weak(nn.Module):
        def forward(self, features):
            own = (features + features.square()).mean(1)
            return own + 2e-3 * features.mean(1).square()

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Tanh())
    model = LateFusion(encoder, nn.Linear(3, CLASSES), Weak()).double().eval()
    clip = torch.randn(1, 48, 3, 8, 8, dtype=torch.float64)
    require_equal(
        *both(
            TemporalGradient,
            model,
            clip,
            perturbations_per_eval=1,
            steps="two",
            feature_mask=Blocks(4, 4),
        )
    )


class Positioned(LateFusion):
    """Adds something to its features that is neither in its encoder nor in its head."""

    def features(self, clip, run=lambda stage, x: stage(x)):
        found = super().features(clip, run)
        return found + torch.arange(found.shape[1])[:, None] / 4


def softened(*given):
    return given[-1].softmax(1)


def guided(module, slopes, above):
    return (slopes[0].clamp(min=0),)


def clamped_features(*given):
    found = given[-1]
    if found.requires_grad:
        found.register_hook(lambda slope: slope.clamp(-0.01, 0.01))
    return found


def hooked(kind):
    torch.manual_seed(0)
    encoder = image_encoder()
    if kind == "features of its own":
        return Positioned(encoder, nn.Linear(24, CLASSES), lambda x: x.square().mean(1)).eval()
    squares = LateFusion(encoder, nn.Linear(24, CLASSES), lambda x: x.mean(1).square()).eval()
    if kind == "hook on the clip":
        squares.register_forward_pre_hook(lambda _, given: (given[0] ** 2,))
    elif kind == "hook on the logits":
        squares.register_forward_hook(softened)
    elif kind == "guided backpropagation":
        encoder[4].register_full_backward_hook(guided)
    elif kind == "hook on a gradient":
        encoder.register_forward_hook(clamped_features)
    return squares


@pytest.mark.parametrize(
    "kind",
    [
        "features of its own",
        "hook on the clip",
        "hook on the logits",
        "guided backpropagation",
        "hook on a gradient",
    ],
)
def test_what_is_not_encoder_and_head_sees_masked_clips(kind):
    model = hooked(kind).double()
    clip = torch.randn(1, 4, 3, 16, 16, dtype=torch.float64)
    found = FrameMaskingTSR(TemporalGradient(model)).explain(clip, 1)
    assert found.run.path == "whole, then by clip"
    slow = FrameMaskingTSR(TemporalGradient(whole_clips(model))).explain(clip, 1)
    assert torch.equal(found.time_relevance, slow.time_relevance)


def test_a_seed_reaches_the_models_own_random_numbers():
    class Dropping(nn.Module):
        def forward(self, features):
            return nn.functional.dropout(features, 0.5, True).square().mean(1)

    torch.manual_seed(0)
    model = LateFusion(image_encoder(), nn.Linear(24, CLASSES), Dropping()).eval()
    clip = torch.randn(1, 4, 3, 16, 16)
    with pytest.raises(ModelError, match="draws random numbers"):
        FrameMaskingTSR(Saliency(model)).attribute(clip, 1)
    tsr = FrameMaskingTSR(Saliency(model), seed=0)
    state = torch.get_rng_state()
    assert torch.equal(tsr.attribute(clip, 1), tsr.attribute(clip, 1))
    assert torch.equal(torch.get_rng_state(), state)


def test_features_that_are_one_number_a_frame():
    class Brightness(nn.Module):
        def forward(self, frames):
            return frames.square().mean((1, 2, 3))

    class Weighted(nn.Module):
        def forward(self, features):
            return (features * torch.arange(features.shape[1]).sin()).tanh().cumsum(1)[:, -5:]

    model = LateFusion(Brightness(), nn.Linear(5, CLASSES), Weighted()).double().eval()
    clip = torch.randn(2, 6, 3, 8, 8, dtype=torch.float64)
    require_equal(*both(TemporalGradient, model, clip, steps="two", feature_mask=Blocks(4, 4)))


def test_a_run_that_is_stopped_raises_or_keeps_what_is_done(monkeypatch):
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    monkeypatch.setattr(_by_frame, "HELD", 6 * 24)  # 16 masks at a time, those of one frame
    options = {"feature_mask": Blocks(4, 4), "perturbations_per_eval": 16}
    tsr = FrameMaskingTSR(TemporalGradient(model), "two", **options)
    whole = tsr.explain(clip, [1, 2])
    group_effects = _by_frame.group_effects

    def stopping(encoded, query, start, *rest):
        if query.masks[0].labels is not None and start >= 48:
            raise KeyboardInterrupt
        return group_effects(encoded, query, start, *rest)

    monkeypatch.setattr(_by_frame, "group_effects", stopping)
    with pytest.raises(KeyboardInterrupt):
        tsr.explain(clip, [1, 2])
    kept = tsr.explain(clip, [1, 2], on_stop="keep")
    assert not kept.complete
    assert whole.complete
    assert kept.masks == 12 + 48
    assert "note: stopped after 60 of 204 masked clips; frames not done are 0" in kept.summary()
    # The three frames that matter most, of both clips.
    order = whole.time_relevance.flatten().argsort(descending=True)[:3]
    expected = torch.zeros(12, dtype=torch.bool)
    expected[order] = True
    assert torch.equal(kept.kept.flatten(), expected)
    chosen = kept.kept[:, :, None, None, None]
    np.testing.assert_allclose(kept.attribution, whole.attribution * chosen, rtol=1e-8)
    assert torch.equal(kept.time_relevance, whole.time_relevance)


def test_methods_that_are_no_gradient_of_frames_see_masked_clips():
    model, clip = model_of("lstm_last", torch.float32), clips_of("lstm_last", torch.float32)

    class Twice(Saliency):
        def attribute(self, inputs, target=None):
            return 2 * super().attribute(inputs, target)

    for method in (
        IntegratedGradients(model),
        Twice(model),
        TemporalGradient(model, memory="half"),
    ):
        found = FrameMaskingTSR(method).explain(clip, 1)
        assert found.run.path.split(", then ")[-1] == "by clip"
    quick = FrameMaskingTSR(Saliency(model)).explain(clip, 1)
    twice = FrameMaskingTSR(Twice(model)).explain(clip, 1)
    np.testing.assert_allclose(twice.time_relevance, 2 * quick.time_relevance, rtol=1e-4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_the_callers_graph_and_in_place(mode):
    torch.manual_seed(0)

    class InPlace(nn.Module):
        def forward(self, features):
            return features.mul_(0.5).tanh_().mean(1)

    model = LateFusion(image_encoder(), nn.Linear(24, CLASSES), InPlace()).eval()
    clip = torch.randn(1, 4, 3, 16, 16)
    before = clip.clone()
    expected = FrameMaskingTSR(Saliency(model), "two", Blocks(8, 8)).attribute(clip, 1)
    with mode():
        found = FrameMaskingTSR(Saliency(model), "two", Blocks(8, 8)).attribute(clip.clone(), 1)
    assert torch.equal(found, expected)
    assert torch.equal(clip, before)


def test_only_memory_makes_chunks_shrink():
    model, clip = model_of("lstm_last"), clips_of("lstm_last")
    broken = RuntimeError("something else")
    assert not is_out_of_memory(broken)
    encode = type(model).encode

    def failing(frames):
        if len(frames) > 13:
            raise broken
        return encode(model, frames)

    model.encode = failing
    with pytest.raises(RuntimeError, match="something else"):
        FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4)).attribute(clip, 1)


def test_an_attribution_that_is_not_finite_is_refused():
    class Infinite(nn.Module):
        def forward(self, frames):
            # The slope of the root is infinite at 0, where masked pixels are.
            return frames.flatten(1).abs().sqrt()[:, :24]

    model = LateFusion(Infinite(), nn.Linear(24, CLASSES)).eval()
    with pytest.raises(ModelError, match="a finite attribution, got .* NaN or infinite"):
        FrameMaskingTSR(TemporalGradient(model)).attribute(torch.rand(1, 3, 3, 8, 8), 1)
