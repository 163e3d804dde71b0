"""`temporal-attr explain --estimate`: what a run will cost, and nothing else."""

import torch

from temporal_attr import TemporalGradient
from temporal_attr.cli import main
from temporal_attr.synthetic import Mixed
from temporal_attr.zoo import load_pretrained

MODEL = "mixed-appearance-late-fusion"


def test_the_cost_is_said_and_nothing_is_written(tmp_path, capsys):
    video = tmp_path / "clip.webm"
    network = load_pretrained(MODEL)
    Mixed(frames=8, size=48).sample(0).write(video)
    command = ["explain", str(video), "--model", f"zoo:{MODEL}", "--out", str(tmp_path / "out")]
    command += ["--frames", "6", "--estimate"]
    for given, options in (([], {}), (["--influence=1,-1"], {"influence": (1, -1)})):
        assert main([*command, *given]) == 0
        said = capsys.readouterr().out
        run = TemporalGradient(network).explain(torch.rand(1, 6, 3, 48, 48), 0, **options).run
        passes = f"{run.forward_passes:.4g} forward and {run.backward_passes:.4g} backward pass(es)"
        assert f"TemporalGradient.explain: {passes}, about " in said
    assert not (tmp_path / "out").exists()
    assert main(["explain", "--video-dir", str(tmp_path), *command[2:]]) == 2
    assert "expected --estimate of one video, got a folder" in capsys.readouterr().err
