r"""Train the models of a named task set, from nothing, on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/train_task_sets.py --seeds 0 --levels medium
    OMP_NUM_THREADS=1 python benchmarks/train_task_sets.py --set planted-v1 --workers 2
    OMP_NUM_THREADS=1 python benchmarks/train_task_sets.py --set planted-on-footage-v1 \
        --footage ../shared/videos/arm_wrestling.mp4 ../shared/videos/flipping_a_pancake.mkv
    python benchmarks/train_task_sets.py --set planted-v1 --report

Each checkpoint is written as soon as it is done, under a name that ends in the hash of its recipe;
what is there already is skipped, so a run that is stopped goes on where it was. --report prints
what is there, and what is missing. --fingerprints writes what the set compares its first clips
with; once a set has its name, that file stays as it is.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from train_zoo import FRESH, TEST_SEED, Recipe, accuracy, train, wilson

from temporal_attr.evaluation.task_sets import FootageSet, PlantedSet, TaskSetEntry, task_set
from temporal_attr.evaluation.task_sets._fingerprint import FILE, fingerprint
from temporal_attr.zoo import Card, save_checkpoint


def videos(
    planted: PlantedSet, entry: TaskSetEntry, count: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Bytes `(video, time, channel, height, width)` and labels."""
    drawn = [planted.video(entry.task, entry.level, index, seed) for index in range(count)]
    frames = torch.from_numpy(np.stack([video.frames for video in drawn]))
    return frames.permute(0, 1, 4, 2, 3), torch.tensor([video.label for video in drawn])


def as_trained(entry: TaskSetEntry) -> Recipe:
    """A recipe as train_zoo.py takes it."""
    recipe = entry.recipe
    task_options, options = dict(recipe.task_options), dict(recipe.options)
    options.pop("size")
    return Recipe(
        recipe.task,
        recipe.architecture,
        options,
        task_options,
        entry.level,
        recipe.steps,
        recipe.rate,
        task_options.pop("size"),
        recipe.each_step,
    )


def trained(
    planted: PlantedSet,
    entry: TaskSetEntry,
    data: tuple[Tensor, Tensor],
    fresh: tuple[Tensor, Tensor],
) -> Card:
    """Train, measure, and write the checkpoint."""
    recipe = entry.recipe
    # Time of the process, as others may share the machine.
    begin = time.process_time()
    model = train(as_trained(entry), data, recipe.seed, recipe.steps, recipe.batch)
    seconds = time.process_time() - begin
    card = Card(
        name=recipe.checkpoint,
        task=recipe.task,
        task_options=dict(recipe.task_options),
        architecture=recipe.architecture,
        options=dict(recipe.options),
        class_names=recipe.make_task().class_names,
        seed=recipe.seed,
        steps=recipe.steps,
        training={
            "set": planted.name,
            "recipe": recipe.digest,
            "rate": recipe.rate,
            "each_step": recipe.each_step,
            "batch": recipe.batch,
            "videos": recipe.videos,
            "data": dict(recipe.data),
        },
        accuracy=accuracy(model, *fresh),
        videos=len(fresh[1]),
        seconds=round(seconds, 1),
    )
    save_checkpoint(model, card, planted.place)
    return card


def work(planted: PlantedSet, entries: Sequence[TaskSetEntry], fresh: int) -> list[Card]:
    """All families on one task, level and seed, whose videos are drawn once."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    first = entries[0]
    data = videos(planted, first, first.recipe.videos, first.seed)
    unseen = videos(planted, first, fresh, TEST_SEED + first.seed)
    cards = []
    for entry in entries:
        cards.append(trained(planted, entry, data, unseen))
        print(said(cards[-1]), flush=True)
    return cards


def said(card: Card) -> str:
    """One line of a checkpoint."""
    low, high = wilson(card.accuracy, card.videos)
    return (
        f"{card.name}: {card.accuracy:.1%} ({low:.1%} to {high:.1%}) after {card.steps} steps, "
        f"{card.seconds:.0f} s"
    )


def report(planted: PlantedSet) -> str:
    """What is there, as Markdown: the accuracy of each model by its seed."""
    lines = ["| task | level | family | steps | seconds | accuracy by seed |", "|---" * 6 + "|"]
    entries = sorted(planted.entries, key=lambda one: (one.part, one.family, one.seed))
    for _, same in groupby(entries, key=lambda one: (one.part, one.family)):
        group = list(same)
        cards = [one.recipe.card(planted.place) for one in group if one not in planted.missing()]
        cells = [f"{card.seed}: {card.accuracy:.1%}" for card in cards] or ["not trained"]
        seconds = np.mean([card.seconds for card in cards]) if cards else float("nan")
        one = group[0]
        lines.append(
            f"| {one.task} | {one.level} | {one.family} | {one.recipe.steps} | {seconds:.0f} "
            f"| {', '.join(cells)} |"
        )
    missing, unlearned = planted.missing(), planted.unlearned()
    lines += [
        "",
        f"{len(entries) - len(missing)} of {len(entries)} are trained; {len(unlearned)} of them "
        f"are below {planted.least_accuracy:.0%}: "
        f"{', '.join(one.recipe.name for one in unlearned) or 'none'}.",
    ]
    return "\n".join(lines) + "\n"


def fingerprints() -> str:
    """What tells the first clips of every part of planted-v1 from others, as JSON."""
    planted = PlantedSet()
    parts = {
        f"{task}-{level}": [fingerprint(planted.video(task, level, index)) for index in range(3)]
        for task in planted.tasks
        for level in planted.levels
    }
    return json.dumps({planted.name: parts}, indent=1) + "\n"


def main() -> None:
    """Train what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--set", choices=[PlantedSet.name, FootageSet.name], default="planted-v1")
    parser.add_argument("--footage", nargs="*", type=Path, help="videos to plant on")
    parser.add_argument("--folder", type=Path, help="of the checkpoints")
    parser.add_argument("--tasks", nargs="*")
    parser.add_argument("--levels", nargs="*")
    parser.add_argument("--families", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--fresh", type=int, default=FRESH, help="videos to measure accuracy on")
    parser.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--fingerprints", action="store_true", help="of the clips of planted-v1")
    options = parser.parse_args()
    if options.fingerprints:
        FILE.write_text(fingerprints(), "utf-8")
        return
    given = {} if options.footage is None else {"footage": tuple(options.footage)}
    planted = task_set(options.set, folder=options.folder, **given)
    assert isinstance(planted, PlantedSet)
    planted = planted.select(options.tasks, options.levels, options.families, options.seeds)
    if not options.report:
        groups = groupby(planted.missing(), key=lambda one: (one.part, one.seed))
        parts = [list(entries) for _, entries in groups]
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            running = [pool.submit(work, planted, part, options.fresh) for part in parts]
            for done in tqdm(as_completed(running), "parts", len(running), mininterval=10):
                done.result()
    print(report(planted))


if __name__ == "__main__":
    main()
