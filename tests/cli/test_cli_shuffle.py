"""The shuffle probe at the command line, for one video and for a folder of them."""

import csv
import json
import re
import shutil

import pytest
from safetensors.torch import load_file

from temporal_attr import ShuffleProbe, ShuffleSet, load_result, synthetic, views
from temporal_attr.cli import main
from temporal_attr.clips import BlockShuffle
from temporal_attr.zoo import load_pretrained
from tests.helpers.command_line import assert_pictures_of
from tests.helpers.pictures import assert_file_shows

NAME = "mixed-motion-inflated-resnet"
FEW = ["--method=shuffle-probe", f"--model=zoo:{NAME}", "--frames=6", "--shuffles=4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two planted videos, one that ends too early, and a file that is no video."""
    folder = tmp_path_factory.mktemp("videos")
    task = synthetic.Mixed(frames=8, size=48)
    for number in range(2):
        task.sample(number).write(folder / f"{number}.webm")
    whole = (folder / "0.webm").read_bytes()
    (folder / "broken.mp4").write_bytes(whole[: len(whole) // 20])
    (folder / "notes.txt").write_text("no video")
    return folder


def test_one_video(folder, tmp_path, capsys):
    options = [*FEW, f"--out={tmp_path}", "--frames=8", "--target=2", "--seed=3"]
    options += ["--shuffling=block:2"]
    assert main(["explain", str(folder / "0.webm"), *options, "--segment=6", "--flow=dis"]) == 0
    said = capsys.readouterr().out
    tensors = load_file(tmp_path / "tensors.safetensors") | load_file(tmp_path / "clip.safetensors")
    probe = ShuffleProbe(load_pretrained(NAME), 4, seed=3, shuffling=BlockShuffle(2), segment=6)
    result = probe.explain(tensors["clip"], 2, flow="dis", segments=True)
    for name in ("ratios", "permutations", "flow"):
        assert tensors[name].numpy() == pytest.approx(getattr(result, name).numpy(), rel=1e-3)
    record = json.loads((tmp_path / "explained.json").read_text())["result"]
    assert record["mrr"] == pytest.approx(result.mrr.tolist(), rel=1e-4)
    assert record["segments"][0]["starts"] == [0, 2]
    assert re.search(r"Motion Reliance Ratio: [\d.]+ \(95 % [\d.]+ to [\d.]+\)", said)
    assert "mean over 2 segments of 6 frames" in said
    names = ("shuffle_profile", "ratio_distribution", "flow_profile", "segment_timeline")
    drawn = {
        "shuffle_profile": views.shuffle_profile,
        "ratio_distribution": lambda result, clip: views.ratio_distribution(result),
        "flow_profile": views.flow_profile,
        "segment_timeline": lambda result, clip: views.segment_timeline(result.segments[0], clip),
    }
    assert_pictures_of(tmp_path, folder / "0.webm", load_pretrained(NAME), **drawn)
    # A run without flow and segments leaves none of these pictures behind.
    assert main(["explain", str(folder / "0.webm"), *options, "--flow=none"]) == 0
    assert [(tmp_path / f"{name}.png").exists() for name in names] == [True, True, False, False]


def test_a_folder_of_videos(folder, tmp_path, capsys):
    arguments = ["explain", f"--video-dir={folder}", *FEW, f"--out={tmp_path}"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "left out: expected" in said.err
    assert "left out, as they could not be explained: broken.mp4" in said.out
    assert "mean over 2 clips" in said.out
    with (tmp_path / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["clip"] for row in rows] == ["0.webm", "1.webm"]
    results = []
    for row in rows:
        where = tmp_path / row["clip"]
        tensors = load_file(where / "tensors.safetensors") | load_file(where / "clip.safetensors")
        target = int(tensors["target"])
        result = ShuffleProbe(load_pretrained(NAME), 4).explain(tensors["clip"], target)
        assert float(row["mrr"]) == pytest.approx(result.mrr.item(), rel=1e-4)
        low, high = result.intervals["mrr"][0].tolist()
        assert [float(row["mrr_low"]), float(row["mrr_high"])] == pytest.approx([low, high], 1e-4)
        results.append(result)
    together = ShuffleSet.of(results, ["0.webm", "1.webm"])
    record = json.loads((tmp_path / "clips.json").read_text())
    assert record["means"]["mrr"]["value"] == pytest.approx(together.means["mrr"].value, rel=1e-4)
    assert record["means"]["mrr"]["high"] == pytest.approx(together.means["mrr"].high, rel=1e-3)
    loaded = [load_result(tmp_path / row["clip"]) for row in rows]
    overview = views.clip_overview(ShuffleSet.of(loaded, together.names), "probability_drop")
    assert_file_shows(tmp_path / "clips.png", overview)


def test_a_folder_by_a_method_that_says_nothing_of_several(folder, tmp_path, capsys):
    options = ["--method=lrp", f"--model=zoo:{NAME}", "--frames=4", f"--out={tmp_path}"]
    assert main(["explain", f"--video-dir={folder}", *options]) == 0
    assert (tmp_path / "1.webm" / "overlay_grid.png").exists()
    assert not (tmp_path / "clips.csv").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--video-dir=nowhere"], "--video-dir to be a folder, got nowhere"),
        (["--video-dir=empty"], "videos .* in empty, got none"),
        (["--video-dir=bad"], "a video that can be explained in bad, got 1 that cannot"),
        ([], "one video, or --video-dir and a folder of them, got neither"),
        (["VIDEO", "--video-dir=empty"], "and a folder of them, got both"),
        (["VIDEO", "--shuffling=block"], "full, reversal, block:LENGTH or local:RADIUS, got block"),
        (["VIDEO", "--shuffling=full:2"], "got full:2"),
        (["VIDEO", "--shuffling=block:0"], "expected length a whole number at least 1, got 0"),
        (["VIDEO", "--shuffles=0"], "expected shuffles a whole number at least 1, got 0"),
        (["VIDEO", "--segment=2"], "expected segment a whole number at least 3, got 2"),
        (
            ["VIDEO", "--sigma=0.5"],
            "options of shuffle-probe: --activation, --base, --chunk-size, .* got --sigma",
        ),
        (["VIDEO", "--frames=2"], "expected at least 3 frames to shuffle, got 2"),
    ],
)
def test_what_cannot_be_done(options, text, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    shutil.copy(folder / "broken.mp4", tmp_path / "bad")
    given = [str(folder / "0.webm") if option == "VIDEO" else option for option in options]
    assert main(["explain", *FEW, "--out=out", *given]) == 2
    assert re.search(text, capsys.readouterr().err)
