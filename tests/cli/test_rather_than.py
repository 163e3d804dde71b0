"""`--rather-than`: the target explained against another class."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from temporal_attr import TemporalGradient, load_result, rather_than
from temporal_attr.cli import main
from temporal_attr.zoo import load_pretrained

NAME = "mixed-motion-inflated-resnet"


def test_the_difference_to_another_class_is_explained(grey_video, tmp_path, capsys):
    model = load_pretrained(NAME)
    one, other = model.class_names[1], model.class_names[2]
    arguments = ["explain", str(grey_video), f"--model=zoo:{NAME}", f"--out={tmp_path}"]
    options = ["--frames=6", f"--target={one}", f"--rather-than={other}"]
    assert main([*arguments, *options]) == 0
    said = capsys.readouterr().out
    assert f"target {one} rather than {other} (1), logit" in said
    clip = load_file(tmp_path / "clip.safetensors")["clip"]
    found = load_result(tmp_path)
    expected = TemporalGradient(rather_than(model, 2)).explain(clip, target=1)
    torch.testing.assert_close(found.attribution, expected.attribution)
    torch.testing.assert_close(found.influence, expected.influence)
    logits = model(clip)[0]
    torch.testing.assert_close(found.logits[0, 1], (logits[1] - logits[2]).detach())
    assert found.class_label() == f"{one} rather than {other} (1)"
    assert json.loads((tmp_path / "explained.json").read_text())["settings"]["rather_than"] == other


def test_names_of_a_function_s_classes_are_compared_too(grey_video, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("dark\nbright\n")
    out = tmp_path / "out"
    arguments = ["explain", str(grey_video), f"--out={out}", "--no-influence", f"--classes={names}"]
    preprocessing = ["--resize=none", "--crop=none", "--mean=0", "--std=1"]
    factory = "--model=tests.cli.test_rather_than:brightness"
    options = ["--target=bright", "--rather-than=dark", "--frames=4", factory]
    assert main([*arguments, *preprocessing, *options]) == 0
    assert "target bright rather than dark (1), logit" in capsys.readouterr().out


class Brightness(torch.nn.Module):
    def forward(self, clip):
        mean = clip.mean((1, 2, 3, 4))
        return torch.stack([-mean, mean], 1)


def brightness():
    return Brightness().eval()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--target=1", "--rather-than=1"], "another class than the target, got 1, which"),
        (["--target=1", "--rather-than=-3"], "another class than the target, got -3, which"),
        (["--rather-than=run"], "--rather-than to be a class number, or a name .* got run"),
        (["--rather-than=4"], "other from 0 to 3, got 4"),
        (
            ["--target=1", "--rather-than=0", "--method=contrastive-lrp-temporal"],
            "contrastive=False for differences of classes",
        ),
    ],
)
def test_classes_that_cannot_be_compared(options, text, grey_video, tmp_path, capsys):
    arguments = ["explain", str(grey_video), f"--model=zoo:{NAME}", f"--out={tmp_path / 'out'}"]
    assert main([*arguments, "--frames=6", *options]) != 0
    assert re.search(text, capsys.readouterr().err)
