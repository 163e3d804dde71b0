"""Decoding, sampling and preprocessing."""

import subprocess
import sys

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
    VideoFile,
    dense_indices,
    uniform_indices,
    window_starts,
    write_video,
)
from temporal_attr.clips._index import FrameIndex
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
        (lambda: Preprocessing(resize=0), "sizes of at least 1 pixel, got 0"),
        (lambda: Preprocessing(crop=(4, -1)), "sizes of at least 1 pixel, got -1"),
        (lambda: Normalization((0.5,), (0.5, 0.5)), "for each channel, got 1 and 2"),
        (lambda: Normalization((0.5,), (0.0,)), "positive standard deviations"),
        (lambda: Clip.from_tensor(torch.rand(1, 2, 3, 4, 4), fps=0), "positive number of frames"),
    ],
)
def test_impossible_settings_are_named(call, text):
    with pytest.raises(OptionError, match=text):
        call()


def frames_seen(clip, grey_levels):
    """Which frame of `grey_video` each frame of a clip shows, by its grey level."""
    # The codec's colour conversion darkens by three or four levels; frames lie at least five apart.
    found = clip.tensor[0].mean((1, 2, 3)).numpy() * 255 + 3.5
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
    original = VideoFile._pixels
    monkeypatch.setattr(VideoFile, "_pixels", lambda self: fetched.append(1) or original(self))
    load_clip(grey_video, indices=[3, 20])
    assert len(fetched) == 2


class Decoder:
    """A decoder that seeks to the wrong place, or loses a frame."""

    def __init__(self, capture, seek_to=None, lose=None):
        self.capture, self.seek_to, self.lose = capture, seek_to, lose
        self.grabbed = 0

    def __getattr__(self, name):
        return getattr(self.capture, name)

    def set(self, prop, value):
        if self.seek_to == "nowhere":
            return False
        return self.capture.set(cv2.CAP_PROP_POS_FRAMES, self.seek_to)

    def grab(self):
        if self.grabbed == self.lose:
            self.capture.grab()
        self.grabbed += 1
        return self.capture.grab()


@pytest.mark.parametrize("seek_to", ["nowhere", 0, 20, 35, 39, 1000])
def test_a_decoder_that_seeks_wrongly_is_found_out(grey_video, grey_levels, monkeypatch, seek_to):
    from temporal_attr.clips import _decode

    opened = _decode._open
    monkeypatch.setattr(_decode, "_open", lambda path: Decoder(opened(path), seek_to))
    clip = load_clip(grey_video, indices=[2, 33, 38])
    assert frames_seen(clip, grey_levels) == (2, 33, 38)


def test_a_lost_frame_is_an_error_and_shifts_no_other(grey_video, grey_levels, monkeypatch):
    from temporal_attr.clips import _decode

    opened = _decode._open
    monkeypatch.setattr(_decode, "_open", lambda path: Decoder(opened(path), "nowhere", lose=5))
    assert frames_seen(load_clip(grey_video, indices=[4, 6, 7]), grey_levels) == (4, 6, 7)
    with pytest.raises(TruncatedVideoError, match="expected frame 5 .* got frame 6 in its place"):
        load_clip(grey_video, indices=[4, 5])
    with pytest.raises(TruncatedVideoError, match="expected frame 5 .* got frame 6 in its place"):
        list(clip_windows(grey_video, size=4))


def test_without_an_index_frames_are_counted(grey_video, grey_levels, monkeypatch):
    monkeypatch.setattr("temporal_attr.clips._index.FrameIndex.read", lambda path: None)
    assert frames_seen(load_clip(grey_video, 7), grey_levels) == uniform_indices(40, 7)


def test_the_index_of_a_file(grey_video, tmp_path):
    index = FrameIndex.read(grey_video)
    np.testing.assert_allclose(index.seconds, np.arange(40) / 10, atol=1e-3)
    assert index.is_key[0]
    assert 1 < index.is_key.sum() < 40
    assert [index.number(s) for s in (0.0, 0.1, 3.9)] == [0, 1, 39]
    keys = np.flatnonzero(index.is_key).tolist()
    assert not index.seeking_pays(-1, keys[1] + 16)
    assert index.seeking_pays(-1, keys[1] + 17)
    assert not index.seeking_pays(keys[1], keys[1] + 17)
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    assert FrameIndex.read(empty) is None


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
        load_clip(tmp_path)


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
    with VideoFile(path) as video:
        promised, decoded = video.frame_count, sum(1 for _ in video.frames())
    assert decoded < promised - 1
    pattern = f"expected {promised} frames .* got {decoded} that can be decoded"
    with pytest.raises(TruncatedVideoError, match=pattern):
        load_clip(path, 16)
    assert load_clip(path, 4, total=decoded).indices == uniform_indices(decoded, 4)
    with pytest.raises(TruncatedVideoError):
        list(clip_windows(path, size=4))


def test_the_damaged_clip(real_video):
    with pytest.raises(
        TruncatedVideoError, match="expected 50 frames .* got 28 that can be decoded"
    ):
        load_clip(real_video("corrupted.mp4"), 16)
    assert load_clip(real_video("corrupted.mp4"), 28, "dense").indices == tuple(range(28))


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
        ([np.zeros((4, 4, 3), np.uint8)], "a.webm", 0, "a positive number of frames a second"),
        ([], "a.webm", 4, "frames of one size, got none"),
        ([np.zeros((4, s, 3), np.uint8) for s in (4, 6)], "a.webm", 4, "frames of one size"),
    ],
)
def test_writing_impossible_videos(tmp_path, frames, path, fps, text):
    with pytest.raises(OptionError, match=text):
        write_video(frames, tmp_path / path, fps)


def test_importing_the_package_imports_no_heavy_library():
    heavy = "cv2 torchvision timm transformers matplotlib captum"
    code = f"import sys, temporal_attr; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
