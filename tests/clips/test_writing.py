"""Writing videos: what comes back, what is refused, and what is left behind."""

import resource
import signal
import threading

import av
import numpy as np
import pytest

from temporal_attr import OptionError, VideoError, load_clip
from temporal_attr.clips import VideoFile, write_video


def noise(frames, side=96):
    return list(np.random.default_rng(0).integers(0, 255, (frames, side, side, 3), np.uint8))


@pytest.mark.parametrize("fps", [0.5, 10, 29.97, 12.5, 1000])
def test_frames_and_times_come_back(tmp_path, fps):
    colours = [(200, 40, 60), (10, 220, 90), (30, 60, 240)]
    frames = [np.full((32, 48, 3), colour, np.uint8) for colour in colours]
    path = write_video(frames, tmp_path / "a.webm", fps)
    clip = load_clip(path, 3)
    found = clip.tensor[0].mean((2, 3)).numpy() * 255
    # Colours are stored as luma and colour differences of 220 levels.
    np.testing.assert_allclose(found, colours, rtol=0, atol=4)
    assert clip.timestamps == pytest.approx([number / fps for number in range(3)], abs=6e-4)
    assert clip.notes == ()


def test_a_browser_can_play_it(tmp_path):
    path = write_video(noise(2), tmp_path / "a.webm", 5)
    with av.open(str(path)) as container:
        [stream] = container.streams
        context = stream.codec_context
        assert (container.format.name, context.name, context.pix_fmt) == (
            "matroska,webm",
            "vp9",
            "yuv420p",
        )


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4, 3), np.float32),
        [[0]],
    ],
)
@pytest.mark.usefixtures("as_user")
def test_what_is_no_picture_of_rgb_bytes_is_refused(tmp_path, frame):
    with pytest.raises(OptionError, match="frames of RGB bytes .* at frame 1"):
        write_video([np.zeros((4, 4, 3), np.uint8), frame], tmp_path / "a.webm", 4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [float("inf"), float("nan"), -1, 0, 1e9, True, "4", None])
@pytest.mark.usefixtures("as_user")
def test_rates_that_are_none_are_refused(tmp_path, fps):
    with pytest.raises(OptionError, match="fps from"):
        write_video(noise(1), tmp_path / "a.webm", fps)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_what_was_there(tmp_path):
    path = write_video(noise(2), tmp_path / "a.webm", 5)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(VideoError, match=r"to write a video to .*a\.webm, got File too large"):
            write_video(noise(20), path, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert [file.name for file in tmp_path.iterdir()] == ["a.webm"]
    assert path.read_bytes() == before


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(VideoError, match="a folder at .*none, got none"):
        write_video(noise(1), tmp_path / "none" / "a.webm", 5)


def test_a_name_that_is_too_long_for_a_file(tmp_path):
    for path in (tmp_path / f"{'a' * 300}.webm", tmp_path / ("a" * 300) / "a.webm"):
        with pytest.raises(VideoError, match="a{300}"):
            write_video(noise(1), path, 5)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_video(noise(2), tmp_path / "a.webm", 5)
    assert list(tmp_path.iterdir()) == []


def test_threads_write_and_read_and_standard_error_stays(tmp_path, capfd):
    import sys

    frames, counts = noise(12), []

    def work(number):
        for turn in range(3):
            path = write_video(frames, tmp_path / f"{number}-{turn}.webm", 5)
            with VideoFile(path) as video:
                counts.append(sum(1 for _ in video.frames()))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stderr.write("still here\n")
    assert counts == [12] * 12
    assert capfd.readouterr().err == "still here\n"
