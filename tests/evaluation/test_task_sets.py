"""Named task sets: what a name stands for, its models, and how they are trained."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from temporal_attr import DataError, ModelError, OptionError
from temporal_attr.evaluation import Suite
from temporal_attr.evaluation.task_sets import PlantedSet, TaskSetEntry, task_set
from temporal_attr.evaluation.task_sets._fingerprint import fingerprint, require_fingerprints
from temporal_attr.evaluation.task_sets._planted import families_of
from temporal_attr.synthetic import TASKS
from temporal_attr.zoo import Card, build_model, save_checkpoint
from tests.helpers.checks import BENCHMARKS

pytestmark = pytest.mark.usefixtures("one_thread", "as_user")

PLANTED = "2bd8871c3f35d74460739102c4d77645c071e7976d7974ddc729b81191d50f24"


@pytest.fixture
def command(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import train_task_sets

    yield train_task_sets
    # What it sets for a process of its own.
    torch.use_deterministic_algorithms(False)


def put(entry, folder, accuracy, seed=0):
    """A checkpoint of an untrained model that is said to have an accuracy."""
    recipe = entry.recipe
    classes = recipe.make_task().class_names
    model = build_model(recipe.architecture, len(classes), seed, **recipe.options)
    card = Card(
        name=recipe.checkpoint,
        task=recipe.task,
        task_options=dict(recipe.task_options),
        architecture=recipe.architecture,
        options=dict(recipe.options),
        class_names=classes,
        seed=recipe.seed,
        steps=recipe.steps,
        accuracy=accuracy,
        videos=10,
        seconds=0.0,
    )
    save_checkpoint(model, card, folder)


def test_what_planted_v1_stands_for_has_not_changed():
    # Another recipe, level or seed of clips is another set and needs another name.
    assert PlantedSet().digest == PLANTED
    assert PlantedSet(tasks=["gait"], seeds=[3]).digest == PLANTED


def test_every_task_level_family_and_seed_once():
    entries = PlantedSet().entries
    assert len({one.recipe.checkpoint for one in entries}) == len(entries) == 6 * 3 * 5 * 5
    assert len({(one.part, one.model) for one in entries}) == len(entries)
    assert {one.task for one in entries} == set(TASKS)
    for task in TASKS:
        assert len({one.family for one in entries if one.task == task}) == 5


@pytest.mark.parametrize("task", list(TASKS))
def test_every_family_takes_the_videos_of_its_task(task):
    planted = PlantedSet(tasks=[task], seeds=[0])
    for level in planted.levels:
        video = planted.video(task, level, 0)
        for entry in planted.select(levels=[level]).entries:
            recipe = entry.recipe
            model = build_model(recipe.architecture, len(video.class_names), **recipe.options)
            with torch.no_grad():
                logits = model(video.clip(model.preprocessing).tensor)
            assert logits.shape == (1, len(video.class_names)), recipe.name


@pytest.mark.parametrize("task", ["motion", "order", "gait", "mixed"])
def test_no_family_is_blind_to_what_its_task_asks(task):
    # Of a video and the same backwards, a model that sees no order says the same.
    planted = PlantedSet(tasks=[task], levels=["easy"], seeds=[0])
    video = planted.video(task, "easy", 0)
    kinds = [(entry.family, entry.recipe.options) for entry in planted.entries]
    for family, options in [*kinds, ("late-fusion", {})]:
        model = build_model(family, 2, **options).double()
        clip = video.clip(model.preprocessing).tensor.double()
        with torch.no_grad():
            apart = (model(clip) - model(clip.flip(1))).abs().max()
        # Of untrained models some see little of it, and all more than the order of sums.
        assert (apart > 1e-7) == (family != "late-fusion"), family


def test_a_recipe_with_anything_else_has_another_checkpoint():
    recipe = PlantedSet().entries[0].recipe
    others = [
        replace(recipe, steps=recipe.steps + 1),
        replace(recipe, seed=9),
        replace(recipe, task_options={**recipe.task_options, "noise": 5.0}),
        replace(recipe, options={**recipe.options, "grid": 2}),
        replace(recipe, data={"quality": 50}),
    ]
    assert len({one.checkpoint for one in (recipe, *others)}) == 6


def test_first_clips_are_those_that_the_set_was_named_for():
    planted = PlantedSet()
    for task in planted.tasks:
        for level in planted.levels:
            videos = [planted.video(task, level, index) for index in range(3)]
            require_fingerprints(planted.name, f"{task}-{level}", videos)


def changed(video, how):
    frames = video.frames.astype(int)
    if how == "brighter":
        frames = frames + (np.arange(frames.size).reshape(frames.shape) % 20 == 0)
    elif how == "noisier":
        # About one grey level more of noise than the level's 4.
        frames = frames + np.round(3 * np.random.default_rng(0).standard_normal(frames.shape))
    elif how == "backwards":
        frames = frames[::-1]
    elif how == "later":
        return replace(video, deciding_frames=np.roll(video.deciding_frames, 1))
    elif how == "another class":
        return replace(video, label=video.label + 1)
    return replace(video, frames=frames.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("how", ["brighter", "noisier", "backwards", "later", "another class"])
def test_a_changed_generator_is_noticed(how):
    video = changed(PlantedSet().video("keyframe", "easy", 0), how)
    with pytest.raises(DataError, match="the generator draws other clips"):
        require_fingerprints("planted-v1", "keyframe-easy", [video])


def test_a_pixel_rounded_otherwise_is_not_another_generator():
    video = PlantedSet().video("keyframe", "easy", 0)
    frames = video.frames.copy()
    frames[:, 5, 5] += np.uint8(1)
    assert fingerprint(replace(video, frames=frames)) != fingerprint(video)
    require_fingerprints("planted-v1", "keyframe-easy", [replace(video, frames=frames)])


def test_parts_have_the_models_that_know_their_task(tmp_path):
    planted = PlantedSet(folder=tmp_path, tasks=["keyframe", "gait"], levels=["easy"], seeds=[0])
    chosen = planted.select(tasks=["keyframe"])
    first, second, third = chosen.entries[:3]
    put(first, tmp_path, 0.97)
    put(second, tmp_path, 0.89)
    put(third, tmp_path, 0.9, seed=3)
    assert third not in chosen.missing()
    assert len(chosen.missing()) == 2
    assert chosen.unlearned() == (second,)
    (part,) = replace(planted, trained_only=True).parts(clips=3)
    assert part.name == "keyframe-easy"
    assert list(part.models) == [first.model, third.model]
    built = build_model(third.family, 4, 3, **third.recipe.options)
    with torch.no_grad():
        clip = part.clips[1].clip(built.preprocessing).tensor
        assert torch.equal(part.models[third.model](clip), built(clip))
    # More clips begin with the same.
    (longer,) = replace(planted, trained_only=True).parts(clips=4)
    for one, other in zip(part.clips, longer.clips, strict=False):
        assert np.array_equal(one.frames, other.frames)


def test_a_part_is_what_a_suite_takes(tmp_path):
    planted = PlantedSet(folder=tmp_path, trained_only=True).select(["keyframe"], ["easy"])
    for entry in planted.entries[:2]:
        put(entry, tmp_path, 1.0)
    for _, models, clips in planted.parts(clips=3):
        suite = Suite(models, ["random"], clips, ["auprc-frames"], only_correct=False)
        table = suite.run(show_progress=False).table
    assert len(table) == 6
    assert set(table["model"]) == {entry.model for entry in planted.entries[:2]}


def test_a_model_that_is_missing_is_an_error_that_says_how_to_train_it(tmp_path):
    planted = PlantedSet(folder=tmp_path).select(["order"], ["hard"], ["gru"], [1])
    with pytest.raises(ModelError, match=r"order-hard-gru-1-.*train_task_sets\.py"):
        list(planted.parts())


def test_what_is_not_in_a_set_is_refused():
    with pytest.raises(OptionError, match="levels among easy, medium, hard, got harder"):
        PlantedSet(levels=["easy", "harder"])
    with pytest.raises(OptionError, match="seeds among 0, 1, 2, 3, 4, got none"):
        PlantedSet(seeds=[])
    with pytest.raises(OptionError, match="a task set, one of planted-v1"):
        task_set("planted-v2")
    with pytest.raises(OptionError, match="options of planted-v1, .*got 'footage'"):
        task_set("planted-v1", footage=".")
    with pytest.raises(OptionError, match="clips"):
        next(PlantedSet().parts(clips=0))


def short(entry, steps):
    recipe = replace(entry.recipe, steps=steps, videos=32)
    return TaskSetEntry(entry.task, entry.level, entry.family, entry.seed, recipe)


def test_training_writes_what_the_set_loads_and_the_same_again(command, tmp_path):
    planted = PlantedSet(folder=tmp_path / "one")
    entry = short(planted.select(["keyframe"], ["easy"], ["late-fusion"], [1]).entries[0], 3)
    (card,) = command.work(planted, [entry], fresh=8)
    again = replace(planted, folder=tmp_path / "two")
    command.work(again, [entry], fresh=8)
    # What trained it is what the recipe says, and the digest stands in the name.
    assert card.name == entry.recipe.checkpoint
    assert (card.seed, card.steps, card.training["videos"]) == (1, 3, 32)
    assert card.training["recipe"] == entry.recipe.digest
    one, two = (entry.recipe.load(folder.place).state_dict() for folder in (planted, again))
    untrained = build_model("late-fusion", 4, 1, **entry.recipe.options).state_dict()
    for name, weights in one.items():
        assert torch.equal(weights, two[name])
        assert name.endswith("num_batches_tracked") or not torch.equal(weights, untrained[name])


def test_the_report_says_what_is_there(command, tmp_path):
    planted = PlantedSet(folder=tmp_path).select(["gait"], ["easy"], ["gru", "tam2d"], [0, 1])
    put(planted.entries[0], tmp_path, 0.7)
    text = command.report(planted)
    assert "| gait | easy | tam2d | 350 | 0 | 0: 70.0% |" in text
    assert "| gait | easy | gru | 1200 | nan | not trained |" in text
    assert "1 of 4 are trained; 1 of them are below 90%: gait-easy-tam2d-0." in text


def test_families_of_a_task_are_those_that_can_tell_it():
    assert families_of("keyframe")[0] == "late-fusion"
    assert "late-fusion" not in families_of("order")
