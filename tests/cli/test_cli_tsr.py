"""Temporal saliency rescaling at the command line."""

import json
import re

import cv2
import pytest
import torch
from captum.attr import GradientShap, InputXGradient, Saliency
from safetensors.torch import load_file

from temporal_attr import (
    FrameMaskingTSR,
    TemporalGradient,
    synthetic,
    views,
)
from temporal_attr.attributions import METHODS
from temporal_attr.cli import main
from temporal_attr.cli._methods import base_names
from temporal_attr.clips import IDENTITY, Preprocessing
from temporal_attr.models import load_model
from temporal_attr.perturbations import Blocks, Superpixels, Supervoxels
from temporal_attr.zoo import build_model, load_pretrained
from tests.helpers.command_line import assert_pictures_of

MODEL = "tests.cli.test_cli_tsr:small_volume"
CURVED = "tests.cli.test_cli_tsr:tiny_frames"
"""Its gradient differs along the way from zeros to the clip, and so from draw to draw."""
FRAMES = 4
FEW = ["--method=frame-masking-tsr", f"--model={MODEL}", f"--frames={FRAMES}", "--target=2"]
PICTURES = ["keyframe_strip.png", "flow_saliency.png", "overlay_grid.png"]
VIEWS = {
    "keyframe_strip": views.keyframe_strip,
    "flow_saliency": views.flow_saliency,
    "overlay_grid": views.overlay_grid,
}


def small_volume():
    """A small 3D network of four classes, in which frames see each other."""
    return build_model("inflated-resnet", 4, widths=(4, 8))


def tiny_frames():
    """A small recurrent network for frames that are too small for flow."""
    model = build_model("gru", 4, widths=(4,))
    model.preprocessing = Preprocessing((8, 8), (8, 8))
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three planted videos."""
    folder = tmp_path_factory.mktemp("videos")
    task = synthetic.Mixed(frames=8, size=48)
    for number in range(3):
        task.sample(number).write(folder / f"{number}.webm")
    return folder


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the pictures out, which take longer than all else here."""
    monkeypatch.setattr("temporal_attr.cli._explain.draw", lambda result, clip, draft: None)


def explain(folder, out, *options):
    return main(["explain", str(folder / "0.webm"), *FEW, f"--out={out}", *options])


def written(out):
    """The tensors, and the record of the result."""
    record = json.loads((out / "explained.json").read_text())["result"]
    tensors = load_file(out / "tensors.safetensors") | load_file(out / "clip.safetensors")
    return tensors, record


def assert_written(tensors, result):
    """Whatever the method found stands in the file."""
    for name, expected in result.tensors().items():
        assert tensors[name].shape == expected.shape
        scale = expected.double().abs().max().item()
        torch.testing.assert_close(tensors[name], expected, rtol=0, atol=1e-4 * scale)


def test_one_step_and_its_pictures(folder, tmp_path, capsys):
    name = "mixed-motion-inflated-resnet"
    assert explain(folder, tmp_path, "--base=saliency", f"--model=zoo:{name}") == 0
    tensors, record = written(tmp_path)
    result = FrameMaskingTSR(Saliency(load_pretrained(name))).explain(tensors["clip"], 2)
    assert_written(tensors, result)
    assert record["kept"] == [[True] * FRAMES]
    assert record["keyframes"] == result.keyframes.tolist()
    assert record["frame_scores"] == [pytest.approx(result.time_relevance[0].tolist(), rel=1e-4)]
    model = load_pretrained(name)
    assert_pictures_of(tmp_path, folder / "0.webm", model, **VIEWS)
    video = cv2.VideoCapture(str(tmp_path / "overlay.webm"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert not (tmp_path / "frame_strip.png").exists()
    assert f"{FRAMES} masked clips; {FRAMES} of {FRAMES} frames kept" in capsys.readouterr().out


def test_what_cannot_be_drawn_does_not_stay_from_an_earlier_run(folder, tmp_path):
    assert explain(folder, tmp_path) == 0
    assert (tmp_path / "flow_saliency.png").exists()
    assert explain(folder, tmp_path, "--frames=2") == 0
    assert not (tmp_path / "flow_saliency.png").exists()
    assert (tmp_path / "keyframe_strip.png").exists()
    assert explain(folder, tmp_path, "--method=lrp") == 0
    assert not (tmp_path / "keyframe_strip.png").exists()


CASES = {
    "blocks": (
        ["--feature-mask=blocks:24", "--quantile=0.6"],
        {"feature_mask": Blocks(24, 24), "quantile": 0.6},
    ),
    "oblong blocks": (
        ["--feature-mask=blocks:16x24", "--steps=two", "--baselines=neighbour", "--normalize"],
        {"feature_mask": Blocks(16, 24), "baselines": "neighbour", "normalize": True},
    ),
    "superpixels": (
        ["--feature-mask=superpixels", "--quantile=1", "--baselines=mean"],
        {"feature_mask": Superpixels(), "quantile": 1.0, "baselines": "mean"},
    ),
    "supervoxels": (
        [
            "--feature-mask=supervoxels:50",
            "--quantile=1",
            "--baselines=0.5",
            "--perturbations-per-eval=16",
        ],
        {
            "feature_mask": Supervoxels(50),
            "quantile": 1.0,
            "baselines": 0.5,
            "perturbations_per_eval": 16,
        },
    ),
    "windows": (
        ["--steps=one", "--window=2", "--baselines=blur", "--threshold=0.01"],
        {"steps": "one", "window": 2, "baselines": "blur", "threshold": 0.01},
    ),
}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("case", CASES)
def test_options_reach_the_method(case, folder, tmp_path):
    options, arguments = CASES[case]
    assert explain(folder, tmp_path, *options) == 0
    tensors, _ = written(tmp_path)
    method = TemporalGradient(load_model(MODEL))
    tsr = FrameMaskingTSR(method, **{"steps": "two", **arguments})
    result = tsr.explain(tensors["clip"], 2)
    assert_written(tensors, result)
    plain = FrameMaskingTSR(method).explain(tensors["clip"], 2)
    scale = plain.attribution.abs().max()
    assert (plain.attribution - result.attribution).abs().max() > 0.01 * scale


def test_two_steps_mask_pixels_where_no_feature_mask_is_given(folder, tmp_path):
    options = [f"--model={CURVED}", "--steps=two", "--quantile=1"]
    assert explain(folder, tmp_path, *options) == 0
    _, record = written(tmp_path)
    assert record["masks"] == FRAMES + 64
    # Frames of 8 x 8 pixels are too small for flow, and so for keyframes.
    assert record["keyframes"] is None
    found = [name for name in PICTURES if (tmp_path / name).exists()]
    assert found == ["keyframe_strip.png", "overlay_grid.png"]


def base_of(name, model, clip):
    """The method and what is handed to it, as a user would write them."""
    captum = {
        "gradient-shap": (GradientShap, {"baselines": torch.zeros_like(clip)}),
        "input-x-gradient": (InputXGradient, {}),
        "saliency": (Saliency, {}),
    }
    if name in captum:
        kind, arguments = captum[name]
        return kind(model), arguments
    kind = next(kind for kind in METHODS if kind.traits.slug == name)
    return kind(model, **({"seed": 3} if kind.traits.random else {})), {}


# Hundreds of masked clips for each that temporal saliency rescaling masks.
SLOW_BASES = (
    "kernel-shap",
    "occlusion",
    "rise",
    "score-cam",
    "video-lime",
    "extremal-perturbation",
)


@pytest.mark.usefixtures("undrawn", "as_user")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.simulation] if name in SLOW_BASES else [])
        for name in base_names()
    ],
)
def test_every_base(name, folder, tmp_path):
    options = [f"--model={CURVED}", f"--base={name}", "--seed=3"]
    if name in ("attention-rollout", "gradient-attention"):
        assert explain(folder, tmp_path, *options) == 2  # the model has no attention
        return
    assert explain(folder, tmp_path, *options) == 0
    tensors, record = written(tmp_path)
    method, arguments = base_of(name, load_model(CURVED), tensors["clip"])
    seed = 3 if name == "gradient-shap" else None
    tsr = FrameMaskingTSR(method, seed=seed, method_arguments=arguments)
    assert_written(tensors, tsr.explain(tensors["clip"], 2))
    assert record["method_name"] == method.get_name()
    assert record["run"]["seed"] == seed


@pytest.mark.usefixtures("undrawn")
def test_a_base_that_draws_gives_the_same_numbers_again(folder, tmp_path):
    found = []
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        options = [f"--model={CURVED}", "--base=gradient-shap", f"--seed={seed}"]
        assert explain(folder, tmp_path / out, *options) == 0
        tensors, _ = written(tmp_path / out)
        assert torch.equal(tensors["logits"], load_model(CURVED)(tensors["clip"]).detach())
        found.append(tensors["attribution"])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_superpixels_of_a_model_that_is_not_wrapped(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = torch.nn.Linear(3, 4)\n"
        "    def forward(self, clip):\n"
        "        return self.fc((clip ** 2).mean((1, 3, 4)))\n"
    )
    monkeypatch.chdir(tmp_path)
    synthetic.Mixed(frames=4, size=48).sample(0).write(tmp_path / "0.webm")
    options = ["--model=mine:Net", "--feature-mask=superpixels", "--quantile=1"]
    options += ["--resize=none", "--mean=0", "--std=1"]
    assert explain(tmp_path, tmp_path / "out", *options) == 0
    tensors, record = written(tmp_path / "out")
    method = TemporalGradient(load_model("mine:Net"))
    tsr = FrameMaskingTSR(method, "two", Superpixels(), quantile=1.0, normalization=IDENTITY)
    assert_written(tensors, tsr.explain(tensors["clip"], 2))
    assert record["masks"] > FRAMES + 20
    assert (tmp_path / "out" / "flow_saliency.png").exists()


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            ["--base=shap"],
            "--base to be attention-rollout, .* or video-lime, got shap",
        ),
        (
            ["--feature-mask=pixel"],
            "--feature-mask to be pixels, blocks:SIDE, .* got pixel. Try blocks:16",
        ),
        (["--feature-mask=pixels:2"], "got pixels:2"),
        (["--feature-mask=blocks"], "got blocks. "),
        (["--feature-mask=blocks:"], "got blocks:"),
        (["--feature-mask=blocks:2x3x4"], "got blocks:2x3x4"),
        (["--feature-mask=blocks:axb"], "got blocks:axb"),
        (["--feature-mask=blocks:0"], "a block's height a whole number at least 1, got 0"),
        (["--feature-mask=blocks:8x49"], "a block's width a whole number from 1 to 48, got 49"),
        (["--feature-mask=blocks:8", "--steps=one"], 'steps="two", got steps="one"'),
        (["--steps=three"], 'steps to be "one" or "two", got .three.'),
        (
            ["--baselines=grey"],
            'baselines to be a number, "mean", "blur", "neighbour" .* got .grey.',
        ),
        (["--window=0"], "window a whole number at least 1, got 0"),
        (["--window=9"], "a clip of at least the 9 frames of the window, got 4 frames"),
        (["--threshold=-1"], "threshold at least 0, got -1"),
        (["--quantile=2"], "quantile from 0 to 1, got 2"),
        (["--quantile=0.5", "--threshold=1"], "a threshold or a quantile, got threshold=1.0 and"),
        (["--perturbations-per-eval=0"], "perturbations_per_eval a whole number at least 1, got 0"),
        (
            ["--shuffles=3"],
            "options of frame-masking-tsr: --activation, .*--window, got --shuffles",
        ),
        (["--method=lrp", "--base=lrp"], "options of lrp: --activation, got --base"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(options, text, folder, tmp_path, capsys):
    assert explain(folder, tmp_path, *options) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if not line.endswith("...")]
    assert len(errors) == 1
    assert errors[0].startswith("temporal-attr: expected ")
    assert re.search(text, errors[0])
    assert not (tmp_path / "result.json").exists()


def test_the_help_names_every_base(capsys):
    with pytest.raises(SystemExit):
        main(["explain", "--help"])
    said = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    (described,) = re.findall("--base (.*?) --baselines", said)
    for name in base_names():
        assert name in described


# Ctrl-C.

BLOCKS = ["--base=input-x-gradient", "--feature-mask=blocks:16", "--perturbations-per-eval=1"]
PARTS = 9
FIRST_STEP = 2 + FRAMES
"""Attributions: the clip's own, twice, and one for each frame."""


@pytest.fixture
def stop_after(monkeypatch):
    """A function that has the method be interrupted when it was called so often."""
    attribute = InputXGradient.attribute
    calls = []

    def stop(count):
        def counted(self, *arguments, **options):
            if len(calls) == count:
                raise KeyboardInterrupt
            calls.append(None)
            return attribute(self, *arguments, **options)

        monkeypatch.setattr(InputXGradient, "attribute", counted)

    return stop


def test_ctrl_c_in_the_second_step_writes_and_draws_what_is_done(
    folder, tmp_path, capsys, stop_after, monkeypatch
):
    # The second frame is not finished.
    stop_after(FIRST_STEP + PARTS + 2)
    assert explain(folder, tmp_path, *BLOCKS) == 130
    monkeypatch.undo()
    said = capsys.readouterr()
    tensors, record = written(tmp_path)
    assert record["complete"] is False
    assert f"stopped after {FRAMES + PARTS + 2} of {FRAMES * (PARTS + 1)} masked clips" in said.out
    assert said.err.splitlines()[-1].startswith("temporal-attr: stopped")
    # The frame that matters most came first.
    first = int(tensors["frame_scores"][0].argmax())
    assert tensors["kept"][0].tolist() == [frame == first for frame in range(FRAMES)]
    tsr = FrameMaskingTSR(InputXGradient(load_model(MODEL)), "two", Blocks(16, 16))
    whole = tsr.explain(tensors["clip"], 2)
    expected = torch.zeros_like(whole.attribution)
    expected[0, first] = whole.attribution[0, first]
    scale = expected.abs().max().item()
    torch.testing.assert_close(tensors["attribution"], expected, rtol=0, atol=1e-4 * scale)
    assert_pictures_of(tmp_path, folder / "0.webm", load_model(MODEL), **VIEWS)
    assert (tmp_path / "overlay.webm").exists()


def test_ctrl_c_in_the_first_step_leaves_the_last_result(folder, tmp_path, capsys, stop_after):
    assert explain(folder, tmp_path, "--method=lrp") == 0
    earlier = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    stop_after(FIRST_STEP - 1)
    assert explain(folder, tmp_path, *BLOCKS) == 130
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == earlier
    assert "temporal-attr: stopped" in capsys.readouterr().err


def test_ctrl_c_in_a_folder_ends_with_the_clip_at_hand(folder, tmp_path, capsys, stop_after):
    stop_after(FIRST_STEP + FRAMES * PARTS + FIRST_STEP + PARTS + 1)
    arguments = ["explain", f"--video-dir={folder}", *FEW, *BLOCKS, f"--out={tmp_path}"]
    assert main(arguments) == 130
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == ["0.webm", "1.webm", "manifest.json"]
    complete = [written(tmp_path / f"{number}.webm")[1]["complete"] for number in range(2)]
    assert complete == [True, False]
    for number in range(2):
        for picture in PICTURES:
            assert (tmp_path / f"{number}.webm" / picture).exists()
    assert "what was written so far is kept" in capsys.readouterr().err


@pytest.mark.usefixtures("undrawn")
def test_a_run_that_is_not_stopped_ends_well(folder, tmp_path, stop_after):
    stop_after(FIRST_STEP + FRAMES * PARTS)
    assert explain(folder, tmp_path, *BLOCKS) == 0
    _, record = written(tmp_path)
    assert record["complete"] is True
    assert record["masks"] == FRAMES * (PARTS + 1)
