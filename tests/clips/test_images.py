"""Folders of pictures and numbered patterns, read as a video is."""

import numpy as np
import pytest
import torch
from PIL import Image

from temporal_attr import (
    DamagedVideoError,
    FrameSizeError,
    NotAVideoError,
    OptionError,
    TooFewFramesError,
    VideoNotFoundError,
    clip_windows,
    load_clip,
)


def picture(path, level, size=(8, 6), mode="RGB"):
    Image.new(mode, size, level if mode == "L" else (level, 0, 255 - level)).save(path)


def levels(clip):
    return (clip.tensor[0, :, 0, 0, 0] * 255).round().int().tolist()


def test_a_folder_is_read_by_the_numbers_in_the_names(tmp_path):
    for number in (1, 2, 10, 9):
        picture(tmp_path / f"img{number}.png", 20 * number)
    (tmp_path / "notes.txt").write_text("no picture")
    clip = load_clip(tmp_path, 4, fps=2)
    assert levels(clip) == [20, 40, 180, 200]
    assert (clip.timestamps, clip.fps) == ((0.0, 0.5, 1.0, 1.5), 2.0)
    missing = "6 numbers of its pictures are missing, the first after 2: times are as if none were"
    assert clip.notes == (missing,)
    assert clip.tensor.shape == (1, 4, 3, 6, 8)
    assert (clip.tensor[0, 0, 2] * 255).round().unique().tolist() == [235]
    [first, second] = clip_windows(tmp_path, 3, 0.5)
    assert (levels(first), levels(second)) == ([20, 40, 180], [40, 180, 200])


def test_a_pattern_starts_where_its_numbers_do(tmp_path):
    for number in range(5, 9):
        picture(tmp_path / f"f_{number:04d}.png", number)
    picture(tmp_path / "f_12.png", 99)
    clip = load_clip(tmp_path / "f_%04d.png", 2, "dense", start=1, stride=2)
    assert levels(clip) == [6, 8]
    assert clip.timestamps == (1 / 25, 3 / 25)
    assert clip.notes == ("pictures without times: 25 a second are taken",)
    (tmp_path / "f_0006.png").unlink()
    with pytest.raises(DamagedVideoError, match="from 5 to 8 .* 1 missing, the first 6"):
        load_clip(tmp_path / "f_%04d.png", 2)


def test_a_picture_that_ends_early_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for number in range(2):
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    data = (tmp_path / "1.jpg").read_bytes()
    (tmp_path / "1.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(DamagedVideoError, match=r"a whole picture at .*1\.jpg, got image"):
        load_clip(tmp_path, 2)
    assert load_clip(tmp_path, indices=[0]).indices == (0,)


def test_gray_deep_and_transparent_pictures(tmp_path):
    Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(tmp_path / "0.png")
    Image.new("L", (4, 4), 77).save(tmp_path / "1.png")
    Image.new("RGBA", (4, 4), (200, 100, 50, 51)).save(tmp_path / "2.png")
    clip = load_clip(tmp_path, 3, fps=1)
    found = (clip.tensor[0, :, :, 0, 0] * 255).round().int().tolist()
    assert found == [[128] * 3, [77] * 3, [40, 20, 10]]
    assert clip.notes == ("transparent parts are shown over black",)


def test_what_is_no_sequence_of_pictures(tmp_path):
    with pytest.raises(NotAVideoError, match="pictures .* got a folder without any"):
        load_clip(tmp_path)
    with pytest.raises(VideoNotFoundError, match="pictures at .* got none"):
        load_clip(tmp_path / "%d.png")
    with pytest.raises(VideoNotFoundError, match="no such folder"):
        load_clip(tmp_path / "none" / "%d.png")
    picture(tmp_path / "0.png", 1)
    picture(tmp_path / "1.png", 1, size=(9, 6))
    with pytest.raises(FrameSizeError, match="got 6 x 8 at frame 0 and 6 x 9 at frame 1"):
        load_clip(tmp_path, 2)
    with pytest.raises(FrameSizeError, match="got 6 x 8 at frame 0 and 6 x 9 at frame 1"):
        list(clip_windows(tmp_path, 2))
    with pytest.raises(TooFewFramesError):
        load_clip(tmp_path, indices=[2])
    with pytest.raises(OptionError, match="fps from"):
        load_clip(tmp_path, 1, fps=0)


def test_a_video_has_its_own_rate(grey_video):
    with pytest.raises(OptionError, match="fps for pictures only, got 5"):
        load_clip(grey_video, 2, fps=5)
    assert torch.equal(load_clip(grey_video, 2).tensor, load_clip(str(grey_video), 2).tensor)


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["a1.png", "a2.png", "a3.png"], None),
        (["a0.png", "a5.png", "a10.png"], None),
        (["7.png"], None),
        (
            ["a0.png", "a5.png", "a20.png"],
            "2 numbers of its pictures are missing, the first after 5",
        ),
        (["a1.png", "a1.jpg", "a2.png"], "numbers of its pictures come more than once, such as 1"),
        (
            ["a1.png", "b1.png"],
            "are of 2 kinds, such as a# and b#: they follow one another by name",
        ),
        (["x.png", "y\x1b.png", "z.png"], r"are of 3 kinds, such as x and y\x1b: they follow"),
        (["shot2_left.png", "shot3_left.png"], None),
    ],
)
def test_gaps_and_several_series_are_noted(tmp_path, names, note):
    for name in names:
        picture(tmp_path / name, 1)
    notes = load_clip(tmp_path, len(names), fps=1).notes
    assert len(notes) == (note is not None)
    assert all(note in one for one in notes)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.full((4, 4), 0.5, np.float32), "floating-point values of 32 bits"),
        (np.full((4, 4), 200, np.int32), "signed values of 32 bits"),
    ],
)
def test_pictures_whose_white_is_not_known_are_refused(tmp_path, values, text):
    Image.fromarray(values).save(tmp_path / "0.tiff")
    expected = r"unsigned values of 8 or 16 bits, black as 0, at .*0\.tiff, got "
    with pytest.raises(NotAVideoError, match=f"{expected}{text}.*scale black to 0"):
        load_clip(tmp_path, 1)


@pytest.mark.parametrize(("format_", "white_is_zero"), [(1, 0), (1, 1), (2, 1)])
def test_tags_of_tiff_say_what_values_are(tmp_path, format_, white_is_zero):
    Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(
        tmp_path / "0.tiff", tiffinfo={262: white_is_zero, 339: format_}
    )
    if (format_, white_is_zero) == (1, 1):
        assert levels(load_clip(tmp_path, 1)) == [128]
    else:
        with pytest.raises(
            NotAVideoError, match="white is 0" if format_ == 1 else "signed values of 16"
        ):
            load_clip(tmp_path, 1)
