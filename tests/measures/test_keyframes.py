"""Keyframes, against clips whose changes are known, OpenCV called by hand, and exact counting."""

import itertools
import math
from fractions import Fraction

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from temporal_attr import ClipError, DataError, OptionError, load_clip
from temporal_attr.measures import (
    flow_magnitude,
    frame_changes,
    histogram_changes,
    keyframe_agreement,
    keyframes,
    stand_out,
    temporal_overlap,
)
from tests.helpers.checks import NAN, assert_refused, examples, seeds
from tests.helpers.pictures import clip_of_frames, texture
from tests.references import ranges as atr_references

some_examples = examples(40)

ALGORITHMS = ("farneback", "dis")
# What sums of shares in float64 lose by their order.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def random_bytes(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def flat(*colours):
    """Flat frames of RGB colours, between which there is no flow."""
    return clip_of_frames(np.broadcast_to(np.uint8(colour), (16, 16, 3)) for colour in colours)


def slow_histogram_changes(clip, bins):
    """Of bytes (time, height, width, channels): loops over pixels, in fractions."""
    time, height, width, channels = clip.shape
    found = []
    for t in range(1, time):
        total = Fraction(0)
        for channel in range(channels):
            shares = [[Fraction(0)] * bins for _ in range(2)]
            for side, frame in enumerate((clip[t - 1], clip[t])):
                for byte in frame[..., channel].flatten().tolist():
                    shares[side][math.floor(Fraction(byte * bins, 256))] += Fraction(
                        1, height * width
                    )
            total += sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2
        found.append(float(total / channels))
    return found


# --- histogram changes


@pytest.mark.parametrize("bins", [1, 3, 16, 100, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_histograms_match_a_slow_loop(bins, channels):
    frames = random_bytes(4, 5, 6, channels)
    frames[2] //= 3
    found = histogram_changes(clip_of_frames(frames), bins)
    assert found.shape == (1, 3)
    assert found.dtype == torch.float64
    expected = torch.tensor([slow_histogram_changes(frames, bins)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, **CLOSE)
    assert (expected.max() > 0.1) == (bins > 1)


@pytest.mark.parametrize("bins", [7, 16, 256])
def test_histograms_are_those_of_opencv(bins):
    frames = random_bytes(3, 40, 30, 3)
    frames[1, :20] //= 2
    shares = [
        [cv2.calcHist([f], [c], None, [bins], [0, 256]).ravel() / 1200 for c in range(3)]
        for f in frames
    ]
    expected = np.abs(np.diff(np.float64(shares), axis=0)).sum(2).mean(1) / 2
    # OpenCV's counts are float32, and so are the shares.
    np.testing.assert_allclose(
        histogram_changes(clip_of_frames(frames), bins)[0], expected, atol=1e-6
    )


def test_histograms_by_hand():
    black = np.zeros((4, 4, 3), np.uint8)
    red, corner, mixed = black.copy(), black.copy(), black.copy()
    red[..., 0] = 255
    corner[:2, :2] = 255
    mixed[2:, 2:] = 255
    found = histogram_changes(clip_of_frames([black, red, black, 255 - black, corner, mixed]))
    # One channel of three; all; back to a quarter; and the same quarter elsewhere.
    assert found.tolist() == [[1 / 3, 1 / 3, 1, 3 / 4, 0]]


def test_sixteen_bins_are_sixteen_bytes_wide():
    levels = clip_of_frames(np.full((2, 2), level, np.uint8) for level in range(256))
    assert histogram_changes(levels)[0].nonzero()[:, 0].tolist() == list(range(15, 255, 16))
    assert histogram_changes(levels, bins=256).eq(1).all()
    assert not histogram_changes(levels, bins=1).any()


@given(seed=seeds, time=st.integers(2, 5), channels=st.sampled_from([1, 3]))
@some_examples
def test_histograms_are_a_distance(seed, time, channels):
    frames = random_bytes(time, 3, 4, channels, seed=seed) // (1 + seed % 30)
    clip = clip_of_frames(frames)
    found = histogram_changes(clip)
    assert ((found >= 0) & (found <= 1)).all()
    assert torch.equal(histogram_changes(clip.flip(1)), found.flip(1))
    # Where pixels stand does not count, in either frame.
    places = torch.randperm(12)
    moved = clip.clone().flatten(3)
    moved[:, 1] = moved[:, 1, :, places]
    assert torch.equal(histogram_changes(moved.reshape(clip.shape)), found)
    # No way round is shorter, and fewer bins see less.
    ends = histogram_changes(clip[:, [0, -1]])
    assert ends.item() <= found.sum().item() + 1e-12
    assert (histogram_changes(clip, 8) <= found + 1e-12).all()


def test_values_types_and_gradients():
    clip = clip_of_frames(random_bytes(3, 16, 20, 3))
    found = histogram_changes(clip)
    changes = frame_changes(clip)
    stretched = torch.where(clip == 1, 1.003, torch.where(clip == 0, -0.003, clip))
    assert torch.equal(histogram_changes(stretched), found)
    assert torch.equal(histogram_changes(clip.double()), found)
    # Channels last, and a clip that a gradient goes to.
    strided = clip.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3).requires_grad_()
    for function, expected in ((histogram_changes, found), (frame_changes, changes)):
        again = function(strided)
        assert torch.equal(again, expected)
        assert not again.requires_grad
    half = clip.half()
    assert torch.equal(histogram_changes(half), histogram_changes(half.float()))


# --- frame changes


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_changes_are_the_mean_of_two_shares(algorithm):
    frames = [texture(seed=seed // 2) for seed in range(6)]
    frames[3] = np.roll(frames[2], 2, axis=1)
    frames[4] = frames[3] // 2
    clip = clip_of_frames(frames)
    found = frame_changes(clip, algorithm)
    assert found.shape == (1, 6)
    assert found.dtype == torch.float64
    colour = slow_histogram_changes(np.stack(frames)[..., None], 16)
    motion = flow_magnitude(clip, algorithm)[0].tolist()
    motion[0] = 0.0  # Frames 0 and 1 are one picture.
    expected = [0.0] + [
        (c / max(colour) + m / max(motion)) / 2 for c, m in zip(colour, motion, strict=True)
    ]
    np.testing.assert_allclose(found[0], expected, rtol=1e-12)
    assert found[0, 1] == 0
    assert (found[0, 2:] > 0).all()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_still_clip_does_not_change(algorithm):
    still = clip_of_frames([texture()] * 4)
    # Farneback's finds motion at the edges, which would be the largest of the clip.
    assert flow_magnitude(still).min() > 0
    assert torch.equal(frame_changes(still, algorithm), torch.zeros(1, 4, dtype=torch.float64))
    # What a byte does not hold is no change either.
    shaken = still + 0.4 / 255 * (torch.rand(still.shape) * 2 - 1)
    assert not torch.equal(shaken[:, 0], shaken[:, 1])
    assert not frame_changes(shaken, algorithm).any()
    assert keyframes(shaken, algorithm=algorithm).tolist() == [[True, False, False, False]]


def test_colour_alone_and_motion_alone_are_half():
    # Flat frames have no flow; a picture that goes out on the left and comes in on the right keeps
    # its colours.
    faded = flat((0, 0, 0), (0, 0, 255), (255, 255, 0), (255, 255, 0))
    assert frame_changes(faded).tolist() == [[0, 1 / 6, 1 / 2, 0]]
    rolled = clip_of_frames(np.roll(texture(), across, axis=1) for across in (0, 1, 3, 3))
    assert not histogram_changes(rolled).any()
    changes = frame_changes(rolled)[0]
    assert changes[2] == 0.5
    assert 0.1 < changes[1] < 0.5
    assert changes[3] == 0


@given(seed=seeds, time=st.integers(2, 5))
@some_examples
def test_changes_are_shares(seed, time):
    frames = random_bytes(time, 16, 16, 3, seed=seed)
    frames[time // 2] = frames[time // 2 - 1]
    changes = frame_changes(clip_of_frames(frames), "dis")[0]
    assert ((changes >= 0) & (changes <= 1)).all()
    assert changes[0] == 0
    assert changes[time // 2] == 0
    if time > 2:
        assert changes.max() >= 0.5


def test_a_batch_is_its_clips():
    quiet = clip_of_frames(
        np.roll(texture(), by, axis=1) - np.minimum(texture(), by) for by in (0, 1, 1, 2)
    )
    cut = clip_of_frames([texture(), texture(), texture(seed=1), texture(seed=1)])
    still = clip_of_frames([texture(seed=2)] * 4)
    batch = torch.cat([quiet, cut, still])
    for function in (histogram_changes, frame_changes, keyframes):
        expected = torch.cat([function(clip) for clip in (quiet, cut, still)])
        assert torch.equal(function(batch), expected)
        # Each clip has its own scale.
        assert len({tuple(row) for row in expected.tolist()}) == 3
        assert function(batch[:0]).shape == (0, expected.shape[1])


# --- keyframes


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_cuts_are_keyframes(algorithm):
    scenes = [texture(seed=seed) // (1 + seed % 2) for seed in (0, 0, 0, 1, 1, 2, 2, 2, 2)]
    found = keyframes(clip_of_frames(scenes), algorithm=algorithm)
    assert found.dtype == torch.bool
    assert found[0].nonzero()[:, 0].tolist() == [0, 3, 5]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [
        (0.01, [0, 1, 2, 3]),
        (0.3, [0, 1, 2, 3]),
        (1 / 3, [0, 1, 2, 3]),
        (0.334, [0, 2, 3]),
        (2 / 3, [0, 2, 3]),
        (0.667, [0, 3]),
        (1.0, [0, 3]),
        (1, [0, 3]),
    ],
)
def test_the_threshold_is_a_share_of_the_largest_change(threshold, expected):
    # One, two and three channels change: by 1/3, 2/3 and 1 of the largest.
    clip = flat((0, 0, 0), (255, 0, 0), (255, 255, 255), (0, 0, 0), (0, 0, 0))
    assert frame_changes(clip)[0, 1:4].tolist() == [1 / 6, 1 / 3, 1 / 2]
    assert keyframes(clip, threshold)[0].nonzero()[:, 0].tolist() == expected


def test_the_threshold_is_of_the_clip_and_not_of_one():
    # Colour and motion are largest in different frames, so that no change reaches 1.
    moved = np.roll(texture(), 3, axis=1)
    changes = frame_changes(clip_of_frames([texture(), moved, moved // 4 + 60]))[0]
    assert changes.max() < 0.9
    assert keyframes(clip_of_frames([texture(), moved, moved // 4 + 60]), 1.0).sum() == 2


@given(seed=seeds, time=st.integers(2, 6), share=st.floats(0.01, 1), more=st.floats(0, 0.9))
@some_examples
def test_keyframes_match_a_slow_loop(seed, time, share, more):
    clip = clip_of_frames(random_bytes(time, 16, 16, seed=seed) // (1 + seed % 9))
    changes = frame_changes(clip, "dis")[0].tolist()
    found = keyframes(clip, share, "dis")[0]
    largest = max(changes)
    expected = [t == 0 or (c > 0 and c >= share * largest) for t, c in enumerate(changes)]
    assert found.tolist() == expected
    # A higher threshold keeps fewer, and the largest change always.
    fewer = keyframes(clip, share + more * (1 - share), "dis")[0]
    assert not (fewer & ~found).any()
    assert fewer.sum() >= 1 + (largest > 0)


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "flipping_a_pancake.mkv"])
def test_a_cut_between_two_real_clips(real_video, name):
    def scene(name):
        pixels = load_clip(real_video(name), 6, "dense").tensor
        return torch.nn.functional.interpolate(pixels[0], (64, 80), mode="area")[None]

    first, second = scene(name), scene("short_32_frames.mp4")
    clip = torch.cat([first, second, second[:, -1:].expand(-1, 3, -1, -1, -1)], 1)
    changes = frame_changes(clip)[0]
    assert changes.argmax() == 6
    # Both parts are largest at the cut, and nothing comes near it within a scene.
    assert changes[6] == 1
    assert keyframes(clip)[0].nonzero()[:, 0].tolist() == [0, 6]
    assert not changes[12:].any()
    # Within a scene the scale is smaller: then there are others.
    assert (frame_changes(first)[0, 1:] > 0).all()
    assert 2 <= keyframes(first).sum() <= 6


# --- agreement


def slow_keyframe_agreement(relevance, marks, k=None):
    marked = {t for t, mark in enumerate(marks) if mark}
    k = len(marked) if k is None else k
    hits = len(marked.intersection(atr_references.largest_classes(torch.tensor(relevance), k)))
    return (
        hits / k if k else NAN,
        hits / len(marked) if marked else NAN,
        len(marked) / len(marks),
        float(atr_references.overlap_chance(len(marks), len(marked), k, hits)),
    )


def rows(agreement):
    parts = (agreement.precision, agreement.recall, agreement.chance, agreement.p_value)
    return torch.stack(parts, 1)


levels = st.one_of(st.integers(-3, 3).map(float), st.just(NAN), st.just(float("inf")))
frames_of_clips = st.integers(1, 9).flatmap(
    lambda time: st.tuples(
        st.lists(
            st.tuples(
                st.lists(levels, min_size=time, max_size=time),
                st.lists(st.booleans(), min_size=time, max_size=time),
            ),
            min_size=1,
            max_size=4,
        ),
        st.one_of(st.none(), st.integers(1, time)),
    )
)


@given(frames_of_clips)
@some_examples
def test_agreement_matches_exact_counting(drawn):
    clips, k = drawn
    relevance = torch.tensor([values for values, _ in clips])
    marks = torch.tensor([row for _, row in clips])
    found = keyframe_agreement(relevance, marks, k)
    for part in (found.precision, found.recall, found.chance, found.p_value):
        assert part.shape == (len(clips),)
        assert part.dtype == torch.float64
    expected = torch.tensor(
        [slow_keyframe_agreement(*clip, k) for clip in clips], dtype=torch.float64
    )
    # scipy goes through logarithms of gamma functions.
    torch.testing.assert_close(rows(found), expected, rtol=1e-10, atol=0, equal_nan=True)
    assert ((found.p_value > 0) & (found.p_value <= 1)).all()


def test_agreement_is_the_overlap_of_each_clip():
    relevance, marks = torch.rand(5, 40), torch.rand(5, 40) < 0.3
    found = keyframe_agreement(relevance, marks, 7)
    for clip in range(5):
        listed = marks[clip].nonzero()[:, 0].tolist()
        overlap = temporal_overlap(relevance[clip], listed, 7)
        expected = (overlap.share, overlap.chance, overlap.p_value)
        assert (found.precision[clip], found.chance[clip], found.p_value[clip]) == expected


def test_agreement_by_hand():
    marks = torch.tensor([[True, False, False, True, False]])
    found = keyframe_agreement(torch.tensor([[0.1, 0.5, 0.2, 0.9, 0.3]]), marks, 3)
    # Frames 3, 1, 4: one of three, one of two; all draws but the one without 0 and 3 have one.
    assert rows(found)[0].tolist() == pytest.approx([1 / 3, 1 / 2, 2 / 5, 9 / 10], rel=1e-12)
    best = keyframe_agreement(torch.tensor([[3.0, 0, 0, 2, 0]]), marks)
    assert rows(best)[0].tolist() == pytest.approx([1, 1, 2 / 5, 1 / 10], rel=1e-12)


def test_k_is_of_each_clip():
    marks = torch.tensor([[True, False, False], [True, True, False], [True] * 3, [False] * 3])
    found = keyframe_agreement(torch.tensor([[1.0, 2, 3]]).expand(4, 3), marks)
    expected = [[0, 0, 1 / 3, 1], [0.5, 0.5, 2 / 3, 1], [1, 1, 1, 1], [NAN, NAN, 0, 1]]
    torch.testing.assert_close(
        rows(found), torch.tensor(expected, dtype=torch.float64), **CLOSE, equal_nan=True
    )
    # Drawn, but not to be found.
    none = keyframe_agreement(torch.rand(1, 3), marks[3:], 2)
    assert rows(none)[0, [0, 2, 3]].tolist() == [0, 0, 1]
    assert none.recall.isnan().all()
    empty = keyframe_agreement(torch.rand(0, 3), marks[:0])
    assert rows(empty).shape == (0, 4)


def test_equal_frames_rank_by_number_and_unknown_ones_last():
    relevance = torch.tensor([[NAN, 2.0, 5, 2, 2, -3]])
    order = [2, 1, 3, 4, 5, 0]
    for frame in range(6):
        marks = torch.arange(6)[None] == frame
        hits = [keyframe_agreement(relevance, marks, k).recall.item() for k in range(1, 7)]
        assert hits == [float(order.index(frame) < k) for k in range(1, 7)]
    # A relevance that says nothing hits the first frame, as documented.
    first = torch.arange(6)[None] == 0
    assert keyframe_agreement(torch.zeros(1, 6), first).precision.item() == 1


@given(seed=seeds, time=st.integers(2, 12))
@some_examples
def test_only_the_order_of_relevance_counts(seed, time):
    generator = torch.Generator().manual_seed(seed)
    relevance = torch.randperm(time, generator=generator)[None].double()
    marks = torch.rand(1, time, generator=generator) < 0.5
    k = 1 + seed % time
    found = rows(keyframe_agreement(relevance, marks, k))
    again = keyframe_agreement((relevance / 5).exp(), marks, k)
    torch.testing.assert_close(rows(again), found, rtol=0, atol=0, equal_nan=True)
    frames = torch.randperm(time, generator=generator)
    again = keyframe_agreement(relevance[:, frames], marks[:, frames], k)
    torch.testing.assert_close(rows(again), found, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("k", [1, 2, 4, None])
def test_chance_is_the_mean_of_all_orders(k):
    marks = torch.tensor([[True, False, True, False, False, True]])
    orders = torch.tensor(list(itertools.permutations(range(6)))).float()
    found = keyframe_agreement(orders, marks.expand(720, 6), k)
    assert found.precision.mean().item() == pytest.approx(found.chance[0].item(), rel=1e-12)
    # A p-value is the share of orders at least as good.
    for precision, p_value in {*zip(found.precision.tolist(), found.p_value.tolist(), strict=True)}:
        share = (found.precision >= precision).double().mean().item()
        assert p_value == pytest.approx(share, rel=1e-10)


@pytest.mark.simulation
def test_keyframe_agreement_of_what_is_unrelated(check_measured):
    trials = 4000
    marks = torch.rand(1, 60).argsort() < 18
    found = keyframe_agreement(torch.rand(trials, 60), marks.expand(trials, 60), 12)
    assert found.chance[0] == 0.3
    # Four standard errors of the mean of hypergeometric shares.
    error = (0.3 * 0.7 / 12 * 48 / 59 / trials) ** 0.5
    for name, expected in (("precision", 0.3), ("recall", 0.3 * 12 / 18)):
        scale = expected / 0.3
        ends = (expected - 4 * error * scale, expected + 4 * error * scale, trials)
        check_measured(f"{name} of a random ranking", getattr(found, name).mean().item(), *ends)
    for level in (0.05, 0.3, 0.6):
        share = (found.p_value <= level).double().mean().item()
        reachable = found.p_value[found.p_value <= level].max().item()
        ends = (reachable - 2 / trials**0.5, reachable + 2 / trials**0.5, trials)
        check_measured(f"share of p-values at most {level}, keyframes", share, *ends)


def test_a_relevance_with_a_gradient_and_few_digits():
    relevance = torch.tensor([[0.0, 3, 2, 1]], dtype=torch.bfloat16, requires_grad=True)
    found = keyframe_agreement(relevance, torch.tensor([[True, True, True, False]]), 2)
    assert (found.precision.item(), found.precision.requires_grad) == (1, False)


# --- errors


CLIP = torch.zeros(1, 3, 3, 16, 16)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("threshold", [-0.1, 1.1, NAN, "0.3", True, None])
def test_a_threshold_out_of_its_range(threshold):
    text = f"threshold from 0 to 1, got {threshold!r}. Choose another"
    assert_refused(OptionError, text, keyframes, CLIP, threshold)


@pytest.mark.usefixtures("as_user")
def test_a_threshold_of_nothing():
    assert_refused(OptionError, "threshold above 0, got 0. At 0 every", keyframes, CLIP, 0)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("bins", [0, 257, 2.5, True])
def test_bins_out_of_their_range(bins):
    text = f"bins a whole number from 1 to 256, got {bins}"
    assert_refused(OptionError, text, histogram_changes, CLIP, bins)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("clip", "text"),
    [
        (torch.zeros(3, 3, 16, 16), r"1 or 3 channels, got shape \(3, 3, 16, 16\). .* is of pict"),
        (torch.zeros(1, 3, 2, 16, 16), r"1 or 3 channels, got shape \(1, 3, 2, 16, 16\)"),
        (CLIP.byte(), r"got torch.uint8 of shape"),
        (CLIP[:, :1], r"at least 2 frames, got 1. .* is from one frame to the next"),
        (CLIP / 0, r"finite pixels, got 2304 of 2304 NaN or infinite. Look"),
    ],
)
def test_what_is_no_clip(clip, text):
    for function, measure in (
        (histogram_changes, "A change"),
        (frame_changes, "Flow"),
        (keyframes, "Flow"),
    ):
        assert_refused(ClipError, text.replace(".*", measure), function, clip)


@pytest.mark.usefixtures("as_user")
def test_what_the_flow_refuses():
    for function in (frame_changes, lambda clip, name: keyframes(clip, algorithm=name)):
        assert_refused(OptionError, '"farneback" or "dis", got \'tvl1\'', function, CLIP, "tvl1")
        text = 'at least 16x16 pixels for "dis", got 15x16'
        assert_refused(ClipError, text, function, CLIP[..., 1:, :], "dis")
    # Colours alone do not need so many.
    assert histogram_changes(CLIP[..., :1, :1]).tolist() == [[0, 0]]


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("shapes", [((2, 3), (2, 4)), ((3,), (3,)), ((2, 0), (2, 0))])
def test_relevance_and_keyframes_of_other_shapes(shapes):
    relevance, marks = torch.zeros(shapes[0]), torch.zeros(shapes[1], dtype=torch.bool)
    # The comma of a shape of one axis is no part of the text.
    first, second = (str(shape).replace("(", r"\(").replace(")", r"\)") for shape in shapes)
    text = f"of one shape, with at least 1 frame, got shapes {first} and {second}. Give one"
    assert_refused(OptionError, text, keyframe_agreement, relevance, marks)


@pytest.mark.usefixtures("as_user")
def test_relevance_and_keyframes_of_other_types():
    marks, relevance = torch.tensor([[True, False]]), torch.rand(1, 2)
    text = r"keyframes to be a tensor of true or false \(batch, time\), got torch.float32"
    assert_refused(DataError, text, keyframe_agreement, relevance, marks.float())
    text = r"relevance to be a tensor of floats \(batch, time\), got torch.uint8 .* Convert"
    assert_refused(DataError, text, keyframe_agreement, marks.byte(), marks)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("k", [0, 3, 1.0, True, "all"])
def test_more_frames_than_there_are(k):
    text = f"k a whole number from 1 to 2, got {k!r}"
    marks = torch.tensor([[True, False]])
    assert_refused(OptionError, text, keyframe_agreement, torch.rand(1, 2), marks, k)


def test_keyframes_that_stand_out_are_at_most_half_of_the_frames_after_the_first():
    rows = [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert stand_out(torch.tensor(rows).bool()).tolist() == [True, True, False, False]


def test_steady_motion_stands_out_nowhere_and_a_cut_does():
    picture = texture()
    steps = [np.roll(picture, shift, 1) for shift in range(8)]
    cut = [picture] * 4 + [255 - picture] * 4
    clip = torch.cat([clip_of_frames(steps), clip_of_frames(cut)])
    assert stand_out(keyframes(clip)).tolist() == [False, True]
