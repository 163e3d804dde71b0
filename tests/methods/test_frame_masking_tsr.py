"""Temporal saliency rescaling against its definition, and what it refuses."""

import numpy as np
import pytest
import torch
from captum.attr import GradientShap, NoiseTunnel, Occlusion, Saliency
from torch import nn

from temporal_attr import (
    LRP,
    Blocks,
    ClipError,
    FrameMaskingTSR,
    LateFusion,
    ModelError,
    OptionError,
    Superpixels,
    Supervoxels,
    TemporalGradient,
)
from temporal_attr.clips import IDENTITY
from temporal_attr.relevance import Box, Composite
from temporal_attr.zoo import build_model
from tests.helpers.families import CLASSES, vivid
from tests.references.tsr import time_relevance, two_steps

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

FRAMES, SIDE = 5, 8
# Sums over a few hundred values of float64, in another order.
EXACT = {"rtol": 1e-10, "atol": 0}


def clips(batch=1, dtype=torch.float64, frames=FRAMES):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, frames, 3, SIDE, SIDE, generator=generator).to(dtype)


class Twisted(nn.Module):
    """A small network of the whole clip that is smooth, so that its gradient changes with it."""

    def __init__(self):
        super().__init__()
        self.along = nn.Conv3d(3, 4, 3, padding=1)
        self.classify = nn.Linear(4, CLASSES)

    def forward(self, clip):
        return self.classify(torch.tanh(self.along(clip.transpose(1, 2))).mean((2, 3, 4)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return vivid(Twisted(), clips(4, torch.float32)).double()


@pytest.fixture(scope="module")
def recurrent_model():
    torch.manual_seed(0)
    return build_model("gru", CLASSES, widths=(4,)).double()


def gradient_of(model):
    return lambda clip, target: TemporalGradient(model).attribute(clip, target)


BASELINES = {
    "zero": 0.0,
    "value": 0.7,
    "mean": "mean",
    "neighbour": "neighbour",
    "tensor": torch.rand(FRAMES, 3, SIDE, SIDE, dtype=torch.float64),
}


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("window", [1, 2, 4])
def test_one_step_is_the_attribution_times_the_change_without_a_frame(name, window, model):
    baselines, batch = BASELINES[name], clips(2)
    tsr = FrameMaskingTSR(TemporalGradient(model), baselines=baselines, window=window)
    found = tsr.explain(batch, [1, 2])
    for example, target in enumerate([1, 2]):
        change = time_relevance(gradient_of(model), batch[example], target, baselines, window)
        np.testing.assert_allclose(found.time_relevance[example], change, **EXACT)
        base = TemporalGradient(model).attribute(batch[example : example + 1], target)[0]
        expected = base * torch.tensor(change, dtype=torch.float64)[:, None, None, None]
        np.testing.assert_allclose(found.attribution[example], expected, **EXACT)
    assert found.masks == 2 * (FRAMES - window + 1)


FEATURE_MASKS = {
    "pixels": None,
    "blocks": Blocks(4, 4),
    "blocks that do not divide": Blocks(3, 5),
    "mask": torch.arange(SIDE * SIDE).reshape(SIDE, SIDE) // 13,
    "superpixels": Superpixels(n_segments=6),
    "supervoxels": Supervoxels(n_segments=3),
}


def labels_of(feature_mask, clip):
    """The features of each frame, by their definition or by SLIC itself."""
    shape = (len(clip), SIDE, SIDE)
    if feature_mask is None:
        return torch.arange(SIDE * SIDE).reshape(SIDE, SIDE).expand(shape)
    if isinstance(feature_mask, torch.Tensor):
        return feature_mask.expand(shape)
    if isinstance(feature_mask, Blocks):
        high, wide = feature_mask.height, feature_mask.width
        grid = [[(row // high, column // wide) for column in range(SIDE)] for row in range(SIDE)]
        one = torch.tensor([[100 * down + across for down, across in line] for line in grid])
        return one.expand(shape)
    from skimage.segmentation import slic

    images = clip.clamp(0, 1).permute(0, 2, 3, 1).numpy()
    if isinstance(feature_mask, Supervoxels):
        return torch.from_numpy(slic(images, 3 * len(clip), channel_axis=-1, start_label=0))
    each = [slic(image, 6, channel_axis=-1, start_label=0) for image in images]
    return torch.from_numpy(np.stack(each))


@pytest.mark.parametrize("name", FEATURE_MASKS)
def test_two_steps_against_the_definition(name, model):
    feature_mask, batch = FEATURE_MASKS[name], clips(2, frames=3)
    tsr = FrameMaskingTSR(
        TemporalGradient(model), "two", feature_mask, quantile=0.5, normalization=IDENTITY
    )
    found = tsr.explain(batch, 1)
    for example in range(2):
        change = time_relevance(gradient_of(model), batch[example], 1, 0.0)
        kept = [value >= sorted(change)[1] for value in change]
        assert found.kept[example].tolist() == kept
        labels = labels_of(feature_mask, batch[example])
        expected = two_steps(gradient_of(model), batch[example], 1, 0.0, labels, kept, change)
        np.testing.assert_allclose(found.attribution[example], expected, **EXACT)


@pytest.mark.parametrize("name", ["mean", "neighbour", "tensor"])
def test_two_steps_with_any_baselines(name, recurrent_model):
    baselines, clip = BASELINES[name], clips()
    tsr = FrameMaskingTSR(
        TemporalGradient(recurrent_model), "two", Blocks(4, 4), baselines=baselines
    )
    change = time_relevance(gradient_of(recurrent_model), clip[0], 1, baselines)
    labels = labels_of(Blocks(4, 4), clip[0])
    kept = [True] * FRAMES
    attribute = gradient_of(recurrent_model)
    expected = two_steps(attribute, clip[0], 1, baselines, labels, kept, change)
    np.testing.assert_allclose(tsr.attribute(clip, 1)[0], expected, rtol=1e-8, atol=0)


def test_blur_keeps_a_flat_frame_and_flattens_noise(model):
    from temporal_attr.perturbations import baseline_of

    flat = torch.full((1, 2, 3, SIDE, SIDE), 0.3, dtype=torch.float64)
    torch.testing.assert_close(baseline_of(flat, "blur"), flat)
    noise = clips()
    assert baseline_of(noise, "blur").std() < 0.6 * noise.std()
    found = FrameMaskingTSR(TemporalGradient(model), baselines="blur").explain(flat, 1)
    # Where the baseline is what it replaces, nothing changes but rounding.
    assert found.time_relevance.max() < 1e-12


def test_normalized_as_the_authors_code_does(model):
    clip = clips(frames=3)
    plain = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4)).explain(clip, 1)
    scaled = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4), normalize=True).explain(
        clip, 1
    )
    change = plain.time_relevance[0]
    weights = (change - change.min()) / (change.max() - change.min())
    for frame in range(3):
        features = plain.attribution[0, frame, 0] / change[frame]
        unit = (features - features.min()) / (features.max() - features.min())
        np.testing.assert_allclose(
            scaled.attribution[0, frame, 0], unit * weights[frame], rtol=1e-8, atol=1e-12
        )


def test_frames_below_a_threshold_are_zero_and_their_features_are_not_tried(model):
    clip = clips()
    everything = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4)).explain(clip, 1)
    least = everything.time_relevance[0].sort().values[3].item()
    found = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(4, 4), threshold=least).explain(
        clip, 1
    )
    kept = everything.time_relevance >= least
    assert torch.equal(found.kept, kept)
    assert found.masks == FRAMES + 2 * 4
    expected = everything.attribution * kept[:, :, None, None, None]
    torch.testing.assert_close(found.attribution, expected, rtol=1e-12, atol=0)
    nothing = FrameMaskingTSR(TemporalGradient(model), threshold=1e9).explain(clip, 1)
    assert not nothing.attribution.any()
    assert "note: the threshold keeps no frame of clip(s) 0" in nothing.summary()


def test_the_time_contribution_is_the_drop_of_probability_and_of_being_right(model):
    batch = clips(3)
    with torch.no_grad():
        top = model(batch).argmax(1)
    found = FrameMaskingTSR(TemporalGradient(model)).explain(batch, top)
    for frame in range(FRAMES):
        masked = batch.clone()
        masked[:, frame] = 0
        with torch.no_grad():
            before, after = model(batch).softmax(1), model(masked).softmax(1)
        rows = torch.arange(3)
        np.testing.assert_allclose(
            found.time_contribution[:, frame], before[rows, top] - after[rows, top], atol=1e-14
        )
        lost = (after.argmax(1) != top).double()
        np.testing.assert_array_equal(found.accuracy_contribution[:, frame], lost)


@pytest.mark.parametrize("name", ["saliency", "lrp", "occlusion"])
def test_any_method_can_be_rescaled(name, recurrent_model):
    windows = {"sliding_window_shapes": (1, 3, 4, 4), "strides": (1, 3, 4, 4)}
    wide = Composite(input=Box(low=-9.0, high=9.0))
    method, options = {
        "saliency": (Saliency(recurrent_model), {}),
        "lrp": (LRP(recurrent_model, wide), {}),
        "occlusion": (Occlusion(recurrent_model), windows),
    }[name]
    clip = clips()
    found = FrameMaskingTSR(method, method_arguments=options).explain(clip, 1)

    def attribute(clip, target):
        return method.attribute(clip.clone().requires_grad_(), target=target, **options).detach()

    change = time_relevance(attribute, clip[0], 1, 0.0)
    # Captum's Occlusion adds up in single precision.
    tolerance = 1e-6 if name == "occlusion" else 1e-8
    np.testing.assert_allclose(found.time_relevance[0], change, rtol=tolerance, atol=0)


def test_a_method_with_noise_needs_a_seed(model):
    base = torch.zeros(4, FRAMES, 3, SIDE, SIDE, dtype=torch.float64)
    options = {"baselines": base, "n_samples": 3, "stdevs": 0.3}
    with pytest.raises(ModelError, match="Gradient Shap, which draws random .*seed=0"):
        FrameMaskingTSR(GradientShap(model), method_arguments=options).attribute(clips(), 1)
    seeded = FrameMaskingTSR(GradientShap(model), seed=3, method_arguments=options)
    state = torch.get_rng_state()
    found = seeded.attribute(clips(2), 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found, seeded.attribute(clips(2), 1))
    alone = seeded.attribute(clips(2)[1:], 1)
    torch.testing.assert_close(found[1:], alone, rtol=1e-12, atol=0)


def test_noise_tunnel_around_it(model):
    torch.manual_seed(0)
    tsr = FrameMaskingTSR(TemporalGradient(model))
    found = NoiseTunnel(tsr).attribute(clips(), target=1, nt_samples=3, stdevs=0.1)
    assert found.shape == clips().shape
    assert not torch.allclose(found, tsr.attribute(clips(), 1))


def test_arguments_of_the_model_belong_to_the_whole_batch(model):
    weight = torch.tensor([0.5, 2.0], dtype=torch.float64)

    def weighted(clip, weight):
        return model(clip * weight[:, None, None, None, None])

    batch = clips(2)
    found = FrameMaskingTSR(Saliency(weighted)).attribute(batch, 1, additional_forward_args=weight)
    for example in range(2):
        alone = FrameMaskingTSR(
            Saliency(lambda clip, w=weight[example]: model(clip * w))
        ).attribute(batch[example : example + 1], 1)
        torch.testing.assert_close(found[example : example + 1], alone, rtol=1e-10, atol=0)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"steps": "three"}, OptionError, 'steps to be "one" or "two", got \'three\''),
        (
            {"steps": "one", "feature_mask": Blocks(4, 4)},
            OptionError,
            'a feature_mask with steps="two", got steps="one"',
        ),
        ({"window": 0}, OptionError, "window a whole number at least 1, got 0"),
        ({"baselines": "black"}, OptionError, "baselines to be a number, .* got 'black'"),
        ({"baselines": float("nan")}, OptionError, "baselines to be a finite number, got nan"),
        (
            {"baselines": torch.full((8, 8), torch.inf)},
            ClipError,
            "finite baselines, got 64 of 64 values",
        ),
        ({"threshold": 1.0, "quantile": 0.5}, OptionError, "a threshold or a quantile"),
        ({"threshold": -1.0}, OptionError, "threshold at least 0, got -1"),
        ({"quantile": 1.5}, OptionError, "quantile from 0 to 1, got 1.5"),
        ({"feature_mask": "pixel"}, OptionError, "feature_mask to be Pixels.*, got 'pixel'"),
        ({"feature_mask": Superpixels()}, ModelError, "a normalization, as Superpixels are found"),
        ({"feature_mask": Supervoxels()}, ModelError, "a normalization, as Supervoxels are found"),
        ({"feature_mask": torch.zeros(8, 8)}, ClipError, "a feature mask of whole numbers"),
        ({"feature_mask": 2 * torch.eye(8).long()}, ClipError, "without gaps, got 2 numbers"),
        (
            {"feature_mask": torch.zeros(1, 5, 3, 8, 8).long()},
            ClipError,
            r"a feature mask with one channel, got shape \(1, 5, 3, 8, 8\)",
        ),
        (
            {"perturbations_per_eval": 0},
            OptionError,
            "perturbations_per_eval a whole number at least 1",
        ),
        ({"seed": -1}, OptionError, "seed a whole number from 0 to 4294967295"),
    ],
)
def test_what_is_refused_before_any_clip(options, error, text, model):
    with pytest.raises(error, match=text):
        FrameMaskingTSR(Saliency(model), **{"steps": "two", **options})


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Blocks(0, 4), "a block's height a whole number at least 1, got 0"),
        (lambda: Blocks(4, 2.5), "width to be a whole number, got 2.5"),
        (lambda: Superpixels(0), "n_segments a whole number at least 1"),
        (lambda: Supervoxels(n_segments=-1), "n_segments a whole number at least 1"),
    ],
)
def test_features_of_no_size_are_refused(make, text):
    with pytest.raises(OptionError, match=text):
        make()


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"window": 6}, ClipError, "a clip of at least the 6 frames of the window, got 5"),
        (
            {"window": 5, "baselines": "neighbour"},
            ClipError,
            "the 5 frames of the window and a neighbour, got 5",
        ),
        (
            {"baselines": torch.zeros(4, 4)},
            ClipError,
            r"that fit \(1, 5, 3, 8, 8\), got shape \(4, 4\)",
        ),
        (
            {"feature_mask": Blocks(9, 4)},
            OptionError,
            "a block's height a whole number from 1 to 8, got 9",
        ),
        ({"feature_mask": torch.zeros(4, 4).long()}, ClipError, "a feature mask that fits"),
    ],
)
def test_what_does_not_fit_the_clip_is_refused(options, error, text, model):
    tsr = FrameMaskingTSR(Saliency(model), **{"steps": "two", **options})
    with pytest.raises(error, match=text):
        tsr.attribute(clips(), 1)


def test_a_model_stands_for_its_gradient(model):
    found = FrameMaskingTSR(model).attribute(clips(), 1)
    assert torch.equal(found, FrameMaskingTSR(TemporalGradient(model)).attribute(clips(), 1))


@pytest.mark.usefixtures("as_user")
def test_what_cannot_be_rescaled(model):
    with pytest.raises(ModelError, match="a model or an attribution method, got int. Pass a model"):
        FrameMaskingTSR(3)

    class Frames(Saliency):
        def attribute(self, inputs, target=None):
            return inputs.sum((2, 3, 4))

    with pytest.raises(ModelError, match=r"shaped like the clips, \(1, 5, 3, 8, 8\), got \(1, 5\)"):
        FrameMaskingTSR(Frames(model)).attribute(clips(), 1)


def test_late_fusion_changes_in_the_masked_frame_only():
    torch.manual_seed(0)
    frame = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    model = LateFusion(frame.eval()).double()
    clip = clips()
    found = FrameMaskingTSR(TemporalGradient(model)).explain(clip, 1)
    base = TemporalGradient(model).attribute(clip, 1)
    empty = TemporalGradient(model).attribute(torch.zeros_like(clip), 1)
    expected = (base - empty).abs().sum((2, 3, 4))
    torch.testing.assert_close(found.time_relevance, expected, rtol=1e-12, atol=0)


class Faint(nn.Module):
    """Quadratic in the clip; half precision can tell its gradient, and not the square of that."""

    def __init__(self, scale=2.0**-16):
        super().__init__()
        self.scale = scale
        self.mix = nn.Parameter(torch.tensor([1.0, 0.5, 0.25]))

    def forward(self, clip):
        seen = (clip * self.mix[:, None, None].to(clip.dtype)).cumsum(1)
        score = (seen * clip * self.scale).sum((1, 2, 3, 4))
        return torch.stack([score, -score], 1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(("steps", "features"), [("one", None), ("two", Blocks(4, 4))])
def test_half_precision_does_not_underflow(dtype, steps, features):
    model, clip = Faint().eval(), clips(2, torch.float32).to(dtype)
    exact = FrameMaskingTSR(model, steps, features).explain(clip.float(), 0)
    found = FrameMaskingTSR(model.to(dtype), steps, features).explain(clip, 0)
    # What is made of differences is in single precision.
    made = ("attribution", "time_relevance", "time_contribution")
    assert {getattr(found, name).dtype for name in made} == {torch.float32}
    assert found.base.dtype is dtype
    if steps == "one":
        # Only what was 0 before it was rescaled.
        assert torch.equal(found.attribution == 0, found.base == 0)
    if dtype is torch.float16 and steps == "one":
        # Products so small are 0 in float16, or denormal.
        small = exact.attribution.abs() < torch.finfo(dtype).tiny
        assert small.float().mean() > 0.3
    # R itself is rounded to so many digits, and twice in a product.
    size = exact.attribution.abs().amax()
    error = (found.attribution - exact.attribution).abs().amax() / size
    assert error < 20 * torch.finfo(dtype).eps
    relevance = (found.time_relevance / exact.time_relevance - 1).abs().amax()
    assert relevance < 20 * torch.finfo(dtype).eps
