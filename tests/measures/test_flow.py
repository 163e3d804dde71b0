"""Optical flow, against motion that is known and OpenCV called by hand."""

import weakref

import cv2
import numpy as np
import pytest
import torch

from temporal_attr import ClipError, OptionError
from temporal_attr.measures import flow_magnitude, histogram_changes, optical_flow
from tests.helpers.checks import NAN, assert_refused
from tests.helpers.pictures import clip_of_frames, texture

ALGORITHMS = ("farneback", "dis")
# What a texture of bytes gives away of a whole-pixel shift, measured away from the border over 8
# textures and doubled. Farneback's polynomials agree but for the rounding of its floats and the
# pull of its coarser levels; DIS stops its search at half the resolution, and smooths.
CLOSE = {"farneback": 0.008, "dis": 0.13}
AWAY = 16


def moving_texture(across, down, frames=2, size=64, seed=0):
    """A grey clip (1, frames, 1, size, size) whose picture moves so many pixels each frame."""
    margin = (frames - 1) * max(abs(across), abs(down))
    whole = texture(size + 2 * margin, size + 2 * margin, seed)
    return clip_of_frames(
        whole[margin - t * down :, margin - t * across :][:size, :size] for t in range(frames)
    )


def noise_clip(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("shift", [(3, 1), (-2, 0), (0, 2)])
def test_a_picture_that_moves(algorithm, seed, shift):
    clip = moving_texture(*shift, frames=3, seed=seed)
    flow = optical_flow(clip, algorithm)
    assert flow.shape == (1, 2, 64, 64, 2)
    assert flow.dtype == torch.float32
    inside = flow[:, :, AWAY:-AWAY, AWAY:-AWAY]
    expected = torch.tensor(shift).float().expand_as(inside)
    torch.testing.assert_close(inside, expected, atol=CLOSE[algorithm], rtol=0)
    backwards = optical_flow(clip.flip(1), algorithm)[:, :, AWAY:-AWAY, AWAY:-AWAY]
    torch.testing.assert_close(backwards, -expected, atol=CLOSE[algorithm], rtol=0)


def test_each_pair_has_its_own_flow():
    # A picture that waits, moves, waits: the flow is of the pair, and not of the clip.
    first, second = moving_texture(3, 1)[0]
    clip = torch.stack([first, first, second, second])[None]
    inside = optical_flow(clip)[0, :, AWAY:-AWAY, AWAY:-AWAY].mean((1, 2))
    expected = torch.tensor([[0.0, 0], [3, 1], [0, 0]])
    torch.testing.assert_close(inside, expected, atol=CLOSE["farneback"], rtol=0)


def test_still_clips():
    still = moving_texture(0, 0, frames=3)
    assert torch.equal(optical_flow(still, "dis"), torch.zeros(1, 2, 64, 64, 2))
    assert torch.equal(flow_magnitude(still, "dis"), torch.zeros(1, 2))
    # OpenCV lets the last row and column leave the picture, which pulls at the edges.
    inside = optical_flow(still)[:, :, AWAY:-AWAY, AWAY:-AWAY]
    torch.testing.assert_close(inside, torch.zeros_like(inside), atol=CLOSE["farneback"], rtol=0)
    magnitude = flow_magnitude(still)
    assert 0 < magnitude.max() < 0.01
    # The same frames give the same number, which measures of correlation count on.
    assert torch.equal(magnitude[:, 0], magnitude[:, 1])
    for algorithm in ALGORITHMS:
        assert not flow_magnitude(torch.full((1, 3, 3, 16, 16), 0.5), algorithm).any()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_opencv_called_by_hand(algorithm):
    frames = [np.random.default_rng(seed).integers(0, 256, (24, 30), np.uint8) for seed in (0, 1)]
    if algorithm == "farneback":
        expected = cv2.calcOpticalFlowFarneback(*frames, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    else:
        medium = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        expected = medium.calc(*frames, None)
    flow = optical_flow(clip_of_frames(frames), algorithm)
    # Bytes divided by 255 come back as they were, so that not one bit differs.
    assert np.array_equal(flow[0, 0].numpy(), expected)
    assert np.abs(expected).max() > 0.5


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_weights_of_red_green_and_blue(algorithm):
    # Channels of 0 and 1 have eight greys, and none of them is near a half, where rounding decides.
    colours = (noise_clip(1, 2, 3, 32, 32) > 0.5).float()
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    grey = ((colours * weights).sum(2, keepdim=True) * 255).round() / 255
    flow = optical_flow(colours, algorithm)
    assert torch.equal(flow, optical_flow(grey, algorithm))
    assert torch.equal(optical_flow(grey.expand_as(colours), algorithm), flow)
    assert not torch.equal(optical_flow(colours.flip(2), algorithm), flow)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("size", [(17, 20), (33, 48)])
def test_a_batch_is_its_clips(algorithm, size):
    clips = noise_clip(3, 4, 3, *size)
    flow, magnitude = optical_flow(clips, algorithm), flow_magnitude(clips, algorithm)
    assert flow.shape == (3, 3, *size, 2)
    assert magnitude.shape == (3, 3)
    for clip in range(3):
        alone = clips[clip : clip + 1]
        assert torch.equal(optical_flow(alone, algorithm)[0], flow[clip])
        assert torch.equal(flow_magnitude(alone, algorithm)[0], magnitude[clip])
        for pair in range(3):
            alone = clips[clip : clip + 1, pair : pair + 2]
            assert torch.equal(optical_flow(alone, algorithm)[0, 0], flow[clip, pair])
    none = clips[:0]
    assert optical_flow(none, algorithm).shape == (0, 3, *size, 2)
    assert flow_magnitude(none, algorithm).shape == (0, 3)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_magnitude_is_the_mean_length(algorithm):
    clips = noise_clip(2, 3, 3, 24, 36)
    lengths = optical_flow(clips, algorithm).double().square().sum(-1).sqrt()
    magnitude = flow_magnitude(clips, algorithm)
    assert magnitude.dtype == torch.float32
    # A float32 each for length and mean.
    torch.testing.assert_close(
        magnitude.double(), lengths.mean((2, 3)), rtol=2 * torch.finfo(torch.float32).eps, atol=0
    )
    # Away from the border every pixel of a moving picture goes as far: the edges only blur that.
    moved = flow_magnitude(moving_texture(3, 1, size=192), algorithm)
    assert moved.item() == pytest.approx(10**0.5, rel=0.05)


def test_the_magnitude_holds_no_more_than_it_needs(monkeypatch):
    fields, most = [], []
    original = cv2.calcOpticalFlowFarneback

    def watched(*arguments, **options):
        field = original(*arguments, **options)
        fields.append(weakref.ref(field))
        most.append(sum(reference() is not None for reference in fields))
        return field

    monkeypatch.setattr(cv2, "calcOpticalFlowFarneback", watched)
    flow_magnitude(noise_clip(2, 6, 1, 16, 16))
    assert len(fields) == 10
    # The one before lives until the next has its place.
    assert max(most) <= 2


def test_values_types_and_gradients():
    clip = noise_clip(1, 2, 3, 20, 20)
    flow = optical_flow(clip)
    # What rounding put beyond black and white is these.
    stretched = torch.where(clip > 0.9, 1.0001, torch.where(clip < 0.1, -0.0001, clip))
    assert torch.equal(optical_flow(stretched), optical_flow(stretched.clamp(0, 1)))
    assert not torch.equal(optical_flow(stretched), flow)
    for measure in (optical_flow, flow_magnitude, histogram_changes):
        assert_refused(ClipError, "got from 0.* to 2", measure, clip * 255)
        assert_refused(ClipError, "got from -0.* to 0", measure, clip - 0.5)
    assert optical_flow(clip.double()).dtype == torch.float32
    # Between two bytes, the nearer one.
    levels = (clip * 254).round() + 1
    assert torch.equal(optical_flow((levels - 0.4) / 255), optical_flow(levels / 255))
    half = clip.half()
    assert torch.equal(optical_flow(half), optical_flow(half.float()))
    # Channels last, and a clip that a gradient goes to.
    strided = clip.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).requires_grad_()
    found = optical_flow(strided)
    assert torch.equal(found, flow)
    assert not found.requires_grad
    assert not flow_magnitude(strided).requires_grad


@pytest.mark.parametrize("size", [(11, 11), (11, 400), (400, 11)])
def test_the_smallest_frames_of_farneback(size):
    # Of a picture that moves by one pixel, most of it is found even here.
    whole = texture(size[0], size[1] + 1)
    flow = optical_flow(clip_of_frames([whole[:, 1:], whole[:, :-1]]))
    assert flow.isfinite().all()
    assert 0.5 < flow[..., 0].median() < 1.5


@pytest.mark.parametrize("size", [(16, 16), (16, 64), (16, 400), (400, 16), (31, 2000)])
def test_the_smallest_frames_of_dis(size):
    # OpenCV ends the process on some of these shapes with one row less.
    flow = optical_flow(noise_clip(1, 2, 1, *size), "dis")
    assert flow.shape == (1, 1, *size, 2)
    assert flow.isfinite().all()


def assert_both_refuse(kind, text, clip, algorithm="farneback"):
    for function in (optical_flow, flow_magnitude):
        assert_refused(kind, text, function, clip, algorithm)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("algorithm", "size", "got"),
    [
        ("farneback", (10, 40), "10x40"),
        ("farneback", (40, 10), "40x10"),
        ("farneback", (4, 4), "4x4"),
        ("dis", (15, 40), "15x40"),
        ("dis", (40, 15), "40x15"),
        ("dis", (8, 8), "8x8"),
    ],
)
def test_frames_that_are_too_small(algorithm, size, got):
    least = {"farneback": "11x11", "dis": "16x16"}[algorithm]
    text = f'at least {least} pixels for "{algorithm}", got {got}. Take .*before'
    assert_both_refuse(ClipError, text, noise_clip(1, 2, 3, *size), algorithm)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("algorithm", ["tvl1", None, "Farneback"])
def test_an_unknown_algorithm(algorithm):
    text = f'"farneback" or "dis", got {algorithm!r}'
    assert_both_refuse(OptionError, text, noise_clip(1, 2, 3, 16, 16), algorithm)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("shape", [(2, 3, 16, 16), (1, 3, 2, 16, 16), (1, 2, 4, 16, 16), (16,)])
def test_what_is_no_clip(shape):
    text = rf"1 or 3 channels, got shape \({shape[0]},"
    assert_both_refuse(ClipError, text, torch.zeros(shape))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool])
def test_pixels_that_are_no_floats(dtype):
    text = f"a tensor of floats .*, got {dtype} .* divide bytes by 255"
    assert_both_refuse(ClipError, text, torch.zeros(1, 2, 3, 16, 16, dtype=dtype))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("frames", [0, 1])
def test_too_few_frames(frames):
    text = f"at least 2 frames, got {frames}. Flow"
    assert_both_refuse(ClipError, text, torch.zeros(1, frames, 3, 16, 16))


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_pixels_that_are_not_finite(bad):
    clip = torch.zeros(1, 2, 1, 16, 16)
    clip[0, 1, 0, 3, 3:5] = bad
    assert_both_refuse(ClipError, "finite pixels, got 2 of 512 NaN or infinite", clip)
