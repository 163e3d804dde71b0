"""Trained weights: what is saved comes back, what ships is good, and the same seed is the same."""

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from temporal_attr import ModelError, OptionError, ResultError, synthetic
from temporal_attr.zoo import (
    Card,
    build_model,
    load_pretrained,
    pretrained_card,
    pretrained_names,
    save_checkpoint,
)
from tests.helpers.checks import BENCHMARKS


def saved(folder, name="mine", seed=3, **changes):
    """A checkpoint of a tiny model with random weights, and the model."""
    options = {"widths": [4, 8], "temporal_kernel": 5}
    model = build_model("tam2d", 3, seed, **options)
    card = Card(
        name=name,
        task="appearance",
        task_options={"classes": 3},
        architecture="tam2d",
        options=options,
        class_names=("a", "b", "c"),
        seed=seed,
        steps=0,
        accuracy=1 / 3,
        videos=9,
        seconds=0.0,
        **changes,
    )
    return model, save_checkpoint(model, card, folder)


def test_what_is_saved_comes_back_to_the_bit(tmp_path):
    model, path = saved(tmp_path)
    with torch.no_grad():
        for part in model.parameters():
            part.add_(0.1 * torch.randn_like(part))
    save_checkpoint(model, pretrained_card("mine", tmp_path), tmp_path)
    loaded = load_pretrained("mine", tmp_path)
    assert not loaded.training
    clip = torch.randn(2, 5, 3, 16, 16)
    assert torch.equal(loaded(clip), model(clip))
    card = pretrained_card("mine", tmp_path)
    assert card.sha256 == sha256(path.read_bytes()).hexdigest()
    assert (card.class_names, card.options["temporal_kernel"]) == (("a", "b", "c"), 5)


def test_a_disk_that_is_full_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    saved(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self, content):
        self.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(ResultError, match="a folder to write to at .*, got No space left"):
            saved(tmp_path, seed=4)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    # What a process that was killed left is no checkpoint.
    (tmp_path / ".mine.tmp-1-0123abcd.json").write_text("half")
    assert pretrained_names(tmp_path) == ("mine",)


def test_the_same_weights_are_the_same_bytes(tmp_path):
    _, one = saved(tmp_path / "one")
    _, other = saved(tmp_path / "other")
    _, third = saved(tmp_path / "third", seed=4)
    assert one.read_bytes() == other.read_bytes()
    assert one.with_suffix(".json").read_bytes() == other.with_suffix(".json").read_bytes()
    assert one.read_bytes() != third.read_bytes()


def damage(path, how):
    """Spoil a checkpoint in one way."""
    card = path.with_suffix(".json")
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "flipped":
        weights = bytearray(path.read_bytes())
        weights[-1] ^= 1
        path.write_bytes(bytes(weights))
    elif how == "gone":
        path.unlink()
    elif how == "no json":
        card.write_text("{")
    else:
        entries = json.loads(card.read_text())
        if how == "fewer entries":
            del entries["seed"]
        elif how == "no such architecture":
            entries["architecture"] = "tam9"
        elif how == "no such option":
            entries["options"]["depth"] = 3
        elif how == "text for a number":
            entries["accuracy"] = "high"
        elif how == "text for a list":
            entries["class_names"] = "abc"
        else:
            entries["options"]["widths"] = [4, 9]
        card.write_text(json.dumps(entries))


DAMAGED = {
    "cut": "weights in mine.safetensors as its card describes them, got other bytes",
    "flipped": "weights in mine.safetensors as its card describes them, got other bytes",
    "gone": "the weights of mine in mine.safetensors, got no file there",
    "no json": "the card of a checkpoint in mine.json, got Expecting",
    "fewer entries": "the card of a checkpoint in mine.json, got other entries: .'seed'",
    "no such architecture": "weights of tam9 in mine.safetensors, got .* an architecture, one of",
    "no such option": "weights of tam2d in mine.safetensors, got .* options of tam2d",
    "text for a number": "the card of a checkpoint in mine.json, got accuracy of type str",
    "text for a list": "the card of a checkpoint in mine.json, got class_names of type str",
    "other model": "weights of tam2d in mine.safetensors, got .* size mismatch",
}


@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_checkpoint_is_an_error_that_names_it(how, tmp_path):
    _, path = saved(tmp_path)
    damage(path, how)
    with pytest.raises(ModelError, match=DAMAGED[how]):
        load_pretrained("mine", tmp_path)


def test_a_name_is_no_path(tmp_path):
    _, path = saved(tmp_path / "elsewhere")
    (tmp_path / "here").mkdir()
    for name in ("../elsewhere/mine", str(path.with_suffix(""))):
        with pytest.raises(OptionError, match="a trained checkpoint, one of: none there"):
            load_pretrained(name, tmp_path / "here")


def test_a_card_of_another_model_is_refused(tmp_path):
    saved(tmp_path)
    card = pretrained_card("mine", tmp_path)
    other = build_model("tam2d", 3, widths=[4, 8], temporal_kernel=3)
    with pytest.raises(ModelError, match="a model of the card's architecture, tam2d with"):
        save_checkpoint(other, card, tmp_path)
    assert load_pretrained("mine", tmp_path)


def test_an_overwriting_that_is_stopped_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    saved(tmp_path)
    card = pretrained_card("mine", tmp_path)
    before = load_pretrained("mine", tmp_path).state_dict()

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(build_model("tam2d", 3, 9, **card.options), card, tmp_path)
    assert pretrained_card("mine", tmp_path) == card
    for key, value in load_pretrained("mine", tmp_path).state_dict().items():
        assert torch.equal(value, before[key]), key


def test_an_unknown_name_lists_those_that_are_there(tmp_path):
    with pytest.raises(OptionError, match="one of: mixed-appearance.*, got 'none'"):
        load_pretrained("none")
    with pytest.raises(OptionError, match="one of: none there, got 'none'"):
        load_pretrained("none", tmp_path)


def test_what_ships_is_small():
    folder = Path(__import__("temporal_attr").__file__).parent / "zoo" / "checkpoints"
    assert {path.stem for path in folder.iterdir()} == set(pretrained_names())
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000


@pytest.mark.parametrize("name", pretrained_names())
def test_what_ships_is_as_good_as_its_card_says(name):
    card, model = pretrained_card(name), load_pretrained(name)
    task = synthetic.TASKS[card.task](size=card.options["size"], **card.task_options)
    assert card.class_names == task.class_names
    # A seed that neither training nor the card's own accuracy has seen.
    videos = [task.sample(index, seed=77) for index in range(60)]
    with torch.no_grad():
        clips = torch.cat([video.clip(model.preprocessing).tensor for video in videos])
        predicted = torch.cat([model(clip).argmax(1) for clip in clips.split(20)])
    right = (predicted == torch.tensor([video.label for video in videos])).double().mean().item()
    # Three standard deviations of a share of 60 videos at the card's accuracy, or two mistakes.
    spread = (card.accuracy * (1 - card.accuracy) / 60) ** 0.5
    assert right >= card.accuracy - max(3 * spread, 2.5 / 60)
    assert card.accuracy >= 0.95


def test_training_with_the_same_seed_gives_the_same_bytes(tmp_path):
    recipe = "mixed-appearance-late-fusion"
    written = {}
    for folder, seed in (("one", 0), ("other", 0), ("third", 1)):
        options = [f"--folder={tmp_path / folder}", f"--seed={seed}", "--only", recipe]
        sizes = ["--steps=3", "--videos=32", "--fresh=8", "--processes=1"]
        command = [sys.executable, str(BENCHMARKS / "train_zoo.py"), *sizes, *options]
        subprocess.run(command, check=True, capture_output=True)
        written[folder] = (tmp_path / folder / f"{recipe}.safetensors").read_bytes()
    assert written["one"] == written["other"]
    assert written["one"] != written["third"]
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "is there already" in again.stdout
    assert (tmp_path / "third" / f"{recipe}.safetensors").read_bytes() == written["third"]
