"""Checkpoint folders of the transformers library: read whole, from the disk alone, or refused."""

import json
import logging
import re
import shutil
import socket
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

import temporal_attr
from temporal_attr import ModelError, OptionError, WeightsWarning
from temporal_attr._errors import UnsupportedModelError
from temporal_attr.cli import main
from temporal_attr.models import load_model, load_transformers
from tests.helpers.checks import assert_refused
from tests.helpers.families import family
from tests.helpers.transformer_families import hf_vit, timesformer, videomae

pytestmark = pytest.mark.usefixtures("one_thread")

NAMES = ["walk", "run", "jump", "sit", "lie"]
SMALL = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A VideoMAE with names of classes and a processor, as a user would have saved it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "videomae"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = videomae(id2label=dict(enumerate(NAMES)))
    network.save_pretrained(folder)
    transformers.VideoMAEImageProcessor(**SMALL).save_pretrained(folder)
    return folder, network


@pytest.fixture
def copied(saved, tmp_path):
    """A copy of it that can be spoiled."""
    return shutil.copytree(saved[0], tmp_path / "copy")


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def refuse(*_):
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_folder_gives_the_model_its_names_frames_and_preprocessing(saved):
    folder, network = saved
    log = transformers.utils.logging
    before = torch.get_rng_state(), log.get_verbosity(), log.is_progress_bar_enabled()
    model = load_transformers(folder)
    after = torch.get_rng_state(), log.get_verbosity(), log.is_progress_bar_enabled()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    clip = family("videomae").clip()
    with torch.no_grad():
        assert torch.equal(model(clip), network(clip).logits)
    assert not model.training
    assert model.class_names == tuple(NAMES)
    assert (model.clip_frames, model.frames_per_step) == (8, 2)
    assert (model.preprocessing.resize, model.preprocessing.crop) == (36, (32, 32))
    assert model.preprocessing.normalization.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("VideoMAEImageProcessor", SMALL),
        ("VideoMAEVideoProcessor", SMALL),
        ("TimesformerVideoProcessor", SMALL),
        ("VivitImageProcessor", SMALL),
        ("VivitVideoProcessor", SMALL),
        ("VJEPA2VideoProcessor", {"crop_size": 28}),
        ("LlavaOnevisionVideoProcessor", {"size": {"height": 30, "width": 34}}),
        ("ViTImageProcessor", {"size": {"height": 32, "width": 32}}),
        ("VideoMAEVideoProcessor", {**SMALL, "do_center_crop": False, "do_normalize": False}),
        ("VideoMAEVideoProcessor", {"do_resize": False, "crop_size": SMALL["crop_size"]}),
    ],
)
def test_preprocessing_is_the_processors(kind, options, copied):
    (copied / "preprocessor_config.json").unlink()
    processor = getattr(transformers, kind)(**options)
    processor.save_pretrained(copied)
    coarse = 255 * torch.rand(8, 3, 6, 8)
    frames = nn.functional.interpolate(coarse, (48, 60), mode="bilinear").to(torch.uint8)
    expected = next(iter(processor(list(frames.numpy()), return_tensors="pt").values()))
    expected = expected[0] if expected.ndim == 5 else expected
    prepare = load_transformers(copied).preprocessing
    assert prepare(frames).shape == expected.shape
    # The library resizes bytes in whole numbers, which may be the next byte.
    bytes_ = 255 * torch.tensor(prepare.normalization.std)[:, None, None]
    apart = bytes_ * (prepare(frames) - expected).abs()
    assert apart.max() < 1.01
    assert apart.mean() < 0.25


def test_a_processor_among_several_is_found(copied):
    settings = json.loads((copied / "preprocessor_config.json").read_text())
    (copied / "preprocessor_config.json").unlink()
    together = {"processor_class": "X", "image_processor": settings}
    (copied / "processor_config.json").write_text(json.dumps(together))
    assert load_transformers(copied).preprocessing.crop == (32, 32)
    (copied / "processor_config.json").unlink()
    assert load_transformers(copied).preprocessing is None


def test_weights_in_half_precision_become_single(copied):
    network = transformers.VideoMAEForVideoClassification.from_pretrained(
        copied, dtype=torch.float16
    )
    network.save_pretrained(copied)
    assert {entry.dtype for entry in load_transformers(copied).parameters()} == {torch.float32}


def test_image_classifiers_and_frames_by_themselves_can_be_loaded(tmp_path):
    hf_vit().save_pretrained(tmp_path / "image")
    image = load_transformers(tmp_path / "image")
    assert (type(image).__name__, image.clip_frames) == ("LateFusion", None)
    timesformer("space_only").save_pretrained(tmp_path / "space")
    space = load_transformers(str(tmp_path / "space"))
    assert (type(space).__name__, space.clip_frames) == ("LateFusion", 8)


def test_loading_by_name_and_by_attention(saved):
    model = load_model(f"transformers:{saved[0]}", class_names=NAMES[::-1], activation="sigmoid")
    assert (model.class_names, model.activation) == (tuple(NAMES[::-1]), "sigmoid")
    eager = load_transformers(saved[0], attn_implementation="eager")
    assert eager.model.config._attn_implementation == "eager"


@pytest.mark.usefixtures("as_user")
def test_options_that_a_checkpoint_has_no_place_for_are_refused(saved):
    name = f"transformers:{saved[0]}"
    says = "which has weights of its own"
    assert_refused(OptionError, says, load_model, name, weights=saved[0] / "model.safetensors")
    assert_refused(OptionError, "each of the 5 classes", load_model, name, classes=3)


def spoil(folder, what):
    """A checkpoint folder with something wrong."""
    config, weights = folder / "config.json", folder / "model.safetensors"
    settings = json.loads(config.read_text())
    if what == "no config":
        config.unlink()
    elif what == "no weights":
        weights.rename(folder / "pytorch_model.bin")
    elif what == "no JSON":
        config.write_text("{")
    elif what == "no known type":
        config.write_text(json.dumps({**settings, "model_type": "mine"}))
    elif what == "damaged weights":
        weights.write_bytes(weights.read_bytes()[:200])
    elif what == "features":
        config.write_text(json.dumps({**settings, "architectures": ["VideoMAEModel"]}))
    elif what == "pretraining":
        config.write_text(json.dumps({**settings, "architectures": ["VideoMAEForPreTraining"]}))
    elif what == "no name":
        config.write_text(json.dumps({**settings, "architectures": None}))
    elif what == "text":
        config.write_text(json.dumps({**settings, "architectures": ["BertForMaskedLM"]}))
    elif what == "no classifier":
        state = load_file(weights)
        left = {name: state[name] for name in state if not name.startswith("classifier")}
        save_file(left, weights, {"format": "pt"})
    elif what == "another size":
        config.write_text(json.dumps({**settings, "hidden_size": 26}))
    elif what == "no processor's JSON":
        (folder / "preprocessor_config.json").write_text("[1]")
    elif what == "no mean":
        (folder / "preprocessor_config.json").write_text('{"size": 8, "crop_size": 8}')
    elif what == "another resize":
        path = folder / "preprocessor_config.json"
        path.write_text('{"size": 8, "image_mean": 0.5, "image_std": 0.5, "resample": 1}')


SPOILED = {
    "no config": (ModelError, "a checkpoint folder with config.json .* a folder without one"),
    "no weights": (ModelError, "weights as .safetensors in .* got none"),
    "no JSON": (ModelError, "a checkpoint of the transformers library in"),
    "no known type": (ModelError, "a checkpoint of the transformers library in .*mine"),
    "damaged weights": (ModelError, "a checkpoint of the transformers library in"),
    "features": (UnsupportedModelError, "VideoMAEModel, which returns features, no logits"),
    "pretraining": (UnsupportedModelError, "VideoMAEForPreTraining, which returns features"),
    "no name": (UnsupportedModelError, "a model without a name, which this version"),
    "text": (UnsupportedModelError, "BertForMaskedLM, which returns features"),
    "no classifier": (ModelError, "all weights of Video.* got none for classifier.bias, class"),
    "another size": (ModelError, "a checkpoint of the transformers library in"),
    "no processor's JSON": (ModelError, "an object in .*preprocessor_config.json, got list"),
    "no mean": (ModelError, "image_mean and image_std in .*KeyError: 'image_mean'"),
    "another resize": (ModelError, "resample 1, not one of"),
}


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("what", SPOILED)
def test_spoiled_folders_are_refused_by_name(what, copied):
    spoil(copied, what)
    kind, says = SPOILED[what]
    assert_refused(kind, says, load_transformers, copied)


def test_a_folder_that_is_not_there_is_no_name_to_look_up(tmp_path):
    for name in ("MCG-NJU/videomae-base", str(tmp_path / "none")):
        assert_refused(ModelError, "got no folder there", load_transformers, name)


def test_weights_that_nothing_uses_are_told(copied):
    state = load_file(copied / "model.safetensors")
    save_file(
        {**state, "decoder.weight": torch.ones(2)}, copied / "model.safetensors", {"format": "pt"}
    )
    with pytest.warns(WeightsWarning, match="no use for 1 weights, such as decoder.weight"):
        load_transformers(copied)


def test_the_command_line_explains_a_checkpoint_folder(saved, grey_video, tmp_path, capsys):
    out = tmp_path / "out"
    options = [f"--model=transformers:{saved[0]}", f"--out={out}", "--target=jump"]
    assert main(["explain", str(grey_video), *options]) == 0
    said = capsys.readouterr()
    assert "decoding 8 frames" in said.err
    assert "jump" in said.out
    record = json.loads((out / "explained.json").read_text())
    assert record["settings"]["frames"] == 8
    assert record["preprocessing"].startswith("frames resized to 36 on the short side, 32 x 32")
    assert len(record["result"]["influence"][0]) == 4
    assert main(["explain", str(grey_video), *options, "--frames=6"]) == 2
    assert "expected 8 frames of 32 x 32" in capsys.readouterr().err


@pytest.mark.usefixtures("as_user")
def test_the_command_line_names_what_is_wrong(tmp_path, grey_video, capsys):
    options = ["--model=transformers:none", f"--out={tmp_path / 'out'}"]
    assert main(["explain", str(grey_video), *options]) == 2
    assert "expected a checkpoint folder with config.json at none" in capsys.readouterr().err


def test_the_lines_of_the_page_run_as_written(capsys):
    page = (Path(__file__).parents[2] / "docs" / "your_model.md").read_text("utf-8")
    section = page.split("## A checkpoint folder of the transformers library")[1].split("\n## ")[0]
    cells = re.findall(r"```\{code-cell\} ipython3\n(?::tags:[^\n]*\n)?(.*?)```", section, re.S)
    names = {"torch": torch, "ta": temporal_attr}
    before = logging.root.manager.disable
    try:
        for cell in cells:
            exec(cell, names)
    finally:
        logging.disable(before)
    said = capsys.readouterr().out
    assert "frozen (1, 4, 3) ('walk', 'run', 'jump')" in said
    assert "4 timestep(s)" in said
    assert len(cells) == 2
    assert len([line for line in cells[1].splitlines() if line]) <= 10
