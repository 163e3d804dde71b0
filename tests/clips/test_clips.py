"""Decoding, sampling and preprocessing."""

import os
import subprocess
import sys

import av
import cv2
import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

from temporal_attr import (
    Clip,
    ClipError,
    DamagedVideoError,
    Normalization,
    NotAVideoError,
    OptionError,
    Preprocessing,
    TooFewFramesError,
    TruncatedVideoError,
    VideoNotFoundError,
    clip_windows,
    load_clip,
)
from temporal_attr.clips import (
    ImageSequence,
    VideoFile,
    dense_indices,
    uniform_indices,
    window_starts,
    write_video,
)
from temporal_attr.clips._container import OpenVideo
from temporal_attr.clips._index import UNKNOWN, FrameIndex, PacketTable
from temporal_attr.clips._passes import FaultError
from temporal_attr.clips._picture import Painter
from tests.references import definitions as references

counts = st.integers(1, 60)


@given(total=counts, frames=counts)
def test_uniform_sampling_is_the_centre_of_each_segment(total, frames):
    if frames <= total:
        chosen = uniform_indices(total, frames)
        assert chosen == references.uniform_indices(total, frames)
        assert len(set(chosen)) == frames
    else:
        with pytest.raises(TooFewFramesError, match="never repeated or padded"):
            uniform_indices(total, frames)


@given(total=counts, frames=counts, stride=st.integers(1, 5), start=st.integers(0, 20))
def test_dense_sampling_is_every_strideth_frame(total, frames, stride, start):
    if start + (frames - 1) * stride < total:
        expected = references.dense_indices(total, frames, stride, start)
        assert dense_indices(total, frames, stride, start) == expected
    else:
        with pytest.raises(TooFewFramesError):
            dense_indices(total, frames, stride, start)


@given(total=counts, size=counts, overlap=st.floats(0, 0.95))
def test_windows_cover_the_video(total, size, overlap):
    if size > total:
        with pytest.raises(TooFewFramesError, match=f"a window of {size} frames"):
            window_starts(total, size, overlap)
        return
    starts = window_starts(total, size, overlap)
    assert starts == references.window_starts(total, size, overlap)
    assert {f for start in starts for f in range(start, start + size)} == set(range(total))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: uniform_indices(10, 0), "frames to be at least 1, got 0"),
        (lambda: dense_indices(10, -2), "frames to be at least 1, got -2"),
        (lambda: dense_indices(10, 2, stride=0), "stride to be at least 1, got 0"),
        (lambda: dense_indices(10, 2, start=-1), "start to be 0 or more, got -1"),
        (lambda: window_starts(10, size=0), "size to be at least 1, got 0"),
        (lambda: window_starts(10, 4, overlap=1.0), r"overlap in \[0, 1\), got 1.0"),
        (lambda: Preprocessing(resize=0), "sizes of 1 to 32768 pixels, got 0"),
        (lambda: Preprocessing(crop=(4, -1)), "sizes of 1 to 32768 pixels, got -1"),
        (lambda: Normalization((0.5,), (0.5, 0.5)), "for each channel, got 1 and 2"),
        (lambda: Normalization((0.5,), (0.0,)), "positive standard deviations"),
        (lambda: Clip.from_tensor(torch.rand(1, 2, 3, 4, 4), fps=0), "positive number of frames"),
        (
            lambda: Clip(torch.rand(1, 1, 3, 4, 4), (0,), (0.0,), 0, "tensor"),
            "positive number of frames a second, got 0",
        ),
    ],
)
def test_impossible_settings_are_named(call, text):
    with pytest.raises(OptionError, match=text):
        call()


def frames_seen(clip, grey_levels):
    """Which frame of `grey_video` each frame of a clip shows, by its grey level."""
    # Rounding of the codec; frames lie at least five apart.
    found = clip.tensor[0].mean((1, 2, 3)).numpy() * 255
    distance = np.abs(found[:, None] - grey_levels[None])
    assert distance.min(1).max() < 2
    return tuple(distance.argmin(1).tolist())


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 7},
        {"frames": 40},
        {"frames": 9, "sampling": "dense", "stride": 3, "start": 5},
        {"indices": [39, 0, 17, 17]},
        {"indices": np.array([5, 38])},
    ],
)
def test_the_frames_asked_for_are_the_frames_that_come(grey_video, grey_levels, options):
    clip = load_clip(grey_video, **options)
    assert frames_seen(clip, grey_levels) == clip.indices
    assert clip.timestamps == pytest.approx([i / 10 for i in clip.indices], abs=1e-3)
    assert (clip.fps, clip.source) == (10, str(grey_video))


def test_uniform_frames_of_a_file(grey_video):
    assert load_clip(grey_video, 4).indices == references.uniform_indices(40, 4)


def test_only_the_frames_asked_for_are_converted(grey_video, monkeypatch):
    fetched = []
    original = Painter.__call__
    monkeypatch.setattr(
        Painter, "__call__", lambda self, frame: fetched.append(1) or original(self, frame)
    )
    load_clip(grey_video, indices=[3, 20])
    assert len(fetched) == 2


@pytest.mark.parametrize("seek_to", [0, 20, 35, 39])
def test_a_decoder_that_seeks_wrongly_is_found_out(grey_video, grey_levels, monkeypatch, seek_to):
    original = OpenVideo.seek
    sought = []

    def astray(self, time):
        sought.append(time)
        original(self, seek_to * 100)

    monkeypatch.setattr(OpenVideo, "seek", astray)
    assert frames_seen(load_clip(grey_video, indices=[2, 33, 38]), grey_levels) == (2, 33, 38)
    assert sought


def test_a_frame_that_the_decoder_refuses_is_an_error_and_shifts_no_other(
    grey_video, grey_levels, monkeypatch
):
    from temporal_attr.clips import _passes

    original = _passes.decoded

    def refusing(video, packet):
        frames, taken = original(video, packet)
        if packet.pts == 500 and video.threads > 1:
            raise FaultError
        return ([], False) if packet.pts == 500 else (frames, taken)

    monkeypatch.setattr(_passes, "decoded", refusing)
    assert frames_seen(load_clip(grey_video, indices=[2, 3, 4]), grey_levels) == (2, 3, 4)
    later = FrameIndex.of(PacketTable.read(grey_video), "matroska").keys[1]
    after = [int(later), 39]
    assert frames_seen(load_clip(grey_video, indices=after), grey_levels) == tuple(after)
    text = r"expected frame 5 of 40 .* undamaged, got none; the next .* is frame 6"
    with pytest.raises(DamagedVideoError, match=text):
        load_clip(grey_video, indices=[4, 5])
    with pytest.raises(DamagedVideoError, match="expected frame 6 of 40 .* made up in part"):
        load_clip(grey_video, indices=[6])
    starts = []
    with pytest.raises(DamagedVideoError, match="expected frame 5 of 40"):
        starts.extend(clip.indices[0] for clip in clip_windows(grey_video, size=4))
    assert starts == [0]


def test_a_decoder_that_leaves_a_frame_out_without_a_word_makes_frames_be_counted(
    grey_video, grey_levels, monkeypatch
):
    from temporal_attr.clips import _passes

    original = _passes.decoded

    def skipping(video, packet):
        frames, taken = original(video, packet)
        return [frame for frame in frames if frame.pts != 1500], taken

    monkeypatch.setattr(_passes, "decoded", skipping)
    clip = load_clip(grey_video, indices=[14, 15, 38])
    assert frames_seen(clip, grey_levels) == (14, 16, 39)
    assert clip.timestamps == pytest.approx((1.4, 1.6, 3.9))
    assert "so frames are counted" in clip.notes[0]
    assert load_clip(grey_video, 39).indices == tuple(range(39))


def test_without_an_index_frames_are_counted(grey_video, grey_levels, monkeypatch):
    monkeypatch.setattr(FrameIndex, "of", lambda table, name: "there is no index")
    clip = load_clip(grey_video, 7)
    assert frames_seen(clip, grey_levels) == uniform_indices(40, 7)
    assert clip.notes == ("there is no index, so frames are counted from the beginning",)
    firsts = [clip.indices[0] for clip in clip_windows(grey_video, 12)]
    assert tuple(firsts) == window_starts(40, 12)


def table_of(times, keys, hidden=()):
    return PacketTable(
        times=np.array([UNKNOWN if time is None else time for time in times], np.int64),
        keys=np.array([place in keys for place in range(len(times))], bool),
        hidden=np.array([place in hidden for place in range(len(times))], bool),
    )


def test_the_index_knows_places_numbers_and_keys():
    # Stored I P B B, with the P shown last, twice; the first two pictures are cut off.
    index = FrameIndex.of(table_of([0, 3, 1, 2, 4, 7, 5, 6], {0, 4}, hidden={0, 2}), "mov")
    assert index.shown.tolist() == [3, 1, 4, 6, 7, 5]
    assert [index.number(time) for time in (2, 3, 7, 1, 99, None)] == [0, 1, 5, None, None, None]
    assert [index.place(time) for time in (0, 2, 6, 99)] == [0, 3, 7, None]
    assert [index.key_before(place) for place in range(8)] == [0, 0, 0, 0, 4, 4, 4, 4]
    assert index.key_before(5, unless={4}) == 0
    assert [index.first_number(key) for key in (0, 4)] == [0, 2]
    # The frame at place 6 is made from the one at place 5, which is shown last.
    assert index.settled.tolist() == [-1, 1, 1, 1, 2, 5, 5, 5]
    assert index.without_first(2).shown.tolist() == [4, 6, 7, 5]


def test_frames_shown_before_the_key_that_they_follow_belong_to_the_key_before():
    # Stored I, then I B with the B shown before its I.
    index = FrameIndex.of(table_of([0, 2, 1], {0, 1}), "mov")
    assert [index.key_before(place) for place in range(3)] == [0, 1, 0]


@pytest.mark.parametrize(
    ("times", "keys", "text"),
    [
        ([0, None, 2], {0}, "no times"),
        ([], {0}, "no times"),
        ([0, 1, 1], {0}, "repeat"),
        ([0, 5, 1, 2], {0, 2}, "go back"),
        ([1000, *range(40)], {0}, "order"),
    ],
)
def test_times_that_make_no_index(times, keys, text):
    assert text in FrameIndex.of(table_of(times, keys), "mov")


def test_avi_and_placeholders_make_no_index():
    table = table_of([0, 1, 2], {0})
    assert "AVI stores" in FrameIndex.of(table, "avi")
    table.placeholders = 1
    assert "without a frame" in FrameIndex.of(table, "mov")
    assert isinstance(FrameIndex.of(table_of([0, 1], {0, 1}), "avi"), FrameIndex)


def test_the_index_of_a_file(grey_video):
    index = FrameIndex.of(PacketTable.read(grey_video), "matroska")
    assert index.times.tolist() == [100 * number for number in range(40)]
    assert index.shown.tolist() == list(range(40))
    assert index.keys[0] == 0
    assert 1 < len(index.keys) < 40


def test_windows_of_a_file_are_those_of_the_arithmetic(grey_video, grey_levels):
    clips = list(clip_windows(grey_video, size=12, overlap=0.5))
    assert tuple(clip.indices[0] for clip in clips) == window_starts(40, 12, 0.5)
    for clip in clips:
        assert clip.indices == tuple(range(clip.indices[0], clip.indices[0] + 12))
        assert frames_seen(clip, grey_levels) == clip.indices


def test_windows_longer_than_the_file_are_an_error(grey_video):
    with pytest.raises(
        TooFewFramesError, match="at least 41 frames for a window, got a video of 40"
    ):
        list(clip_windows(grey_video, size=41))


def test_a_missing_file(tmp_path):
    with pytest.raises(VideoNotFoundError, match="a video file at .*none.mp4, got no file there"):
        load_clip(tmp_path / "none.mp4")
    with pytest.raises(FileNotFoundError, match="got a folder"):
        VideoFile(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "live.mp4")
    with pytest.raises(VideoNotFoundError, match="got what is not a regular file"):
        load_clip(tmp_path / "live.mp4")


def test_a_file_of_which_nothing_can_be_read(grey_video, tmp_path):
    # The first key frame is cut off in the middle.
    with av.open(str(grey_video)) as container:
        first = next(container.demux(video=0))
        end = first.pos + first.size // 2
    path = tmp_path / "none.webm"
    path.write_bytes(grey_video.read_bytes()[:end])
    text = "expected 40 frames .* got 0 that can be decoded, so frame 5 .* Get the file anew"
    with pytest.raises(TruncatedVideoError, match=text):
        load_clip(path, 4)


def test_a_file_that_is_no_video(tmp_path):
    path = tmp_path / "notes.mp4"
    path.write_text("no video")
    with pytest.raises(NotAVideoError, match="a file of 8 bytes without a readable video stream"):
        load_clip(path)


def test_more_frames_than_there_are(grey_video):
    with pytest.raises(TooFewFramesError, match="at least 41 frames .* got a video of 40"):
        load_clip(grey_video, 41)
    with pytest.raises(TooFewFramesError, match="frame numbers from 0 to 39 .* got 0 to 40"):
        load_clip(grey_video, indices=[0, 40])
    with pytest.raises(OptionError, match="at least one frame number, got none"):
        load_clip(grey_video, indices=[])


@pytest.mark.usefixtures("as_user")
def test_an_unknown_sampling(grey_video):
    with pytest.raises(OptionError, match='sampling to be "uniform" or "dense", got \'random\''):
        load_clip(grey_video, sampling="random")


def test_a_file_that_ends_early(grey_video, tmp_path):
    # The first half of the bytes: the header still promises all frames.
    path = tmp_path / "half.webm"
    path.write_bytes(grey_video.read_bytes()[: grey_video.stat().st_size // 2])
    numbers = []
    with VideoFile(path) as video:
        frames = (numbers.append(number) for number, _, _ in video.frames())
        with pytest.raises(TruncatedVideoError):
            list(frames)
        promised, decoded = video.frame_count, len(numbers)
    assert promised == 40
    assert 8 < decoded < 32
    pattern = f"expected {promised} frames .* got {decoded} that can be decoded"
    with pytest.raises(TruncatedVideoError, match=pattern):
        load_clip(path, 16)
    assert load_clip(path, 4, total=decoded).indices == uniform_indices(decoded, 4)
    with pytest.raises(TruncatedVideoError):
        list(clip_windows(path, size=4))


def test_the_damaged_clip(real_video):
    with pytest.raises(DamagedVideoError, match="expected frame 29 of 50 .* made up in part"):
        load_clip(real_video("corrupted.mp4"), 16)
    assert load_clip(real_video("corrupted.mp4"), 29, "dense").indices == tuple(range(29))


@pytest.mark.parametrize(
    ("name", "count", "fps", "size"),
    [
        ("arm_wrestling.mp4", 280, 28, (256, 340)),
        ("flipping_a_pancake.mkv", 310, 30, (240, 426)),
        ("short_32_frames.mp4", 32, 30, (256, 340)),
    ],
)
def test_real_clips(real_video, name, count, fps, size):
    path = real_video(name)
    capture = cv2.VideoCapture(str(path))
    every = []
    while True:
        ok, image = capture.read()
        if not ok:
            break
        every.append(image)
    assert len(every) == count
    assert VideoFile(path).frame_count == count
    # Far apart and backwards, so that most of them are sought.
    clip = load_clip(path, indices=[*uniform_indices(count, 8), count - 1, 0])
    assert len(load_clip(path, count, "uniform").indices) == count
    assert clip.fps == fps
    assert tuple(clip.tensor.shape[-2:]) == size
    for frame, index in zip(clip.tensor[0], clip.indices, strict=True):
        bgr = torch.from_numpy(every[index]).permute(2, 0, 1).flip(0)
        assert torch.equal((frame * 255).round().byte(), bgr)


def test_windows_of_a_video_whose_count_is_an_estimate(real_video):
    # By its length the file would have 311 frames; 310 are there.
    clips = list(clip_windows(real_video("flipping_a_pancake.mkv"), size=100, overlap=0.0))
    assert [clip.indices[-1] for clip in clips] == [99, 199, 299, 309]


@pytest.mark.parametrize("resize", [20, (24, 31), 64])
@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (31, 77)])
def test_preprocessing_matches_the_slow_reference(resize, shape):
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, *shape), dtype=np.uint8)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    preprocess = Preprocessing(resize, (17, 18), Normalization(mean, std))
    found = preprocess(torch.from_numpy(frames)).double().numpy()
    expected = references.preprocess_bytes(frames, resize, (17, 18), mean, std)
    # Simple ratios of sizes make many exact halves, which single precision may round to the other
    # byte; no value is off by more.
    difference = np.abs(found - expected) * np.array(std)[:, None, None] * 255
    assert (difference > 1e-4).mean() < 2e-2
    assert difference.max() < 1.001


@pytest.mark.parametrize("name", ["R3D_18", "MC3_18", "R2Plus1D_18", "S3D"])
def test_video_presets_agree_with_torchvision(name):
    weights = getattr(torchvision.models.video, f"{name}_Weights").DEFAULT
    preset = weights.transforms()
    frames = torch.randint(0, 256, (3, 3, 256, 340), dtype=torch.uint8)
    expected = preset(frames).transpose(0, 1)
    found = Preprocessing.from_torchvision(preset)(frames)
    # The same operations in the same order; only the normalization is written differently.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["ResNet18", "ViT_B_16", "EfficientNet_B0"])
def test_image_presets_agree_with_torchvision(name):
    weights = getattr(torchvision.models, f"{name}_Weights").DEFAULT
    preset = weights.transforms()
    frames = torch.randint(0, 256, (2, 3, 300, 401), dtype=torch.uint8)
    found = Preprocessing.from_torchvision(preset)(frames)
    torch.testing.assert_close(found, preset(frames), rtol=0, atol=1e-6)


def test_timm_preset_agrees_with_timm():
    import timm
    from PIL import Image
    from torchvision.transforms.functional import to_pil_image

    from temporal_attr import wrap

    model = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    frame = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), (260, 300), mode="bicubic")
    frame = (frame.clamp(0, 1) * 255).byte()
    image = to_pil_image(frame[0])
    assert isinstance(image, Image.Image)
    found = wrap(model).preprocessing(frame)
    # timm resizes with PIL, whose fixed-point arithmetic differs by a byte level or two.
    assert (found[0] - transform(image)).abs().max() * 0.5 * 255 <= 2.001


def test_from_torchvision_refuses_other_transforms():
    with pytest.raises(OptionError, match=r"a classification preset.* got Identity"):
        Preprocessing.from_torchvision(torch.nn.Identity())


def test_a_crop_larger_than_the_frame_is_not_padded():
    with pytest.raises(ClipError, match="frames of at least 30x30 pixels .* got 20x40"):
        Preprocessing(crop=(30, 30))(torch.rand(1, 3, 20, 40))


@given(
    mean=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    std=st.lists(st.floats(0.05, 2), min_size=3, max_size=3),
)
def test_normalization_inverts_and_bounds(mean, std):
    normalization = Normalization(tuple(mean), tuple(std))
    pixels = torch.linspace(0, 1, 3 * 16, dtype=torch.float64).reshape(1, 3, 4, 4)
    values = normalization.apply(pixels)
    torch.testing.assert_close(normalization.invert(values), pixels, rtol=0, atol=1e-12)
    lower, upper = normalization.bounds()
    assert (values >= lower.double()[:, None, None] - 1e-5).all()
    assert (values <= upper.double()[:, None, None] + 1e-5).all()
    black, white = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)
    torch.testing.assert_close(normalization.apply(black).flatten(), lower)
    torch.testing.assert_close(normalization.apply(white).flatten(), upper)


def test_normalization_of_other_channels_is_refused():
    with pytest.raises(ClipError, match=r"3 channels on the third axis .* shape \(1, 4, 2, 2\)"):
        Normalization((0.0,) * 3, (1.0,) * 3).apply(torch.rand(1, 4, 2, 2))


def test_images_undo_the_normalization(grey_video):
    normalization = Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    plain = load_clip(grey_video, 5, preprocessing=Preprocessing(32, (32, 32)))
    clip = load_clip(grey_video, 5, preprocessing=Preprocessing(32, (32, 32), normalization))
    assert not torch.allclose(clip.tensor, plain.tensor)
    expected = plain.tensor[0].permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(clip.images(), expected, rtol=0, atol=1e-6)


def test_a_clip_needs_a_timestamp_for_each_frame():
    with pytest.raises(ClipError, match="got 2 and 3 for 3"):
        Clip(torch.rand(1, 3, 3, 4, 4), (0, 1), (0.0, 1.0, 2.0), 1.0, "here")


@pytest.mark.parametrize(
    ("frames", "path", "fps", "text"),
    [
        ([np.zeros((4, 4, 3), np.uint8)], "a.mp4", 4, "a file name that ends in .webm"),
        ([np.zeros((4, 4, 3), np.uint8)], "a.webm", 0, "fps from .* got 0"),
        ([], "a.webm", 4, "frames of one size, got none"),
        ([np.zeros((4, s, 3), np.uint8) for s in (4, 6)], "a.webm", 4, "frames of one size"),
    ],
)
def test_writing_impossible_videos(tmp_path, frames, path, fps, text):
    with pytest.raises(OptionError, match=text):
        write_video(frames, tmp_path / path, fps)


def test_importing_the_package_imports_no_heavy_library():
    heavy = "av cv2 PIL torchvision timm transformers matplotlib captum"
    code = f"import sys, temporal_attr; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("kind", [VideoFile, ImageSequence, OpenVideo])
def test_what_is_open_is_closed_at_the_end_of_its_block(kind, monkeypatch):
    closed = []

    def close(self):
        closed.append(self)

    def interrupted(one):
        with one as entered:
            assert (entered, closed) == (one, [])
            raise KeyError

    monkeypatch.setattr(kind, "close", close)
    one = object.__new__(kind)
    # Only who it is matters here.
    monkeypatch.setattr(kind, "__eq__", lambda self, other: self is other)
    with pytest.raises(KeyError):
        interrupted(one)
    assert closed == [one]


def test_one_open_file_can_be_read_again(grey_video):
    with VideoFile(grey_video) as video:
        first = video.read([5, 39], lambda pixels: pixels)
        again = video.read([5, 39], lambda pixels: pixels)
        assert sum(1 for _ in video.frames()) == 40
        back = video.read([5], lambda pixels: pixels)
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert torch.equal(back[0][0], first[0][0])


@pytest.mark.usefixtures("as_user")
def test_a_clip_is_one_clip():
    with pytest.raises(ClipError, match="the frames of one clip"):
        Clip.from_tensor(torch.rand(2, 3, 3, 4, 4))


@pytest.mark.parametrize(("frames", "opened"), [([20, 33], 1), ([0, 20], 2)])
def test_a_file_whose_header_lists_its_packets_is_opened_once(
    tmp_path, grey_video, grey_levels, monkeypatch, frames, opened
):
    path = tmp_path / "grey.mp4"
    with av.open(str(grey_video)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    original, opens = av.open, []
    monkeypatch.setattr(
        av, "open", lambda *args, **more: opens.append(1) or original(*args, **more)
    )
    clip = load_clip(path, indices=frames)
    # A second time only to begin at the beginning again, which was tried.
    assert (frames_seen(clip, grey_levels), len(opens)) == (tuple(frames), opened)
