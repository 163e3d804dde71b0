"""The README's code does what it says."""

import re
from pathlib import Path

from temporal_attr.views import frame_strip

README = Path(__file__).parents[1] / "README.md"


def blocks(language):
    """Fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


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
    exec(compile(blocks("python")[1], "README.md", "exec"), names)
    assert names["result"].matrix.shape == (1, 2, 2)


def test_the_planted_clip_has_its_truth():
    names = {}
    exec(compile(blocks("python")[2], "README.md", "exec"), names)
    video, clip = names["video"], names["clip"]
    assert video.region.any((1, 2)).tolist() == video.deciding_frames.tolist() == [True] * 16
    assert clip.tensor.shape == (1, 16, 3, 48, 48)
    assert names["model"](clip.tensor).argmax().item() == video.cues["motion"]


def test_the_options_of_the_command_exist(capsys):
    import pytest

    from temporal_attr.cli import main

    with pytest.raises(SystemExit, match="0"):
        main(["explain", "--help"])
    helped = capsys.readouterr().out
    (command,) = [block for block in blocks("bash") if "temporal-attr explain" in block]
    for option in re.findall(r"--[a-z-]+", command):
        assert option in helped
