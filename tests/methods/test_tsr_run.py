"""What a run of temporal saliency rescaling says of itself: passes, chunks, paths, precision."""

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from torch import nn

from temporal_attr import (
    Blocks,
    FrameMaskingTSR,
    HalfPrecisionWarning,
    LateFusion,
    TemporalGradient,
)
from temporal_attr.zoo import build_model
from tests.helpers.families import CLASSES, image_encoder

pytestmark = pytest.mark.usefixtures("without_trials")

FRAMES, SIDE, BATCH = 6, 16, 2
EVERY = BATCH * FRAMES
TWO = {"steps": "two", "feature_mask": Blocks(8, 8)}
MASKS = {"one": BATCH * FRAMES, "two": BATCH * FRAMES * 5}


class Curved(nn.Module):
    """Pools so that the gradient of every frame depends on all frames."""

    def forward(self, features):
        return features.mean(1).square()


def framewise(dtype=torch.float64):
    torch.manual_seed(0)
    return LateFusion(image_encoder(), nn.Linear(24, CLASSES), Curved()).eval().to(dtype)


def clips(dtype=torch.float64):
    random = torch.Generator().manual_seed(7)
    return torch.randn(BATCH, FRAMES, 3, SIDE, SIDE, generator=random).to(dtype)


def is_masked(clip):
    """Which frames, wherever they stand, are masked: 0 somewhere in all channels."""
    return (clip == 0).all(-3).flatten(-2).any(-1)


class Watched:
    """Counts frames that go through an encoder, forward and back, and may run out of memory.

    Args:
        model: Its `encode` is watched until the end of a `with`.
        most: Frames that there is room for.
        masked: Whether room is short only where one of the frames is masked.
    """

    def __init__(self, model, most=None, masked=False):
        self.model, self.most, self.masked = model, most, masked
        self.forward = self.backward = 0

    def __enter__(self):
        encode = type(self.model).encode

        def watched(frames):
            short = self.most is not None and len(frames) > self.most
            if short and (not self.masked or is_masked(frames).any()):
                raise torch.OutOfMemoryError(f"no room for {len(frames)} frames")
            self.forward += len(frames)
            features = encode(self.model, frames)
            if features.requires_grad:
                features.register_hook(lambda _: self.count_back(len(frames)))
            return features

        self.model.encode = watched
        return self

    def count_back(self, frames):
        self.backward += frames

    def __exit__(self, *_):
        del self.model.encode

    def require_counted(self, run):
        assert run.forward_passes * EVERY == pytest.approx(self.forward)
        assert run.backward_passes * EVERY == pytest.approx(self.backward)


class Gradient(TemporalGradient):
    """The same, but not known to be so: its masks are applied by clip."""


METHODS = {
    "gradient": TemporalGradient,
    "gradient by clip": Gradient,
    "saliency": Saliency,
    "input times steps": IntegratedGradients,
}


@pytest.mark.parametrize("steps", ["one", "two"])
@pytest.mark.parametrize("name", METHODS)
def test_every_frame_that_is_encoded_is_counted(name, steps):
    model, clip = framewise(), clips()
    options = {"method_arguments": {"n_steps": 3}} if name == "input times steps" else {}
    tsr = FrameMaskingTSR(METHODS[name](model), **(TWO if steps == "two" else {}), **options)
    with Watched(model) as watched:
        run = tsr.explain(clip, [1, 2]).run
    watched.require_counted(run)
    by_frame = name in ("gradient", "saliency")
    assert ("by frame" in run.path) == by_frame
    assert ("by clip" in run.path) != by_frame


@pytest.mark.parametrize("combined", [False, True])
def test_products_of_combined_directions_are_counted(combined):
    torch.manual_seed(0)
    model = build_model("lstm", CLASSES, widths=(4, 8), hidden=8).double()
    options = {"steps": "two", "feature_mask": Blocks(2, 2)} if combined else {}
    tsr = FrameMaskingTSR(TemporalGradient(model), **options)
    with Watched(model) as watched:
        run = tsr.explain(clips(), [1, 2]).run
    watched.require_counted(run)
    assert ("combined" in run.path) == combined


@pytest.mark.parametrize("steps", ["one", "two"])
def test_passes_by_clip_in_closed_form(steps):
    model = framewise()
    tsr = FrameMaskingTSR(Gradient(model), **(TWO if steps == "two" else {}))
    run = tsr.explain(clips(), [1, 2]).run
    # A masked clip is one of a batch of two; the logits, R(X) twice, and each masked clip, in the
    # first step with its logits.
    attributions = 2 + MASKS[steps] / BATCH
    assert run.forward_passes == pytest.approx(1 + attributions + FRAMES)
    assert run.backward_passes == pytest.approx(attributions)


def test_passes_by_frame_in_closed_form():
    run = FrameMaskingTSR(TemporalGradient(framewise())).explain(clips(), [1, 2]).run
    # The logits, R(X) twice, the features and one frame again for its cost, all frames to see that
    # they lead to R(X), masked frames, and every frame with products for masks of the other five.
    assert run.forward_passes == pytest.approx(1 + 2 + 1 + 1 / EVERY + 1 + 1 + 5)
    # R(X) twice, three products of all frames, masked frames, and those of the others.
    assert run.backward_passes == pytest.approx(2 + 3 + 1 + 5)


def test_the_attribution_alone_takes_no_pass_more_than_it_needs():
    model, clip = framewise(), clips()
    tsr = FrameMaskingTSR(Gradient(model))
    with Watched(model) as watched:
        attribution = tsr.attribute(clip, [1, 2])
    # The logits of masked clips are not asked for.
    assert watched.forward == EVERY * (1 + 2 + FRAMES)
    assert torch.equal(attribution, tsr.explain(clip, [1, 2]).attribution)


def test_the_attribution_alone_looks_for_no_keyframes(monkeypatch):
    from temporal_attr.attributions.frame_masking_tsr import _notes

    def refused(*_):
        raise AssertionError("keyframes are no part of an attribution")

    monkeypatch.setattr(_notes, "keyframes", refused)
    torch.manual_seed(0)
    tsr = FrameMaskingTSR(build_model("late-fusion", CLASSES, widths=(4,)))
    tsr.attribute(clips(torch.float32), 1)
    with pytest.raises(AssertionError, match="keyframes"):
        tsr.explain(clips(torch.float32), 1)


def test_the_run_has_the_chunk_sizes_and_the_seed():
    model, clip = framewise(), clips()
    by_frame = FrameMaskingTSR(TemporalGradient(model)).explain(clip, 1).run
    assert by_frame.chunk_sizes == {"by frame": 16}
    by_clip = FrameMaskingTSR(Gradient(model)).explain(clip, 1).run
    assert by_clip.chunk_sizes == {"by clip": 2}
    assert (by_frame.seed, by_clip.seed, by_clip.tried) == (None, None, ())
    few = {"perturbations_per_eval": 3, "window": 2}
    assert FrameMaskingTSR(TemporalGradient(model), **few).explain(clip, 1).run.chunk_sizes == {
        "by frame": 6
    }
    assert FrameMaskingTSR(Gradient(model), **few).explain(clip, 1).run.chunk_sizes == {
        "by clip": 3
    }
    seeded = FrameMaskingTSR(Saliency(model), seed=4).explain(clip, 1).run
    assert seeded.seed == 4
    assert seeded.path == "by clip"
    assert seeded.chunk_sizes == {"by clip": 1}


# Out of memory, at each level.


def require_same(found, expected):
    np.testing.assert_allclose(found.attribution, expected.attribution, rtol=1e-9)
    np.testing.assert_allclose(found.time_contribution, expected.time_contribution, atol=1e-12)


def test_memory_runs_out_in_the_nested_gradient_and_in_the_preparation():
    model, clip = framewise(), clips()
    tsr = FrameMaskingTSR(TemporalGradient(model), **TWO)
    expected = tsr.explain(clip, [1, 2])
    with Watched(model, most=7) as watched:
        found = tsr.explain(clip, [1, 2])
    run = found.run
    assert run.tried == (
        "logits with 2 clips",
        "whole",
        "framewise with 16 frames",
        "framewise with 8 frames",
        "by frame, preparation with 16 frames",
        "by frame, preparation with 8 frames",
    )
    assert run.path.startswith("framewise, then by frame")
    assert run.chunk_sizes["framewise"] == run.chunk_sizes["by frame"] == run.chunk_size == 4
    assert run.precision == "full"
    watched.require_counted(run)
    require_same(found, expected)


def test_memory_runs_out_where_frames_are_masked():
    model, clip = framewise(), clips()
    tsr = FrameMaskingTSR(TemporalGradient(model), **TWO)
    expected = tsr.explain(clip, [1, 2])
    assert expected.run.tried == ()
    with Watched(model, most=4, masked=True) as watched:
        found = tsr.explain(clip, [1, 2])
    run = found.run
    assert run.tried == ("by frame with 16 frames", "by frame with 8 frames")
    assert run.path.startswith("whole, then by frame")
    assert run.chunk_sizes["by frame"] == 4
    watched.require_counted(run)
    require_same(found, expected)
    for size in (5, 16):
        fixed = FrameMaskingTSR(TemporalGradient(model), **TWO, perturbations_per_eval=size)
        with (
            Watched(model, most=4, masked=True),
            pytest.raises(torch.OutOfMemoryError, match=f"no room for {min(size, EVERY)} frames"),
        ):
            fixed.explain(clip, [1, 2])


class Limited(nn.Module):
    """A network of whole clips that has room for few frames."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        torch.manual_seed(0)
        self.along = nn.Conv3d(3, 4, 3, padding=1)
        self.classify = nn.Linear(4, CLASSES)
        self.to(dtype).eval()
        self.most, self.masked, self.half_only = None, False, False

    def forward(self, clip):
        frames = clip.shape[0] * clip.shape[1]
        short = self.most is not None and frames > self.most
        if short and (not self.masked or is_masked(clip).any()):
            raise torch.OutOfMemoryError(f"no room for {frames} frames")
        if self.half_only and clip.requires_grad and not torch.is_autocast_enabled("cpu"):
            raise torch.OutOfMemoryError("room for half precision only")
        return self.classify(torch.tanh(self.along(clip.transpose(1, 2))).mean((2, 3, 4)))


def test_another_librarys_method_on_a_plain_module_is_not_counted():
    run = FrameMaskingTSR(Saliency(Limited())).explain(clips(), 1).run
    assert run.forward_passes is None
    assert run.backward_passes is None
    assert "passes not known" in run.describe()


@pytest.mark.parametrize("masked", [False, True])
def test_memory_runs_out_by_clip(masked):
    model, clip = Limited(), clips()
    tsr = FrameMaskingTSR(TemporalGradient(model, memory="whole"), **TWO)
    expected = tsr.explain(clip, [1, 2])
    assert expected.run.tried == ()
    assert expected.run.chunk_sizes == {"by clip": 2}
    model.most, model.masked = FRAMES, masked
    found = tsr.explain(clip, [1, 2])
    whole = ("logits with 2 clips", "attribution with 2 clips")
    assert found.run.tried == (*(() if masked else whole), "by clip with 2 clips")
    assert found.run.chunk_sizes == {"by clip": 1}
    require_same(found, expected)
    fixed = FrameMaskingTSR(TemporalGradient(model), **TWO, perturbations_per_eval=2)
    with pytest.raises(torch.OutOfMemoryError, match="no room for 12 frames"):
        fixed.explain(clip, [1, 2])


def test_chunks_stay_as_small_as_memory_made_them():
    model, clip = Limited(), clips()[:, :3]
    tsr = FrameMaskingTSR(TemporalGradient(model, memory="whole"))
    assert tsr.explain(clip, [1, 2]).run.chunk_sizes == {"by clip": 5}
    model.most, model.masked = 6, True
    run = tsr.explain(clip, [1, 2]).run
    assert run.tried == ("by clip with 5 clips",)
    assert run.chunk_sizes == {"by clip": 2}


def test_a_nested_gradient_that_fell_to_half_precision_is_said():
    model, clip = Limited(torch.float32), clips(torch.float32)
    tsr = FrameMaskingTSR(TemporalGradient(model))
    full = tsr.explain(clip, [1, 2])
    assert full.run.precision == "full"
    model.half_only = True
    with pytest.warns(HalfPrecisionWarning, match="bfloat16"):
        found = tsr.explain(clip, [1, 2])
    assert found.run.precision == "bfloat16"
    # Fewer clips at a time are tried first, as they cost no precision.
    assert found.run.tried == ("attribution with 2 clips", "whole", "by clip with 2 clips")
    assert found.run.path == "half, then by clip"
    assert "in bfloat16: NOT full precision" in found.summary()
    np.testing.assert_allclose(found.time_relevance, full.time_relevance, rtol=0.1)


class RoomForOne(Limited):
    """A network that has room for the graph of one clip, and of more in half precision only."""

    def forward(self, clip):
        full = clip.requires_grad and not torch.is_autocast_enabled("cpu")
        if full and self.most and clip.shape[0] * clip.shape[1] > self.most:
            raise torch.OutOfMemoryError("room for one clip")
        return self.classify(torch.tanh(self.along(clip.transpose(1, 2))).mean((2, 3, 4)))


def test_fewer_clips_come_before_half_precision():
    """R(X) in one precision, and R of masked clips in another, would differ by rounding."""
    model, clip = RoomForOne(torch.float32), clips(torch.float32)
    tsr = FrameMaskingTSR(TemporalGradient(model))
    full = tsr.explain(clip, [1, 2])
    model.most = clip.shape[1]
    found = tsr.explain(clip, [1, 2])
    assert found.run.precision == "full"
    assert found.run.path == "whole, then by clip"
    assert found.run.chunk_sizes == {"by clip": 1}
    # The order of sums over the batch is all that differs.
    torch.testing.assert_close(found.time_relevance, full.time_relevance, rtol=1e-5, atol=0)


def test_a_framewise_gradient_in_half_precision_is_masked_by_clip():
    model, clip = framewise(torch.float32), clips(torch.float32)
    run = FrameMaskingTSR(TemporalGradient(model, memory="half")).explain(clip, 1).run
    assert run.precision == "bfloat16"
    assert run.path == "half, then by clip"
