"""The perturbation engine piece by piece: features, windows, seeds, and runs that are stopped."""

import numpy as np
import pytest
import torch

from temporal_attr import ClipError, ModelError, OptionError
from temporal_attr.clips import IDENTITY
from temporal_attr.perturbations import (
    Blocks,
    ChunkEffects,
    EffectsSoFar,
    Pixels,
    Superpixels,
    Supervoxels,
    as_feature_mask,
    feature_masks,
    frame_masks,
    masked_clips,
    masked_frames,
    mean_over_windows,
    neighbour_of,
    require_on_stop,
    seeded,
    stopping,
)
from tests.helpers.checks import assert_refused

FRAMES, HEIGHT, WIDTH = 4, 6, 10


def clips(batch=2):
    return torch.rand(batch, FRAMES, 3, HEIGHT, WIDTH, dtype=torch.float64)


@pytest.mark.parametrize("mask", [Blocks(4, 3), Blocks(6, 10), Blocks(1, 1)])
def test_blocks_are_numbered_row_by_row(mask):
    labels = mask.labels(clips())
    across = -(-WIDTH // mask.width)
    expected = [
        [row // mask.height * across + column // mask.width for column in range(WIDTH)]
        for row in range(HEIGHT)
    ]
    assert labels.shape == (2, FRAMES, HEIGHT, WIDTH)
    assert (labels == torch.tensor(expected)).all()


def test_pixels_are_blocks_of_one():
    assert torch.equal(Pixels().labels(clips()), Blocks(1, 1).labels(clips()))


def test_blocks_that_do_not_divide_the_frame_say_so():
    assert Blocks(3, 5).divide(clips())
    assert not Blocks(4, 5).divide(clips())
    assert not Blocks(3, 4).divide(clips())


@pytest.mark.parametrize("axes", [2, 4, 5])
def test_a_tensor_numbers_features_with_any_leading_axes(axes):
    shape = {
        2: (HEIGHT, WIDTH),
        4: (1, FRAMES, HEIGHT, WIDTH),
        5: (2, FRAMES, 1, HEIGHT, WIDTH),
    }[axes]
    mask = torch.randint(3, shape, dtype=torch.uint8)
    mask.view(-1)[:3] = torch.arange(3, dtype=torch.uint8)
    labels = as_feature_mask(mask).labels(clips())
    whole = mask[:, :, 0] if axes == 5 else mask
    assert torch.equal(labels, whole.expand(2, FRAMES, HEIGHT, WIDTH))


@pytest.mark.parametrize("mask", [Superpixels(4), Supervoxels(4)])
def test_segments_need_pixels_and_are_those_of_the_clip_alone(mask):
    batch = clips()
    labels = mask.labels(batch, IDENTITY)
    assert torch.equal(labels[1:], mask.labels(batch[1:], IDENTITY))
    assert len(labels.unique()) > 1
    name = type(mask).__name__
    assert_refused(
        ModelError, f"a normalization, as {name} are found in pixels", mask.labels, batch
    )


def test_what_is_no_feature_mask_is_refused():
    assert as_feature_mask(None) == Pixels()
    assert as_feature_mask(Blocks(2, 3)) == Blocks(2, 3)
    assert_refused(OptionError, r"feature_mask to be Pixels.*got \(2, 3\)", as_feature_mask, (2, 3))


@pytest.mark.parametrize("window", [1, 2, 4])
def test_every_frame_has_the_mean_over_the_windows_that_mask_it(window):
    masks = frame_masks(2, FRAMES, window)
    numbers = torch.rand(2, FRAMES - window + 1, dtype=torch.float64)
    expected = torch.zeros(2, FRAMES, dtype=torch.float64)
    for example in range(2):
        for frame in range(FRAMES):
            own = [
                number
                for mask, number in zip(masks, numbers.flatten(), strict=True)
                if mask.example == example and frame in mask.frames
            ]
            expected[example, frame] = sum(own) / len(own)
    torch.testing.assert_close(mean_over_windows(numbers, FRAMES, window), expected)


def test_masked_clips_have_the_masked_frames_and_leave_the_clip_as_it_is():
    clip = clips()
    before = clip.clone()
    labels = Blocks(3, 5).labels(clip)
    masks = [*frame_masks(2, FRAMES, 2), *feature_masks(labels, 1, 2)]
    baseline = torch.zeros_like(clip)
    shown = masked_clips(clip, masks, baseline)
    parts = masked_frames(clip, masks, baseline).split([len(mask.frames) for mask in masks])
    for one, part, mask in zip(shown, parts, masks, strict=True):
        frames = list(mask.frames)
        assert torch.equal(one[frames], part)
        others = [frame for frame in range(FRAMES) if frame not in frames]
        assert torch.equal(one[others], clip[mask.example][others])
    assert [mask.label for mask in masks[6:]] == [0, 1, 2, 3]
    assert torch.equal(clip, before)


def test_the_last_frame_that_is_left_stands_for_the_others():
    assert [neighbour_of(first, first + 2, 4) for first in range(3)] == [2, 0, 1]
    assert_refused(ClipError, "a frame that is not masked.*4 frames", neighbour_of, 0, 4, 4)


def test_effects_are_kept_in_the_order_of_the_masks():
    found = EffectsSoFar(4, torch.zeros(1, 1, 1, 1, 1))
    for start in (0, 1):
        change = torch.tensor([1.0, 2.0], dtype=torch.float64) + 2 * start
        found.add(ChunkEffects(change, change[:, None].expand(2, 3)))
        effects = found.effects()
        assert found.count == 2 + 2 * start
        assert effects.done.tolist() == [True] * found.count + [False] * (4 - found.count)
    assert effects.change.tolist() == [1, 2, 3, 4]
    assert effects.logits.tolist() == [[value] * 3 for value in (1, 2, 3, 4)]
    assert effects.change.dtype == effects.logits.dtype == torch.float32


def test_a_stop_is_raised_or_ends_the_work():
    with pytest.raises(KeyboardInterrupt), stopping("raise"):
        raise KeyboardInterrupt
    with stopping("keep"):
        raise KeyboardInterrupt
    with pytest.raises(RuntimeError, match="another"), stopping("keep"):
        raise RuntimeError("another")
    require_on_stop("keep")
    assert_refused(OptionError, 'on_stop to be "raise" or "keep", got', require_on_stop, "drop")


def test_a_seed_gives_the_same_numbers_and_leaves_the_callers():
    states = torch.get_rng_state(), np.random.get_state()[1]
    drawn = []

    def draw():
        with seeded(5):
            drawn.append((torch.rand(3), np.random.rand(3)))
            raise RuntimeError("after drawing")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="after drawing"):
            draw()
    assert torch.equal(drawn[0][0], drawn[1][0])
    np.testing.assert_array_equal(drawn[0][1], drawn[1][1])
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])
    with seeded(None):
        first = torch.rand(1)
    assert first != torch.rand(1)
