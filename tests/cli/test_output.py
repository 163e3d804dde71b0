"""Nothing of the user's is lost: whose files a folder holds, and what a run that ends early leaves.

Pictures take longer than all else here, so most runs draw a file of text instead.
"""

import csv
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file

from temporal_attr import ModelError, load_clip, load_result
from temporal_attr._files import held, whole_file
from temporal_attr.cli import _explain, _folder, main
from temporal_attr.cli._output import files_of_others
from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models import load_model

MODEL = "tests.helpers.factories:small_recurrent"


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch, one_thread):
    def draw(result, clip, draft):
        with draft.file("overlay.webm") as path:
            path.write_text(f"a picture of class {result.target.item()}")

    monkeypatch.setattr(_explain, "draw", draw)
    monkeypatch.setattr(_folder.views, "pictures_of_set", lambda clips: {"clips.png": Figure})


@pytest.fixture
def run(grey_video, tmp_path):
    """A function that explains a video at the command line, and gives the exit code."""

    def explain(*options, out="out"):
        arguments = [f"--model={MODEL}", "--frames=2", f"--out={tmp_path / out}", *options]
        return main(["explain", str(grey_video), *arguments])

    return explain


def contents(folder):
    """All that is in a folder, and in the folders in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def beside(folder):
    """What lies beside a folder, hidden or not."""
    return sorted(path.name for path in folder.parent.iterdir())


# Whose files are in a folder.


@pytest.mark.parametrize(
    "name", ["overlay.webm", "result.json", "mine.txt", "deep/er/mine.txt", "manifest.json"]
)
def test_a_file_of_the_users_is_not_touched(name, run, tmp_path, capsys):
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    assert run() == 2
    said = capsys.readouterr().err
    assert "expected an empty folder, or one that holds an earlier result only, at" in said
    assert f"got {name}, not as listed" in said
    assert "decoding" not in said
    assert contents(tmp_path) == {f"out/{name}": b"mine"}


def test_a_file_that_is_put_beside_a_result_or_changed_is_the_users(run, tmp_path, capsys):
    assert run() == 0
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "overlay.webm").write_text("a picture of CLASS 0")  # as long as it was
    before = contents(tmp_path)
    assert run() == 2
    assert "got notes.txt, overlay.webm, not as listed" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_link_is_not_followed(run, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "mine", target_is_directory=True)
    assert run() == 2
    assert "got link, not as listed" in capsys.readouterr().err
    assert (tmp_path / "mine" / "a.txt").read_text() == "mine"


def test_a_result_of_a_version_without_a_manifest_is_refused(run, tmp_path, capsys):
    assert run() == 0
    (tmp_path / "out" / "manifest.json").unlink()
    before = contents(tmp_path)
    assert run() == 2
    assert "got clip.safetensors, explained.json, overlay.webm, " in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_an_earlier_run_is_replaced_as_a_whole(run, tmp_path):
    (tmp_path / "out").mkdir()  # an empty folder will do
    assert run("--target=1") == 0
    assert run("--target=2", "--method=lrp") == 0
    found = contents(tmp_path)
    assert found.pop("out/manifest.json")
    names = ["clip.safetensors", "explained.json", "overlay.webm", "result.json"]
    assert sorted(found) == [f"out/{name}" for name in [*names, "tensors.safetensors"]]
    assert found["out/overlay.webm"] == b"a picture of class 2"
    assert type(load_result(tmp_path / "out")).__name__ == "LRPResult"
    assert files_of_others(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--method=frame-masking-tsr", "--threshold=-1"], "threshold at least 0, got -1"),
        (["--target=9"], "a target from 0 to 3, got 9"),
        (["--frames=99"], "at least 99 frames"),
    ],
)
def test_what_cannot_be_done_leaves_the_earlier_result(options, text, run, tmp_path, capsys):
    assert run() == 0
    before = contents(tmp_path)
    assert run(*options) == 2
    assert text in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_a_fault_in_a_picture_leaves_the_earlier_result_or_else_the_numbers(
    run, tmp_path, monkeypatch
):
    def draw(result, clip, draft):
        with draft.file("overlay.webm") as path:
            path.write_text("half")
            raise RuntimeError("a picture that fails")

    with monkeypatch.context() as patch:
        patch.setattr(_explain, "draw", draw)
        with pytest.raises(RuntimeError, match="a picture that fails"):
            run("--target=1")
        assert load_result(tmp_path / "out").target.item() == 1
        assert files_of_others(tmp_path / "out") == []
        with pytest.raises(RuntimeError, match="a picture that fails"):
            run("--target=2")
        # Neither was complete, so the later one is there.
        assert load_result(tmp_path / "out").target.item() == 2
    assert run("--target=3") == 0
    monkeypatch.setattr(_explain, "draw", draw)
    before = contents(tmp_path)
    with pytest.raises(RuntimeError, match="a picture that fails"):
        run("--target=1")
    assert contents(tmp_path) == before


def test_what_is_put_there_during_a_run_stays_and_so_does_what_was_found(
    run, tmp_path, capsys, monkeypatch
):
    assert run("--target=1") == 0

    def draw(result, clip, draft):
        (tmp_path / "out" / "late.txt").write_text("mine")

    monkeypatch.setattr(_explain, "draw", draw)
    assert run("--target=2") == 2
    said = capsys.readouterr().err
    kept = tmp_path / f"out-{os.getpid()}"
    assert "got late.txt, not as listed in a manifest.json of this program. The new res" in said
    assert f"The new result is in {kept}, and all else as it was." in said
    assert (tmp_path / "out" / "late.txt").read_text() == "mine"
    assert load_result(tmp_path / "out").target.item() == 1
    assert load_result(kept).target.item() == 2


def test_a_folder_that_cannot_be_replaced_is_named(run, tmp_path, capsys, monkeypatch):
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    assert run() == 2
    assert "the one that this program runs in. Choose one in it, such as" in capsys.readouterr().err
    assert run(out="/proc/self") == 2


def test_a_folder_of_another_kind_is_not_replaced(run, tmp_path, grey_video, capsys):
    (tmp_path / "videos").mkdir()
    shutil.copy(grey_video, tmp_path / "videos" / "a.webm")
    options = [f"--model={MODEL}", "--frames=2", f"--out={tmp_path / 'out'}"]
    assert main(["explain", f"--video-dir={tmp_path / 'videos'}", *options]) == 0
    before = contents(tmp_path)
    assert run() == 2
    assert "an earlier result of one video, at" in capsys.readouterr().err
    assert contents(tmp_path) == before


# Runs that end early.


def test_two_runs_do_not_write_to_one_folder(run, tmp_path, capsys):
    with held(tmp_path / ".out.lock", "it"):
        assert run() == 2
    said = capsys.readouterr().err
    assert f"to itself, got another run that writes to it (process {os.getpid()})" in said
    assert beside(tmp_path / "out") == []
    assert run() == 0
    assert beside(tmp_path / "out") == ["out"]


def stopping(monkeypatch, number):
    """Have the process get a signal when the pictures are drawn."""

    def draw(result, clip, draft):
        with draft.file("frame_strip.png") as path:
            path.write_text("whole")
        with draft.file("overlay.webm") as path:
            path.write_text("half")
            os.kill(os.getpid(), number)
            path.read_text()

    monkeypatch.setattr(_explain, "draw", draw)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_keeps_what_is_whole(number, code, run, tmp_path, capsys, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    stopping(monkeypatch, number)
    assert run("--target=1") == code
    assert "stopped; what was written so far is kept" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    found = contents(tmp_path / "out")
    assert found["frame_strip.png"] == b"whole"
    assert "overlay.webm" not in found
    assert json.loads(found["manifest.json"])["complete"] is False
    assert load_result(tmp_path / "out").target.item() == 1
    assert files_of_others(tmp_path / "out") == []
    assert beside(tmp_path / "out") == ["out"]


def test_a_signal_leaves_an_earlier_result_that_is_complete(run, tmp_path, monkeypatch):
    assert run("--target=1") == 0
    before = contents(tmp_path)
    stopping(monkeypatch, signal.SIGTERM)
    assert run("--target=2") == 143
    assert contents(tmp_path) == before
    assert beside(tmp_path / "out") == ["out"]


@pytest.fixture
def small_disk():
    """A disk on which no file can be larger than a kilobyte."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_leaves_the_earlier_result(run, tmp_path, capsys, request):
    assert run("--target=1") == 0
    before = contents(tmp_path)
    capsys.readouterr()
    request.getfixturevalue("small_disk")
    assert run("--target=2") == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("temporal-attr: expected a folder to write to at")
    assert "too large" in said
    assert contents(tmp_path) == before
    assert beside(tmp_path / "out") == ["out"]


def test_a_folder_that_is_removed_meanwhile_is_named(run, tmp_path, capsys, monkeypatch):
    def draw(result, clip, draft):
        shutil.rmtree(draft.folder)
        with draft.file("a.txt") as path:
            path.write_text("text")

    monkeypatch.setattr(_explain, "draw", draw)
    assert run() == 2
    assert re.search("a folder to write to at .*, got No such file", capsys.readouterr().err)
    assert beside(tmp_path / "out") == []


class Closed:
    """An output whose reader has ended."""

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        pass

    def fileno(self):
        raise OSError("no file")


def test_a_closed_pipe_is_named_and_the_result_is_whole(run, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Closed())
        assert run("--target=1") == 2
    assert "the program that read the output has ended" in capsys.readouterr().err
    assert load_result(tmp_path / "out").target.item() == 1
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_without_room_is_named(run, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch, Path("/dev/full").open("w") as full:
        patch.setattr(sys, "stdout", full)
        assert run("--target=1") == 2
    assert "No space left on device; what was written is whole" in capsys.readouterr().err
    assert load_result(tmp_path / "out").target.item() == 1


@pytest.fixture
def moments(tmp_path, monkeypatch):
    """A function that copies the place before every change of files: what a kill would leave."""
    copies = tmp_path / "moments"
    place = tmp_path / "place"

    def watch():
        copytree, taken = shutil.copytree, []

        def watched(change):
            def run(*args, **kwargs):
                with monkeypatch.context() as patch:
                    for owner, name, original in originals:
                        patch.setattr(owner, name, original)
                    taken.append(copies / str(len(taken)))
                    copytree(place, taken[-1])
                return change(*args, **kwargs)

            return run

        names = [(Path, name) for name in ("rename", "replace", "unlink", "mkdir")]
        names += [(shutil, "rmtree"), (os, "fsync")]
        originals = [(owner, name, getattr(owner, name)) for owner, name in names]
        for owner, name, original in originals:
            monkeypatch.setattr(owner, name, watched(original))
        return taken

    place.mkdir()
    return watch


def test_a_run_that_is_killed_at_any_change_of_files_loses_nothing(run, moments):
    assert run("--target=1", out="place/out") == 0
    taken = moments()
    assert run("--target=2", out="place/out") == 0
    found, between = [], []
    for moment in taken:
        folder = moment / "out"
        found.append(load_result(folder).target.item())
        if not folder.exists():
            between.append(moment)
            folder = moment / ".out.old"
        assert (folder / "overlay.webm").read_text() == f"a picture of class {found[-1]}"
        assert files_of_others(folder) == []
    # The old one until the new one takes its place, and from then on the new one.
    assert found == sorted(found)
    assert set(found) == {1, 2}
    assert len(found) > 15
    # The next run brings to an end what was interrupted, and leaves nothing beside.
    assert between
    for moment in (between[0], taken[-1], taken[len(taken) // 2]):
        assert run("--target=3", out=moment / "out") == 0
        assert load_result(moment / "out").target.item() == 3
        assert beside(moment / "out") == ["out"]


def test_what_a_killed_process_left_of_a_file_is_swept(run, tmp_path):
    leftover = tmp_path / ".out.tmp-1-0123abcd"
    leftover.mkdir()
    (leftover / "half").write_text("half")
    (tmp_path / ".out.txt").write_text("mine")
    assert run() == 0
    assert beside(tmp_path / "out") == [".out.txt", "out"]


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    file = tmp_path / "a.txt"
    for text in ("first", "second"):
        with whole_file(file) as partial:
            partial.write_text(text)
        assert file.read_text() == text

    def fail():
        with whole_file(file) as partial:
            partial.write_text("half")
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert contents(tmp_path) == {"a.txt": b"second"}


# Folders of videos.


@pytest.fixture
def videos(grey_video, tmp_path):
    """Videos in folders, one of them no video, and a file of text."""
    folder = tmp_path / "videos"
    for name in ("a.webm", "b.gif", "deep/er/c.TS"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(grey_video, folder / name)
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "deep" / "notes.txt").write_text("text")
    return folder


NAMES = ["a.webm", "b.gif", "deep/er/c.TS"]
PROBE = ["--method=shuffle-probe", "--shuffles=2", "--flow=none", f"--model={MODEL}", "--frames=3"]


@pytest.fixture
def run_all(videos, tmp_path):
    """A function that explains them at the command line."""

    def explain(*options, out="out"):
        arguments = [f"--video-dir={videos}", f"--out={tmp_path / out}", *PROBE, *options]
        return main(["explain", *arguments])

    return explain


@pytest.fixture
def explained(monkeypatch):
    """The videos that were explained, not those that were done already."""
    names = []
    explain_one = _folder.explain_one

    def noted(ready, settings, video, out):
        found = explain_one(ready, settings, video, out)
        names.append(video.name)
        return found

    monkeypatch.setattr(_folder, "explain_one", noted)
    return names


def rows(out):
    with (out / "clips.csv").open() as file:
        return list(csv.DictReader(file))


def test_folders_in_it_and_every_kind_of_video(run_all, tmp_path, capsys):
    assert run_all() == 0
    said = capsys.readouterr()
    assert "skipped, which are not called like videos: deep/notes.txt" in said.err
    assert "left out, as they could not be explained: broken.mp4" in said.out
    assert [row["clip"] for row in rows(tmp_path / "out")] == NAMES
    for name in NAMES:
        assert load_result(tmp_path / "out" / name).logits.shape == (1, 4)
    assert files_of_others(tmp_path / "out") == []
    assert not (tmp_path / "out" / ".lock").exists()


def test_names_that_are_too_long_for_results_are_left_out_before_the_work(
    run_all, videos, tmp_path, capsys, explained
):
    long = ["a" * 244 + ".webm", "deep/" + "b" * 240 + ".webm"]
    for name in long:
        shutil.copy(videos / "a.webm", videos / name)
    assert run_all() == 0
    assert explained == ["a.webm", "b.gif", "c.TS"]
    said = capsys.readouterr()
    assert said.err.count("expected a name short enough for a folder of results in") == 2
    assert (
        "got one of 249 bytes, to which some thirty are added meanwhile. Rename the v" in said.err
    )
    assert f"left out, as they could not be explained: {long[0]}, broken.mp4, {long[1]}" in said.out
    assert [row["clip"] for row in rows(tmp_path / "out")] == NAMES


def test_names_are_said_in_one_line(run_all, videos, tmp_path, capsys):
    shutil.rmtree(videos / "deep")
    odd = os.fsdecode(b"x\n(9 of 9)\x1b[2J\xe9.webm")
    (videos / "b.gif").rename(videos / odd)
    (videos / "no\nvideo.txt").write_text("text")
    assert run_all() == 0
    said, shown = capsys.readouterr(), r"x\n(9 of 9)\x1b[2J\udce9.webm"
    assert f"\n{shown} (3 of 3)\n" in said.out
    assert f"videos/{shown} ...\n" in said.err
    assert r"not called like videos: no\nvideo.txt ..." in said.err
    assert [row["clip"] for row in rows(tmp_path / "out")] == ["a.webm", shown]
    assert json.loads((tmp_path / "out" / "clips.json").read_text())["names"] == ["a.webm", shown]
    assert (tmp_path / "out" / odd / "result.json").is_file()


def test_what_is_done_is_not_done_again(run_all, videos, tmp_path, capsys, explained):
    assert run_all() == 0
    assert explained == ["a.webm", "b.gif", "c.TS"]
    table = (tmp_path / "out" / "clips.csv").read_bytes()
    together = (tmp_path / "out" / "clips.json").read_bytes()
    explained.clear()
    os.utime(videos / "a.webm", (1, 1))  # another date, and the same file
    assert run_all() == 0
    assert explained == []
    assert (tmp_path / "out" / "clips.csv").read_bytes() == table
    assert (tmp_path / "out" / "clips.json").read_bytes() == together
    before = contents(tmp_path)
    assert run_all("--seed=3") == 2
    said = capsys.readouterr().err
    assert "got a.webm (weights" not in said
    assert "got a.webm (seed 0, now 3) and 2 more. Choose another folder, or pass --ov" in said
    assert contents(tmp_path) == before
    assert run_all("--overwrite", "--seed=3") == 0
    assert explained == ["a.webm", "b.gif", "c.TS"]
    explained.clear()
    shutil.rmtree(tmp_path / "out" / "b.gif")
    assert run_all("--seed=3") == 0
    assert explained == ["b.gif"]


def test_other_weights_and_another_video_are_told(run_all, videos, tmp_path, capsys, explained):
    assert run_all() == 0
    with (videos / "b.gif").open("ab") as file:
        file.write(b"more")
    assert run_all() == 2
    assert "got b.gif (another video of that name)." in capsys.readouterr().err
    state = {name: value + 1 for name, value in load_model(MODEL).state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    assert run_all(f"--weights={tmp_path / 'weights.pt'}") == 2
    assert "got a.webm (other weights) and 2 more" in capsys.readouterr().err


def test_a_run_that_is_stopped_goes_on_where_it_was(
    run_all, tmp_path, capsys, explained, monkeypatch
):
    explain_one = _folder.explain_one

    def stopped(ready, settings, video, out):
        if video.name == "c.TS":
            raise KeyboardInterrupt
        return explain_one(ready, settings, video, out)

    with monkeypatch.context() as patch:
        patch.setattr(_folder, "explain_one", stopped)
        assert run_all() == 130
    assert [row["clip"] for row in rows(tmp_path / "out")] == ["a.webm", "b.gif"]
    explained.clear()
    (tmp_path / "out" / ".a.webm.tmp-1-0123abcd").mkdir()  # as after a kill
    (tmp_path / "out" / "b.gif").rename(tmp_path / "out" / ".b.gif.old")
    assert run_all() == 0
    assert explained == ["c.TS"]
    assert [row["clip"] for row in rows(tmp_path / "out")] == NAMES
    assert files_of_others(tmp_path / "out") == []


def test_the_table_is_whole_at_every_moment(run_all, tmp_path, monkeypatch):
    assert run_all() == 0
    explain_one, seen = _folder.explain_one, []

    def look(ready, settings, video, out):
        seen.append([row["clip"] for row in rows(tmp_path / "out")])
        return explain_one(ready, settings, video, out)

    monkeypatch.setattr(_folder, "explain_one", look)
    assert run_all("--overwrite") == 0
    assert seen[:2] == [NAMES, NAMES[:1]]


def test_an_error_of_ours_is_left_out_and_named_and_a_fault_is_not_hidden(
    run_all, tmp_path, capsys, monkeypatch
):
    explain_one = _folder.explain_one
    errors = {"b.gif": ModelError("one thing", "another", "Mend it."), "c.TS": KeyError("fault")}

    def failing(ready, settings, video, out):
        if video.name in errors:
            raise errors[video.name]
        return explain_one(ready, settings, video, out)

    monkeypatch.setattr(_folder, "explain_one", failing)
    with pytest.raises(KeyError, match="fault"):
        run_all()
    assert "left out: expected one thing, got another. Mend it." in capsys.readouterr().err
    assert [row["clip"] for row in rows(tmp_path / "out")] == ["a.webm"]
    del errors["c.TS"]
    assert run_all() == 0
    assert [row["clip"] for row in rows(tmp_path / "out")] == ["a.webm", "deep/er/c.TS"]


def test_a_table_that_was_changed_is_the_users(run_all, tmp_path, capsys):
    assert run_all() == 0
    table = tmp_path / "out" / "clips.csv"
    table.write_bytes(table.read_bytes().replace(b"a.webm", b"A.webm"))
    before = contents(tmp_path)
    assert run_all() == 2
    assert "clips.csv as it was written, got another file" in capsys.readouterr().err
    assert contents(tmp_path) == before


def test_two_runs_do_not_mix_their_rows(run_all, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    with held(tmp_path / "out" / ".lock", "it"):
        assert run_all() == 2
    assert f"another run that writes to it (process {os.getpid()})" in capsys.readouterr().err


def test_results_among_the_videos_are_no_videos(run_all, videos, capsys):
    assert run_all(out="videos/out") == 0
    capsys.readouterr()
    assert run_all(out="videos/more") == 0
    assert "not called like videos: deep/notes.txt, out ..." in capsys.readouterr().err


# Preprocessing.


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A module that is not wrapped, and takes frames of 32 x 32 pixels."""
    (tmp_path / "bare.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(3, 4)\n"
        "    def forward(self, clip):\n"
        "        return self.fc((clip ** 2).mean((1, 3, 4)))\n"
    )
    monkeypatch.chdir(tmp_path)
    yield "bare:Net"
    sys.modules.pop("bare", None)


def test_a_model_whose_preprocessing_is_not_known_is_refused(bare, run, tmp_path, capsys):
    for options, missing in (
        ([], "--resize, --mean, --std"),
        (["--resize=32", "--crop=32"], "--mean, --std"),
        (["--mean=0", "--std=1"], "--resize"),
    ):
        assert run(f"--model={bare}", *options) == 2
        said = capsys.readouterr()
        assert f"got a Net that knows none, without {missing}. Say what it was" in said.err
        assert "%" not in said.out
    assert contents(tmp_path).keys() == {"bare.py"}


def test_preprocessing_that_is_said(bare, run, tmp_path, grey_video, capsys):
    said = ["--resize=36x40", "--crop=32", "--mean=0.4,0.5,0.6", "--std=0.25"]
    assert run(f"--model={bare}", *said) == 0
    found = load_file(tmp_path / "out" / "clip.safetensors")["clip"]
    prepare = Preprocessing((36, 40), (32, 32), Normalization((0.4, 0.5, 0.6), (0.25,) * 3))
    assert torch.equal(found, load_clip(grey_video, 2, preprocessing=prepare).tensor)
    line = "frames resized to 36 x 40, 32 x 32 of the middle, mean 0.4, 0.5, 0.6, standard"
    assert f"preprocessing as given: {line}" in capsys.readouterr().err
    record = json.loads((tmp_path / "out" / "explained.json").read_text())
    assert record["preprocessing"].startswith(line)
    assert run(f"--model={bare}", "--resize=none", "--mean=0", "--std=1") == 0
    found = load_file(tmp_path / "out" / "clip.safetensors")["clip"]
    assert torch.equal(found, load_clip(grey_video, 2).tensor)


def test_preprocessing_in_place_of_the_models_own(run, tmp_path, grey_video, capsys):
    own = load_model(MODEL).preprocessing
    assert run("--crop=24x16", "--std=0.5", "--method=lrp") == 0
    found = load_file(tmp_path / "out" / "clip.safetensors")["clip"]
    normal = Normalization(own.normalization.mean, (0.5,) * 3)
    prepare = Preprocessing(own.resize, (24, 16), normal, own.interpolation, own.antialias)
    assert torch.equal(found, load_clip(grey_video, 2, preprocessing=prepare).tensor)
    assert "preprocessing as given" in capsys.readouterr().err
    assert run() == 0
    assert "preprocessing as given" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--resize=big", "--resize as SIDE, HEIGHTxWIDTH or none, got big"),
        ("--crop=0", "--crop as SIDE, HEIGHTxWIDTH or none, got 0"),
        ("--crop=1x2x3", "got 1x2x3"),
        ("--mean=a", "--mean as one number, or 3 with commas, in the values of pixels"),
        ("--std=1,2", "--std as one number, or 3 with commas"),
        ("--std=0", "positive standard deviations"),
    ],
)
def test_preprocessing_that_is_none(option, text, run, capsys):
    assert run(option) == 2
    assert text in capsys.readouterr().err


def test_overwrite_is_for_folders_of_videos(run, capsys):
    assert run("--overwrite") == 2
    assert "expected --overwrite with --video-dir, got one video" in capsys.readouterr().err
