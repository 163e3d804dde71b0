"""Codecs that keep more from frame to frame than pictures, or tell less than they should."""

import random
from fractions import Fraction

import av
import numpy as np
import pytest

from temporal_attr import DamagedVideoError, clip_windows, load_clip
from temporal_attr.clips import VideoFile


def written(path, codec, pixels, size=(96, 128), rate=25, frames=12, **options):
    """A video of texture that drifts."""
    texture = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    texture = texture.repeat(size[0] // 12, 0).repeat(size[1] // 16, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate, options=options)
        (stream.height, stream.width), stream.pix_fmt = size, pixels
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(texture, 3 * number, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("name", ["palette.avi", "palette.mov"])
def test_a_palette_that_comes_once_holds_for_frames_in_any_order(tmp_path, name):
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[:, 1], palette[:, 2] = 255, np.arange(256), 9  # opacity, red, green
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("rawvideo", 10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "pal8"
        for number in range(24):
            picture = np.full((16, 16), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray((picture, palette), format="pal8")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for order in ([20], [9, 20, 3]):
        with VideoFile(tmp_path / name) as video:
            colours, _ = video.read(order, lambda pixels: pixels.amax((2, 3))[0].tolist())
            assert colours == [[10 * number, 9, 0] for number in order]
            assert video.notes == ()


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", ["a.avi", "a.mkv"])
def test_damage_in_motion_jpeg_is_named_where_the_decoder_meets_it(tmp_path, name):
    path = written(tmp_path / name, "mjpeg", "yuvj420p", frames=4)
    assert load_clip(path, 4).notes == ()
    data, named = path.read_bytes(), 0
    draw, mutant = random.Random(0), tmp_path / f"mutant-{name}"
    for _ in range(40):
        damaged = bytearray(data)
        at = draw.randrange(800, len(data) - 600)
        damaged[at : at + 8] = draw.randbytes(8)
        mutant.write_bytes(damaged)
        try:
            load_clip(mutant, 4)
        except DamagedVideoError:
            named += 1
    # The rest are codes that mean something else. FFmpeg by itself says so of one in twenty.
    assert named >= 5


@pytest.mark.parametrize("slices", ["4", "9"])
def test_a_wrong_checksum_in_ffv1_is_damage(tmp_path, slices):
    path = written(tmp_path / "a.mkv", "ffv1", "yuv420p", frames=6, level="3", slices=slices, g="3")
    expected = load_clip(path, 6).tensor
    with av.open(str(path)) as container:
        sizes = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    whole, damaged = path.read_bytes(), tmp_path / "b.mkv"
    for number, depth in ((0, 0.1), (1, 0.5), (5, 0.9)):
        data = bytearray(whole)
        data[sizes[number][0] + int(sizes[number][1] * depth)] ^= 0x10
        damaged.write_bytes(data)
        with pytest.raises(DamagedVideoError, match=f"expected frame {number} of 6"):
            load_clip(damaged, 6)
        with pytest.raises(DamagedVideoError, match=f"expected frame {number} of 6"):
            list(clip_windows(damaged, 2))
        # Those after it are made from it until the next key.
        sound = [n for n in range(6) if n < number or n // 3 > number // 3]
        assert load_clip(damaged, indices=sound).tensor.equal(expected[:, sound])


@pytest.mark.parametrize(
    "change",
    [
        lambda jpeg: jpeg[:-2],  # no end marker
        lambda jpeg: jpeg + bytes(7),
        lambda jpeg: jpeg[:2] + b"\xff\xe0\x00\x10AVI1" + bytes(10) + jpeg[2:],
        lambda jpeg: jpeg[:2] + b"\xff\xe0\x00\x04ab" + jpeg[2:],
    ],
)
def test_motion_jpeg_as_cameras_write_it_is_no_damage(tmp_path, change):
    with av.open(str(written(tmp_path / "a.avi", "mjpeg", "yuvj420p"))) as container:
        pictures = [bytes(packet) for packet in container.demux() if packet.size]
    with av.open(str(tmp_path / "b.avi"), "w") as container:
        stream = container.add_stream("mjpeg", 25)
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuvj420p"
        for number, picture in enumerate(pictures):
            packet = av.Packet(change(picture))
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1, 25), stream, True
            container.mux(packet)
    expected = load_clip(tmp_path / "a.avi", 12)
    assert load_clip(tmp_path / "b.avi", 12).tensor.equal(expected.tensor)


@pytest.mark.parametrize(
    ("size", "pixels", "rate"),
    [((576, 720), "yuv420p", Fraction(25)), ((480, 720), "yuv411p", Fraction(30000, 1001))],
)
def test_the_rate_of_raw_dv(tmp_path, size, pixels, rate):
    with VideoFile(written(tmp_path / "a.dv", "dvvideo", pixels, size, rate, 4)) as video:
        times = [seconds for _, seconds, _ in video.frames()]
        assert (video.fps, video.frame_count) == (float(rate), 4)
        assert times == pytest.approx([number / float(rate) for number in range(4)])


def test_times_of_repeated_fields_are_called_guesses(tmp_path):
    data = bytearray(written(tmp_path / "a.m2v", "mpeg2video", "yuv420p", bf="0").read_bytes())
    note = "some of its fields are shown twice (pulldown): times of frames for which"
    with VideoFile(tmp_path / "a.m2v") as video:
        assert not any(note in one for one in video.notes)
    at, pictures = 0, 0
    while (at := data.find(b"\0\0\1\xb5", at)) >= 0:
        if data[at + 4] >> 4 == 8:
            # Every other picture for three fields, and which is first changes with each of them.
            data[at + 8] |= 0x80
            data[at + 7] |= (0x82, 0x00, 0x02, 0x80)[pictures % 4]
            pictures += 1
        at += 4
    (tmp_path / "b.m2v").write_bytes(data)
    with VideoFile(tmp_path / "b.m2v") as video:
        times = [seconds for _, seconds, _ in video.frames()]
        assert any(note in one for one in video.notes)
    # What is said: they are not those of 3, 2, 3, 2 ... fields of 1/50 s.
    assert pictures == len(times) == 12
    assert times[-1] - times[0] != pytest.approx((6 * 3 + 5 * 2) / 50, abs=0.01)
