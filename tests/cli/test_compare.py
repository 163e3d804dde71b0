"""`temporal-attr compare`: what it writes is what the suite finds, and it goes on where it was."""

import pandas as pd
import pytest

from temporal_attr import cli, synthetic
from temporal_attr.evaluation import Comparison

MODEL = "zoo:mixed-motion-inflated-resnet"


def compare(out, *more, methods="temporal-gradient,random"):
    return cli.main(["compare", f"--model={MODEL}", f"--methods={methods}", f"--out={out}", *more])


def test_planted_clips(tmp_path, capsys):
    out = tmp_path / "out"
    more = ("--planted=mixed", "--clips=1", "--metrics=auprc-pixels,gini")
    assert compare(out, *more) == 0
    table = pd.read_csv(out / "table.csv")
    assert set(table["method"]) == {"temporal-gradient", "random"}
    assert set(table["metric"]) == {"auprc-pixels", "gini-frames"}
    assert not table["failed"].any()
    said = capsys.readouterr().out
    assert "auprc-pixels: Do scores rank" in said
    assert (out / "summary.txt").read_text() in said
    assert {path.suffix for path in out.glob("*.png")} == {".png"}
    found = Comparison.load(out)
    assert found.complete
    rows = found.table[found.table["metric"] == "auprc-pixels"].set_index("method")["value"]
    assert rows["temporal-gradient"] > 2 * rows["random"]
    # Again, with another method: only that one is explained.
    before = (out / "rows.jsonl").read_text()
    assert compare(out, *more, methods="temporal-gradient,random,centre") == 0
    after = (out / "rows.jsonl").read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) == len(before.splitlines()) + 1


def test_a_folder_of_videos(tmp_path, capsys):
    videos = tmp_path / "videos"
    videos.mkdir()
    for index in range(2):
        synthetic.Mixed().sample(index).write(videos / f"{index}.webm")
    (videos / "broken.mp4").write_bytes(b"no video")
    out = tmp_path / "out"
    assert compare(out, f"--videos={videos}", "--metrics=gini-frames", methods="random,edges") == 0
    table = pd.read_csv(out / "table.csv", dtype=str)
    assert set(table["clip"]) == {"0.webm", "1.webm"}
    assert len(table) == 4
    assert "broken.mp4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "more", "methods"),
    [
        ("lpr", ("--planted=mixed",), "lpr"),
        ("no-metric", ("--planted=mixed", "--metrics=no-metric"), "random"),
        ("expected --videos to be a folder", ("--videos=nowhere",), "random"),
        ("--clips with --planted", ("--videos=nowhere", "--clips=3"), "random"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, capsys, text, more, methods):
    assert compare(tmp_path / "out", *more, methods=methods) == 2
    assert text in capsys.readouterr().err


def test_a_folder_with_anything_else_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert compare(tmp_path, "--planted=mixed") == 2
    assert "notes.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_model_that_does_not_know_the_task_is_said_to_be_lucky(tmp_path, capsys):
    out = tmp_path / "out"
    more = ("--planted=order", "--clips=1", "--metrics=gini-frames")
    assert compare(out, *more, methods="random") in (0, 2)
    said = capsys.readouterr()
    assert "more than luck" in said.err + said.out or "right" in said.err
