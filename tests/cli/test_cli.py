"""The command line: what it writes, what it says, and how it ends."""

import json
import re

import cv2
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from torch import nn

from temporal_attr import (
    ContrastiveLRPTemporal,
    GradCAM,
    TemporalGradient,
    load_clip,
    load_result,
    views,
    wrap,
)
from temporal_attr.cli import main
from temporal_attr.models import load_model
from temporal_attr.zoo import load_pretrained
from tests.helpers.command_line import assert_pictures_of, explained_in
from tests.helpers.families import vivid
from tests.helpers.pictures import assert_file_shows

PICTURES = ["frame_strip.png", "overlay_grid.png", "influence_map.png", "overlay.webm"]
GRADIENT_VIEWS = {
    "frame_strip": views.frame_strip,
    "overlay_grid": views.overlay_grid,
    "influence_map": lambda result, clip: views.influence_map(result),
}
DEMO_ROLES = {
    "mixed-appearance-late-fusion": "a model that looks",
    "mixed-motion-inflated-resnet": "a model that follows motion",
}


def tensors_of(folder):
    """The tensors of the result, and the clip."""
    found = load_file(folder / "tensors.safetensors")
    assert "clip" not in found
    return {**found, **load_file(folder / "clip.safetensors")}


def test_demo(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "the shape supports: stripes square, left" in said
    assert "the motion supports: bars cross, up" in said
    assert re.search("a model that looks: 1 stripes square, left", said)
    assert re.search("a model that follows motion: 3 bars cross, up", said)
    rows = {}
    reaches = {"mixed-appearance-late-fusion": 0, "mixed-motion-inflated-resnet": 7}
    for name, reach in reaches.items():
        record = json.loads((tmp_path / name / "explained.json").read_text())
        assert record["clip"]["indices"] == list(range(16))
        tensors = tensors_of(tmp_path / name)
        result = TemporalGradient(load_pretrained(name)).explain(
            tensors["clip"], record["result"]["target"][0]
        )
        torch.testing.assert_close(tensors["attribution"], result.attribution)
        torch.testing.assert_close(tensors["influence"], result.influence)
        assert record["result"]["frame_scores"] == [pytest.approx(result.frame_scores[0].tolist())]
        time = torch.arange(16)
        seen = (time[:, None] - time).abs() <= reach
        assert torch.equal(tensors["influence"][0] > 0, seen)
        saved = tmp_path / name, tmp_path / "clip.webm", load_pretrained(name)
        assert_pictures_of(*saved, **GRADIENT_VIEWS)
        role = DEMO_ROLES[name]
        (title,) = (line for line in said.splitlines() if line.startswith(f"{role}: "))
        rows[title], clip = explained_in(*saved[:2], saved[2].preprocessing)
        video = cv2.VideoCapture(str(tmp_path / name / "overlay.webm"))
        assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 16
    assert_file_shows(tmp_path / "side_by_side.png", views.side_by_side(rows, clip))


@pytest.mark.parametrize("contrastive", [True, False])
def test_the_relevance_matrix(contrastive, grey_video, tmp_path, capsys):
    name = "mixed-motion-inflated-resnet"
    arguments = [f"--model=zoo:{name}", f"--out={tmp_path}", "--frames=6", "--target=1"]
    arguments += ["--method=contrastive-lrp-temporal", "--sigma=0.8", "--rows-per-backward=2"]
    arguments += [] if contrastive else ["--no-contrastive"]
    assert main(["explain", str(grey_video), *arguments]) == 0
    tensors = tensors_of(tmp_path)
    method = ContrastiveLRPTemporal(load_pretrained(name), contrastive=contrastive, sigma=0.8)
    result = method.explain(tensors["clip"], 1)
    scale = result.matrix.abs().max().item()
    torch.testing.assert_close(tensors["matrix"], result.matrix, rtol=0, atol=1e-4 * scale)
    assert json.loads((tmp_path / "explained.json").read_text())["result"]["ranges"] == [
        pytest.approx(result.ranges[0].tolist())
    ]
    assert "ATR" in capsys.readouterr().out
    heatmap = views.relevance_heatmap(load_result(tmp_path))
    assert_file_shows(tmp_path / "relevance_heatmap.png", heatmap)
    assert not (tmp_path / "overlay.webm").exists()


def test_a_class_activation_map_of_a_named_layer(grey_video, tmp_path, capsys):
    name = "mixed-motion-inflated-resnet"
    arguments = [f"--model=zoo:{name}", f"--out={tmp_path}", "--frames=4", "--target=1"]
    arguments += ["--method=grad-cam", "--layer=layers.0", "--pool=timestep", "--no-relu"]
    assert main(["explain", str(grey_video), *arguments]) == 0
    tensors = tensors_of(tmp_path)
    method = GradCAM(load_pretrained(name), "layers.0", relu=False, pool="timestep")
    expected = method.explain(tensors["clip"], 1)
    scale = expected.attribution.abs().max().item()
    torch.testing.assert_close(
        tensors["attribution"], expected.attribution, rtol=0, atol=1e-4 * scale
    )
    assert "GradCAM of the layer 'layers.0'" in capsys.readouterr().out
    drawn = {
        "frame_strip": views.frame_strip,
        "overlay_grid": lambda result, clip: views.overlay_grid(result, clip, sign="signed"),
    }
    assert_pictures_of(tmp_path, grey_video, load_pretrained(name), **drawn)


def test_lrp_draws_what_the_gradient_draws(grey_video, tmp_path, capsys):
    name = "mixed-appearance-late-fusion"
    arguments = [f"--model=zoo:{name}", f"--out={tmp_path}", "--frames=4", "--method=lrp"]
    assert main(["explain", str(grey_video), *arguments]) == 0
    tensors = tensors_of(tmp_path)
    best = int(tensors["logits"].argmax())
    total = tensors["frame_scores"].sum().item()
    assert total == pytest.approx(tensors["logits"][0, best].item(), rel=1e-4)
    assert "relevance sums to" in capsys.readouterr().out
    drawn = {"frame_strip": views.frame_strip, "overlay_grid": views.overlay_grid}
    assert_pictures_of(tmp_path, grey_video, load_pretrained(name), **drawn)
    assert main(["explain", str(grey_video), *arguments, "--objective=loss"]) == 2
    assert "expected options of lrp: --activation, got --objective" in capsys.readouterr().err


def test_a_trained_model_by_name(grey_video, tmp_path, capsys):
    name = "zoo:mixed-appearance-late-fusion"
    arguments = ["explain", str(grey_video), f"--model={name}", f"--out={tmp_path}", "--frames=4"]
    assert main([*arguments, "--target=checks triangle, down"]) == 0
    assert json.loads((tmp_path / "explained.json").read_text())["result"]["target"] == [2]
    assert "checks triangle, down (" in capsys.readouterr().out
    assert main([*arguments, "--weights=other.pt"]) == 2
    assert "expected a trained model without --weights" in capsys.readouterr().err
    assert main([*arguments[:2], "--model=zoo:none", f"--out={tmp_path}"]) == 2
    assert "a trained checkpoint, one of: mixed-appearance" in capsys.readouterr().err


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A late-fusion network of three classes, as a file of each kind, and its class names."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(1)
    model = vivid(torchvision.models.resnet18(num_classes=3), torch.randn(4, 3, 64, 64))
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.save({"state_dict": model.state_dict()}, folder / "model.pt")
    (folder / "names.txt").write_text("walk\nrun\nclap\n")
    return folder, model


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_explain_with_weights_and_class_names(weights, kind, grey_video, tmp_path, capsys):
    folder, model = weights
    code = main(
        [
            "explain",
            str(grey_video),
            "--model=torchvision:resnet18",
            f"--weights={folder / f'model.{kind}'}",
            f"--classes={folder / 'names.txt'}",
            "--frames=3",
            "--target=1",
            "--objective=probability",
            "--memory=framewise",
            "--chunk-size=2",
            f"--out={tmp_path / 'new' / 'folder'}",
        ]
    )
    assert code == 0
    said = capsys.readouterr().out
    assert "random" not in said
    wrapper = wrap(model)
    clip = load_clip(grey_video, 3, preprocessing=wrapper.preprocessing)
    expected = TemporalGradient(wrapper, "probability").explain(clip.tensor, 1)
    found = tensors_of(tmp_path / "new" / "folder")
    scale = expected.attribution.abs().max().item()
    torch.testing.assert_close(
        found["attribution"], expected.attribution, rtol=0, atol=1e-4 * scale
    )
    best = int(expected.logits.argmax())
    share = expected.logits.softmax(1)[0, best].item()
    assert f"top classes: {best} {['walk', 'run', 'clap'][best]} ({share:.1%})" in said
    record = json.loads((tmp_path / "new" / "folder" / "explained.json").read_text())
    assert record["result"]["run"]["path"] == "framewise"
    assert record["result"]["run"]["chunk_sizes"] == {"framewise": 2}
    loaded = load_result(tmp_path / "new" / "folder")
    assert loaded.run.chunk_size == 2
    assert torch.equal(loaded.attribution, found["attribution"])
    assert loaded.class_names == ("walk", "run", "clap")
    assert loaded.class_label() == "run (1)"


def test_random_weights_are_said_and_repeatable(grey_video, tmp_path, capsys):
    for folder in ("a", "b"):
        arguments = ["--model=timm:resnet10t", "--frames=2", f"--out={tmp_path / folder}"]
        assert main(["explain", str(grey_video), *arguments]) == 0
        assert "The weights are random" in capsys.readouterr().out
    one, other = (tensors_of(tmp_path / f) for f in ("a", "b"))
    assert torch.equal(one["logits"], other["logits"])


def test_a_model_of_ones_own(grey_video, tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(3, 4)\n"
        "    def forward(self, clip):\n"
        "        return self.fc(clip.mean((1, 3, 4)))\n"
    )
    monkeypatch.chdir(tmp_path)
    options = ["--resize=none", "--mean=0", "--std=1", "--out=out"]
    code = main(["explain", str(grey_video), "--model=mine:Net", "--frames=4", *options])
    said = capsys.readouterr()
    assert code == 0
    assert "no timesteps and no influence matrix" in said.err
    assert "random" not in said.out
    assert not (tmp_path / "out" / "influence_map.png").exists()
    record = json.loads((tmp_path / "out" / "explained.json").read_text())
    assert record["result"]["influence"] is None


BAD = {
    "missing": (["none.mp4", "--model=nowhere:m"], "expected the module nowhere"),
    "video": (["none.mp4"], "expected a video file at none.mp4, got no file there"),
    "frames": (["GREY", "--frames=41"], "expected at least 41 frames .* got a video of 40"),
    "no frames": (["GREY", "--frames=0"], "expected frames to be at least 1, got 0"),
    "target": (["GREY", "--target=9"], "expected a target from 0 to 3, got 9"),
    "no number": (
        ["GREY", "--target=run"],
        "expected --target to be a class number or top, or a name .* got run",
    ),
    "colon": (["GREY", "--model=r3d_18"], "Put a colon between"),
    "name": (["GREY", "--model=torchvision:r5d"], "the name of a torchvision model.*got 'r5d'"),
    "timm name": (["GREY", "--model=timm:none"], "the name of a timm model.*got 'none'"),
    "kind": (
        ["GREY", "--model=torchvision:raft_small"],
        "a torchvision classifier, got .raft_small",
    ),
    "factory": (["GREY", "--model=temporal_attr.zoo:none"], "a function none in temporal_attr.zoo"),
    "no model": (["GREY", "--model=os:getcwd"], "os:getcwd.. to return a torch.nn.Module, got str"),
    "weights": (["GREY", "--weights=none.pt"], "a file of weights at none.pt, got no file there"),
    "classes": (["GREY", "--classes=none.txt"], "a text file of class names at none.txt"),
    "objective": (["GREY", "--objective=score"], "expected objective to be .* got 'score'"),
    "memory": (["GREY", "--memory=magic"], "expected memory to be .* got 'magic'"),
    "device": (["GREY", "--device=foo"], "a device that is there as foo"),
    "names": (["GREY", "--classes=three.txt"], "a name for each of the model's 4 classes .* got 3"),
    "no names": (["GREY", "--classes=file"], "class names in file, got an empty file"),
    "out": (["GREY", "--out=file/inside"], "a folder to write to at file/inside"),
}


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, grey_video, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "three.txt").write_text("walk\nrun\nclap\n")
    arguments, text = BAD[case]
    options = ["--model=tests.helpers.factories:small_recurrent", "--out=out", *arguments[1:]]
    video = str(grey_video) if arguments[0] == "GREY" else arguments[0]
    assert main(["explain", video, *options]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
    assert len(errors) == 1
    assert errors[0].startswith("temporal-attr: expected ")
    assert re.search(text, errors[0])


def test_damaged_weights_and_weights_of_another_model(weights, tmp_path, grey_video, capsys):
    folder, _ = weights
    (tmp_path / "cut.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:999])
    (tmp_path / "cut.pt").write_bytes((folder / "model.pt").read_bytes()[:999])
    torch.save(nn.Linear(2, 2), tmp_path / "whole_model.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    cases = [
        (tmp_path / "cut.safetensors", "a state dict of tensors in .*cut.safetensors"),
        (tmp_path / "cut.pt", "a state dict of tensors in .*cut.pt"),
        (tmp_path / "whole_model.pt", "a state dict of tensors in .*whole_model.pt"),
        (tmp_path / "list.pt", "a state dict of tensors in .*list.pt"),
        (folder / "model.pt", "weights of ResNet, .* does not fit: size mismatch for fc.weight"),
    ]
    for path, text in cases:
        arguments = ["--model=torchvision:resnet18", f"--weights={path}", f"--out={tmp_path}/out"]
        assert main(["explain", str(grey_video), *arguments]) == 2
        assert re.search(text, capsys.readouterr().err)


def test_the_damaged_clip_at_the_command_line(real_video, tmp_path, capsys):
    video = str(real_video("corrupted.mp4"))
    model = "--model=tests.helpers.factories:small_recurrent"
    assert main(["explain", video, model, f"--out={tmp_path}"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "frame 29 of 50" in error
    assert "one that the decoder made up in part" in error


def test_ctrl_c_keeps_the_numbers(grey_video, tmp_path, capsys, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("temporal_attr.views._pictures.overlay_grid", stop)
    model = "--model=tests.helpers.factories:small_recurrent"
    assert main(["explain", str(grey_video), model, f"--out={tmp_path}"]) == 130
    assert "what was written so far is kept" in capsys.readouterr().err
    assert json.loads((tmp_path / "explained.json").read_text())["result"]["target"]
    assert "attribution" in tensors_of(tmp_path)
    assert (tmp_path / "frame_strip.png").exists()
    assert not (tmp_path / "overlay_grid.png").exists()


def test_loading_leaves_the_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = load_model("timm:resnet10t", seed=1), load_model("timm:resnet10t", seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(one.encoder.conv1[0].weight, other.encoder.conv1[0].weight)


@pytest.mark.parametrize("name", ["arm_wrestling.mp4", "flipping_a_pancake.mkv"])
@pytest.mark.parametrize("model", ["torchvision:r3d_18", "torchvision:resnet18"])
def test_real_clips_end_to_end(real_video, name, model, tmp_path, capsys):
    video = str(real_video(name))
    assert main(["explain", video, f"--model={model}", "--frames=8", f"--out={tmp_path}"]) == 0
    record = json.loads((tmp_path / "explained.json").read_text())
    influence = torch.tensor(record["result"]["influence"][0])
    assert influence.shape == ((1, 8) if "r3d" in model else (8, 8))
    assert torch.isfinite(influence).all()
    assert (influence.diagonal() > 0).all()
    for picture in PICTURES:
        assert (tmp_path / picture).stat().st_size > 1000
    assert "sensitivity" in capsys.readouterr().out
