"""The blocks of Matroska tell what reading all packets tells, or nothing."""

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from temporal_attr import TruncatedVideoError, VideoError
from temporal_attr.clips import VideoFile
from temporal_attr.clips._blocks import block_packets
from temporal_attr.clips._container import open_video
from temporal_attr.clips._index import PacketTable

ODD = Path(__file__).parents[3] / "shared" / "videos" / "odd"


def written(path, codec="libx264", sound="libopus", frames=30, container=(), **options):
    """A film whose times do not follow one step, with a second of sound."""
    with av.open(str(path), "w", options=dict(container)) as file:
        stream = file.add_stream(codec, 25, options=options)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        audio = file.add_stream(sound, 48000, layout="mono") if sound else None
        pixels = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(pixels, number, 1), format="rgb24")
            frame.pts, frame.time_base = 40 * number + number % 3, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "flt", "mono")
            silence.sample_rate, silence.pts = 48000, 0
            file.mux([*audio.encode(silence), *audio.encode(None)])
    return path


def by_blocks(path):
    with open_video(path) as video:
        return block_packets(video, path)


def assert_same(found, read):
    assert found.times.tolist() == read.times.tolist()
    assert found.keys.tolist() == read.keys.tolist()
    assert found.hidden.tolist() == read.hidden.tolist()
    assert (found.placeholders, read.placeholders, read.stopped) == (0, 0, "")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mkv", {"g": "8", "bf": "2"}),
        ("a.webm", {"codec": "libvpx-vp9", "g": "8", "deadline": "realtime"}),
        ("a.webm", {"codec": "libvpx", "g": "8", "deadline": "realtime", "sound": None}),
        ("a.mkv", {"sound": None, "frames": 200, "g": "12"}),
        # So many clusters that blocks, sizes of several bytes and cues lie everywhere.
        ("a.mkv", {"frames": 100, "container": {"cluster_time_limit": "200"}, "crf": "1"}),
    ],
)
def test_the_blocks_of_a_film_are_its_packets(tmp_path, name, options):
    path = written(tmp_path / name, **options)
    read, found = PacketTable.read(path), by_blocks(path)
    assert_same(found, read)
    assert found.promised == read.promised == 0
    assert len(found.times) == options.get("frames", 30)
    assert 1 <= found.keys.sum() < len(found.keys)


@pytest.mark.skipif(not ODD.is_dir(), reason="needs the odd videos, not beside this checkout")
@pytest.mark.parametrize("name", ["vfr.mkv", "vfr.webm", "la.mkv", "dup.mkv", "longaudio.webm"])
def test_the_blocks_of_odd_films_are_their_packets(name):
    assert_same(by_blocks(ODD / name), PacketTable.read(ODD / name))


def test_frames_of_vp8_that_are_not_shown(tmp_path):
    path = written(tmp_path / "a.webm", codec="libvpx", sound=None, g="8", deadline="realtime")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0)]
    data = bytearray(path.read_bytes())
    for number in (3, 20):
        data[data.index(packets[number])] &= ~16
    path.write_bytes(data)
    found = by_blocks(path)
    assert np.flatnonzero(found.hidden).tolist() == [3, 20]
    assert_same(found, PacketTable.read(path))


def test_what_blocks_do_not_tell_is_left_to_the_packets(tmp_path):
    whole = written(tmp_path / "a.mkv", g="8")
    data = whole.read_bytes()
    assert by_blocks(whole) is not None
    cut = tmp_path / "cut.mkv"
    for length in range(len(data) // 3, len(data), len(data) // 20):
        cut.write_bytes(data[:length])
        assert by_blocks(cut) is None
    assert by_blocks(written(tmp_path / "live.mkv", container={"live": "1"})) is None
    assert by_blocks(written(tmp_path / "a.mp4", sound=None)) is None
    # A promise of more than is there is told by packets, whose lengths count.
    at = data.index(b"\x44\x89\x88") + 3
    (tmp_path / "long.mkv").write_bytes(data[:at] + b"\x40\xb3\x88" + data[at + 3 :])  # 5000
    assert by_blocks(tmp_path / "long.mkv") is None
    with VideoFile(tmp_path / "long.mkv") as video:
        assert video.frame_count == pytest.approx(125, abs=1)


@pytest.mark.skipif(not ODD.is_dir(), reason="needs the odd videos, not beside this checkout")
def test_where_packets_are_others_than_the_blocks_their_promise_holds(tmp_path):
    data = bytearray((ODD / "longaudio.webm").read_bytes())
    data[332] ^= 0x40  # of the colours of the video, whose end FFmpeg then does not find
    path = tmp_path / "a.webm"
    path.write_bytes(data)
    assert len(by_blocks(path).times) == 60
    assert len(PacketTable.read(path).times) == 0
    with VideoFile(path) as video, pytest.raises(TruncatedVideoError, match="expected 150 frames"):
        list(video.frames())


def test_damaged_heads_tell_the_same_or_nothing(tmp_path):
    data = written(tmp_path / "a.mkv", frames=20, g="8", bf="2").read_bytes()
    likely = [at for at, byte in enumerate(data) if byte in (0xA3, 0xA0, 0x1F) or at < 600]
    draw, path, same = random.Random(0), tmp_path / "b.mkv", 0
    for _ in range(150):
        mutant = bytearray(data)
        mutant[min(draw.choice(likely) + draw.randrange(8), len(data) - 1)] ^= 1 << draw.randrange(
            8
        )
        path.write_bytes(mutant)
        try:
            found = by_blocks(path)
        except VideoError:
            continue
        if found is not None:
            assert_same(found, PacketTable.read(path))
            same += 1
    assert 40 < same < 140
