"""Files whose packets, header or pictures are not what a reader expects."""

import json
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from temporal_attr import (
    DamagedVideoError,
    FrameSizeError,
    NotAVideoError,
    OptionError,
    TruncatedVideoError,
    VideoError,
    clip_windows,
    load_clip,
)
from temporal_attr.clips import VideoFile, uniform_indices

ODD = Path(__file__).parents[3] / "shared" / "videos" / "odd"
TRUTH = json.loads((ODD / "truth.json").read_text()) if ODD.is_dir() else {}
# Values are compared here, and shapes elsewhere: to check both takes twice as long.
pytestmark = pytest.mark.usefixtures("as_user", "one_thread")
needs_odd = pytest.mark.skipif(not TRUTH, reason="needs the odd videos, not beside this checkout")

# Those that cannot be read to their end, with the error and the number of frames before it.
BROKEN = {
    "cut.mkv": (TruncatedVideoError, 108),
    "cut.avi": (DamagedVideoError, 109),
    "cut.mp4": (DamagedVideoError, 90),
    "hole.mp4": (DamagedVideoError, 60),
    "s12.ts": (FrameSizeError, 50),
}
COUNTED = {"h264b.avi", "xvid.avi", "cut.avi", "editneg.mkv", "s12.ts", "dup.mkv", "raw.h264"}
NOTES = {
    "inter264.mp4": "interlaced",
    "inter2.mpg": "interlaced",
    "interpr.mov": "interlaced",
    "interffv1.mkv": "interlaced",
    "hdr.mp4": "BT.2020 with PQ (HDR)",
    "alpha.webm": "alpha channel and is shown over black",
    "nokey.ts": "the first 27 pictures are not shown",
} | dict.fromkeys(COUNTED, "frames are counted")


def numbers_in(pictures):
    """The number that each frame carries as ten blocks; `(frames, channel, height, width)`."""
    scale = pictures.shape[3] / 160
    band = pictures[:, :, int(6 * scale) : int(18 * scale)].float().mean((1, 2))
    columns = [(int((7 + 15 * b) * scale), int((13 + 15 * b) * scale)) for b in range(10)]
    blocks = torch.stack([band[:, first:last].mean(1) for first, last in columns], 1)
    white = blocks > (128 if pictures.dtype == torch.uint8 else 128 / 255)
    return (white.long() << torch.arange(10)).sum(1).tolist()


@dataclass
class Seen:
    """What one pass over a file gave, in order; and how many frames come before its fault."""

    name: str
    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    mean: list[float] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    error: VideoError | None = None

    @property
    def path(self):
        return ODD / self.name

    @property
    def whole(self):
        return BROKEN.get(self.name, (None, len(self.numbers)))[1]


# Of the module, so that the tests of one file follow one another and share it.
@pytest.fixture(scope="module", params=TRUTH or [None])
def seen(request):
    if not TRUTH:
        pytest.skip("needs the odd videos, not beside this checkout")
    found = Seen(request.param)
    with VideoFile(found.path) as video:
        try:
            for _, seconds, fetch in video.frames():
                pixels = fetch()
                if not found.numbers:
                    found.mean = pixels[0].float().mean((1, 2)).tolist()
                found.numbers += numbers_in(pixels)
                found.times.append(seconds)
                found.sizes.add(tuple(pixels.shape[2:]))
        except VideoError as error:
            found.error = error
        found.notes = video.notes
    return found


def test_a_pass_over_an_odd_file_shows_what_the_truth_says(seen):
    name, truth = seen.name, TRUTH[seen.name]
    kind, length = BROKEN.get(name, (None, truth["frames"]))
    if name == "s12.ts":
        # Frames of both sizes come, each with its own; a clip of both is refused.
        kind, length = None, 100
        assert (seen.sizes, seen.numbers[:50]) == ({(96, 160), (192, 320)}, list(range(50)))
    else:
        assert seen.sizes == {(truth["height"], truth["width"])}
        assert truth["numbers"] is None or seen.numbers == truth["numbers"][:length]
    assert (len(seen.numbers), type(seen.error)) == (length, kind or type(None))
    # To the millisecond of Matroska; times that the file does not have are told by its rate.
    if name == "raw.h264":
        assert seen.times == pytest.approx([n / 25 for n in range(101)])
    else:
        told = zip(seen.times, truth["times_of_decoded_frames"], strict=False)
        assert max(abs(seconds - true) for seconds, true in told if true is not None) < 2e-3
    # Half a level: the truth was scaled by another version of FFmpeg.
    np.testing.assert_allclose(seen.mean, truth["mean_of_first_frame"], rtol=0, atol=0.5)
    if name in NOTES:
        assert any(NOTES[name] in note for note in seen.notes)
    else:
        assert seen.notes == ()


def test_clips_of_an_odd_file_have_the_frames_of_a_pass_over_it(seen):
    numbers, times, length = seen.numbers, seen.times, seen.whole
    order = random.Random(0).sample(range(length), min(length, 12))
    for number in order[:4]:
        with VideoFile(seen.path) as video:
            [pixels], [seconds] = video.read([number], lambda pixels: pixels)
        assert (numbers_in(pixels), seconds) == ([numbers[number]], times[number])
    chosen = load_clip(seen.path, indices=order)
    assert numbers_in(chosen.tensor[0]) == [numbers[n] for n in order]
    assert chosen.timestamps == tuple(times[n] for n in order)
    if seen.name in BROKEN:
        with pytest.raises((DamagedVideoError, TruncatedVideoError, FrameSizeError)):
            load_clip(seen.path, 16)
    else:
        assert load_clip(seen.path, 8).indices == uniform_indices(length, 8)
        dense = load_clip(seen.path, 5, "dense", start=length - 5)
        assert dense.timestamps == tuple(times[-5:])


def test_windows_of_an_odd_file(seen):
    found, failure = {}, None
    try:
        for clip in clip_windows(seen.path, 10, 0.0):
            shown = zip(numbers_in(clip.tensor[0]), clip.timestamps, strict=True)
            found.update(zip(clip.indices, shown, strict=True))
    except VideoError as error:
        failure = error
    assert type(failure) is BROKEN.get(seen.name, (type(None),))[0]
    assert len(found) == (seen.whole // 10 * 10 if failure else len(seen.numbers))
    assert all(found[n] == (seen.numbers[n], seen.times[n]) for n in found)


@needs_odd
def test_frames_behind_a_hole_are_those_of_their_numbers():
    clip = load_clip(ODD / "hole.mp4", indices=[119, 90, 100, 59])
    assert numbers_in(clip.tensor[0]) == [119, 90, 100, 59]
    with pytest.raises(DamagedVideoError, match="frame 75 of 120"):
        load_clip(ODD / "hole.mp4", indices=[75])


@needs_odd
@pytest.mark.parametrize(("name", "numbers"), [("cut.mkv", (249, 108)), ("cut.mp4", (250, 90))])
def test_a_cut_file_says_what_was_promised_and_what_is_there(name, numbers):
    text = "expected {} frames .* got {} that can be decoded".format(*numbers)
    with pytest.raises(TruncatedVideoError, match=text):
        load_clip(ODD / name, indices=[numbers[0] - 1])
    assert load_clip(ODD / name, 4, total=numbers[1]).indices == uniform_indices(numbers[1], 4)


def drifting(path, codec="libx264", pixels="yuv420p", frames=24, **options):
    """A video of texture that drifts."""
    texture = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    texture = texture.repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        if codec == "libx264":
            # Else its bytes depend on the processor, and with them where damage falls.
            options["x264-params"] = "cpu-independent=1"
        stream = container.add_stream(codec, 25, options=options)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pixels
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, 5 * number, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plainly(path, threads=1):
    """What FFmpeg decodes: the time, whether it is whole, and the picture of each frame."""
    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:
                return  # a codec that FFmpeg does not know
            stream.codec_context.thread_count = threads
            stream.codec_context.thread_type = "FRAME" if threads > 1 else "NONE"
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        rgb = frame.to_ndarray(format="rgb24", interpolation="BICUBIC")
                        yield frame.time, not frame.is_corrupt, torch.from_numpy(rgb)
                except av.FFmpegError:
                    pass
    except (av.FFmpegError, IndexError):
        return


def assert_right_or_named(path):
    """Every frame that is returned is one that FFmpeg decodes, whole, at that time or number."""
    shown, returned = list(plainly(path)), 0
    for way in (lambda: VideoFile(path).frames(), lambda: one_by_one(path)):
        try:
            for number, seconds, fetch in way():
                pixels = fetch()[0].permute(1, 2, 0)
                assert is_among(shown, number, seconds, pixels) or not_determined(
                    path, number, seconds, pixels
                )
                returned += 1
        except VideoError:
            continue
    return returned


def not_determined(path, number, seconds, pixels):
    """Whether FFmpeg decodes a frame so in several threads, or each time otherwise.

    What breaks no rule of a codec is no fault; then it depends on what else is in memory.
    """
    by_threads = [list(plainly(path, threads)) for threads in (1, 2, 3, 4)]
    pictures = [shown[number][2] for shown in by_threads if number < len(shown)]
    return any(is_among(shown, number, seconds, pixels) for shown in by_threads) or not all(
        torch.equal(pictures[0], picture) for picture in pictures
    )


def is_among(shown, number, seconds, pixels):
    at_time = (one for one in shown if one[0] is not None and round(one[0] - seconds, 3) == 0)
    return any(
        whole and torch.equal(picture, pixels)
        for _, whole, picture in [*at_time, *shown[number : number + 1]]
    )


def one_by_one(path):
    with VideoFile(path) as video:
        for number in (video.frame_count - 1, 0, video.frame_count // 2):
            try:
                [pixels], [seconds] = video.read([number], lambda pixels: pixels)
            except (DamagedVideoError, TruncatedVideoError):
                continue
            yield number, seconds, lambda pixels=pixels: pixels


FEW_OR_ALL = [False, pytest.param(True, marks=pytest.mark.simulation)]


@pytest.mark.parametrize("every", FEW_OR_ALL)
def test_bit_flips_give_right_pictures_or_a_named_error(tmp_path, every):
    data = drifting(tmp_path / "whole.mp4", g="8", bf="2").read_bytes()
    draw, returned, flips = random.Random(5), 0, 200 if every else 12
    for flip in range(flips):
        mutant = bytearray(data)
        mutant[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path = tmp_path / f"{flip}.mp4"
        path.write_bytes(mutant)
        returned += assert_right_or_named(path)
    assert returned > 5 * flips


@pytest.mark.parametrize("every", FEW_OR_ALL)
@pytest.mark.parametrize("name", ["a.mkv", "a.ts", "a.avi", "a.flv", "a.mp4"])
def test_truncations_give_right_pictures_or_a_named_error(tmp_path, name, every):
    data = drifting(tmp_path / name, g="8", bf="2").read_bytes()
    whole = assert_right_or_named(tmp_path / name)
    assert whole == 27
    for percent in range(2, 100) if every else (10, 50, 90):
        path = tmp_path / f"{percent}{name}"
        path.write_bytes(data[: len(data) * percent // 100])
        # The last of a file may be an index, without which all frames are there.
        assert assert_right_or_named(path) < whole + (percent > 90)


def test_a_change_of_size_is_named(tmp_path):
    small, large = tmp_path / "small.ts", tmp_path / "large.ts"
    for path, side in ((small, 48), (large, 96)):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg2video", 25)
            stream.height, stream.width, stream.pix_fmt = side, side, "yuv420p"
            for _ in range(8):
                frame = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), "rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    text = "frames of one size .* got 48 x 48 at frame 6 and 96 x 96 at frame 7"
    with pytest.raises(FrameSizeError, match=text):
        load_clip(both, indices=[6, 7])
    assert load_clip(both, indices=[8, 9]).tensor.shape[-2:] == (96, 96)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nwhole.mp4\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "ffconcat version 1.0\nfile whole.mp4\n"),
    ],
)
def test_lists_of_other_files_are_refused(tmp_path, name, text):
    drifting(tmp_path / "whole.mp4")
    (tmp_path / name).write_text(text)
    with pytest.raises(NotAVideoError, match=r"holds its own pictures, got a playlist"):
        load_clip(tmp_path / name)


def test_names_that_look_like_protocols_and_names_that_are_no_text(tmp_path, monkeypatch):
    expected = load_clip(drifting(tmp_path / "whole.mp4"), 2)
    monkeypatch.chdir(tmp_path)
    for name in (b"cam:1.mp4", b"http:x.mp4", b"caf\xe9.mp4", b"50%.mp4"):
        Path(os.fsdecode(name)).write_bytes(Path("whole.mp4").read_bytes())
        assert torch.equal(load_clip(os.fsdecode(name), 2).tensor, expected.tensor)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_file_opened_before_a_fork_is_read_after_it(tmp_path):
    video = VideoFile(drifting(tmp_path / "whole.mp4"))
    frames = video.frames()
    next(frames)
    [expected], _ = video.read([20], lambda pixels: pixels)
    child = os.fork()
    if not child:
        [found], _ = video.read([20], lambda pixels: pixels)
        right = torch.equal(found, expected) and [n for n, _, _ in frames] == list(range(1, 24))
        video.close()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [number for number, _, _ in frames] == list(range(1, 24))
    assert torch.equal(video.read([20], lambda pixels: pixels)[0][0], expected)


def test_transparent_parts_are_shown_over_black(tmp_path):
    path = tmp_path / "glass.mkv"
    rgba = np.full((16, 16, 4), 200, np.uint8)
    rgba[:, :8, 3], rgba[:, 8:, 3] = 255, 51
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", 25)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "bgra"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgba, format="rgba")))
        container.mux(stream.encode(None))
    clip = load_clip(path, 1)
    assert clip.notes == ("transparent parts are shown over black",)
    assert (clip.tensor[..., :8] * 255).unique().round().tolist() == [200]
    assert (clip.tensor[..., 8:] * 255).unique().round().tolist() == [40]


def test_gray_for_a_model_of_one_channel(tmp_path):
    from temporal_attr import Normalization, Preprocessing

    path = drifting(tmp_path / "whole.mkv", codec="ffv1", pixels="bgr0")
    colours = load_clip(path, 3).tensor
    one_channel = Preprocessing(normalization=Normalization((0.0,), (1.0,)))
    gray = load_clip(path, 3, preprocessing=one_channel)
    assert gray.tensor.shape == (1, 3, 1, 48, 64)
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    # Half a level, as the luma is rounded to bytes.
    expected = (colours * weights).sum(2, keepdim=True)
    torch.testing.assert_close(gray.tensor, expected, rtol=0, atol=0.51 / 255)
    [window] = clip_windows(path, 24, preprocessing=one_channel)
    assert torch.equal(window.tensor[0, 12], gray.tensor[0, 1])


@pytest.mark.parametrize("option", [{"stride": 2}, {"start": 3}, {"stride": 1}, {"start": 0}])
def test_options_of_another_sampling_are_refused(grey_video, option):
    [(name, value)] = option.items()
    text = f"{name} with sampling 'dense' only, got {name} {value} with sampling 'uniform'"
    with pytest.raises(OptionError, match=text):
        load_clip(grey_video, 4, **option)
    with pytest.raises(OptionError, match="with indices"):
        load_clip(grey_video, indices=[1], **option)
