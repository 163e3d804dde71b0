"""The README's code does what it says."""

import re
from pathlib import Path

import torch
from torch import nn

from temporal_attr.views import frame_strip

README = Path(__file__).parents[2] / "README.md"


def blocks(language):
    """Fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def block_with(name):
    """The one block of Python that has a name in it."""
    (found,) = [block for block in blocks("python") if name in block]
    return found


def test_the_notebook_lines_run_and_are_ten(grey_video, tmp_path, monkeypatch):
    code = blocks("python")[0]
    lines = [line for line in code.splitlines() if line and not line.startswith("import")]
    assert len(lines) <= 10
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_video.mp4").write_bytes(grey_video.read_bytes())
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["result"].target.item() == names["model"](names["clip"].tensor).argmax().item()
    assert (tmp_path / "overlay.webm").stat().st_size > 1000
    assert frame_strip(names["result"], names["clip"]).axes
    # The same model and clip go on to the matrix; r3d_18 has a timestep for eight frames.
    exec(compile(block_with("ContrastiveLRPTemporal"), "README.md", "exec"), names)
    assert names["result"].matrix.shape == (1, 2, 2)


def test_the_planted_clip_has_its_truth():
    names = {}
    exec(compile(block_with("synthetic.Mixed"), "README.md", "exec"), names)
    video, clip = names["video"], names["clip"]
    assert video.region.any((1, 2)).tolist() == video.deciding_frames.tolist() == [True] * 16
    assert clip.tensor.shape == (1, 16, 3, 48, 48)
    assert names["model"](clip.tensor).argmax().item() == video.cues["motion"]


def test_methods_are_compared_in_few_lines(tmp_path, monkeypatch, capsys):
    code = block_with("planted_clips")
    assert len([line for line in code.splitlines() if line]) < 10
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(block_with("synthetic.Mixed"), "README.md", "exec"), names)
    exec(compile(code.replace("count=5", "count=1"), "README.md", "exec"), names)
    table = names["comparison"].table
    assert not table["failed"].any()
    assert set(table["method"]) == set(names["methods"])
    assert (tmp_path / "compared" / "rows.jsonl").is_file()
    assert "lrp: " in capsys.readouterr().out


def test_the_probe_says_what_shuffling_takes_away(capsys):
    import temporal_attr as ta

    model = ta.LateFusion(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)).eval())
    clip = ta.Clip.from_tensor(torch.rand(1, 8, 3, 16, 16))
    model.preprocessing = ta.Preprocessing()
    names = {"ta": ta, "model": model, "clip": clip, "predicted": model(clip.tensor).argmax(1)}
    exec(compile(block_with("ShuffleProbe"), "README.md", "exec"), names)
    said = capsys.readouterr().out
    assert "drop of the target's probability: 0.00 (95 % 0.00 to 0.00)" in said
    assert "Motion Reliance Ratio: 1.00 (95 % 1.00 to 1.00)" in said


def test_the_options_of_the_command_exist(capsys):
    import pytest

    from temporal_attr.cli import main

    with pytest.raises(SystemExit, match="0"):
        main(["explain", "--help"])
    helped = capsys.readouterr().out
    (command,) = [block for block in blocks("bash") if "temporal-attr explain" in block]
    for option in re.findall(r"--[a-z-]+", command):
        assert option in helped
