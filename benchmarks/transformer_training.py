"""Train the transformers, and 3D networks beside them, that transformer_relevance.py looks at.

    OMP_NUM_THREADS=1 python benchmarks/transformer_training.py --out FOLDER

Small models, each from several seeds, on small planted videos, until enough of each kind are right
about 95 % of fresh videos; further seeds stand in for those that are not, and every try is in the
table. A checkpoint is written as soon as it is done, and a run that is stopped goes on where it
was. Beside the checkpoints stands accuracies.json, with intervals (Wilson).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from train_zoo import (
    BATCH,
    FRESH,
    TEST_SEED,
    Recipe,
    accuracy,
    finished,
    settings_of,
    train,
    videos,
    wilson,
)

from temporal_attr.synthetic import Task
from temporal_attr.zoo import Card, pretrained_card, save_checkpoint

OUT = Path.home() / ".cache" / "temporal_attr" / "transformers"
FRAMES, SIZE, TRAINING = 12, 24, 2000
RATE = 3e-3
LEARNED, TRIES = 0.95, 10
"""Accuracy that a model needs, and seeds that are tried."""

TASKS: dict[str, dict[str, Any]] = {
    "motion": {"classes": 4},
    "order": {"distance": 3, "cue_size": (0.4, 0.6)},
    "keyframe": {"classes": 2, "moment": (2, 3), "cue_size": (0.5, 0.7)},
}
SMALL = {"frames": FRAMES, "features": 32, "tubelet": 2}
KINDS: dict[str, tuple[dict[str, Any], dict[str, int], int]] = {
    "tubelet-transformer": (SMALL, {"motion": 400, "order": 900, "keyframe": 700}, 5),
    "divided-transformer": (SMALL, {"motion": 400, "order": 900, "keyframe": 700}, 5),
    "inflated-resnet": ({"widths": (8, 16)}, {"motion": 200, "order": 250, "keyframe": 200}, 2),
}
"""Options, steps for each task, and how many models are wanted."""


def recipe(kind: str, task: str) -> Recipe:
    """How a kind of model is trained on a task."""
    options, steps, _ = KINDS[kind]
    given = {"frames": FRAMES, **TASKS[task]}
    return Recipe(task, kind, options, given, "", steps[task], RATE, SIZE)


RECIPES = {(kind, task): recipe(kind, task) for task in TASKS for kind in KINDS}


def folder_of(out: Path, seed: int) -> Path:
    """Where the models of a seed are kept."""
    return out / f"seed-{seed}"


def settings(seed: int) -> argparse.Namespace:
    """What train_zoo.py is told of a run."""
    return argparse.Namespace(seed=seed, steps=None, videos=TRAINING, fresh=FRESH)


def tries(out: Path, entry: Recipe) -> list[Card]:
    """The cards of all seeds that were tried, in order."""
    found = []
    for seed in range(TRIES):
        folder = folder_of(out, seed)
        if finished(entry, folder, settings(seed)):
            found.append(pretrained_card(entry.name, folder))
    return found


def learned(out: Path, entry: Recipe) -> list[int]:
    """Seeds that reached the accuracy, as many as are wanted."""
    own = [card.seed for card in tries(out, entry) if card.accuracy >= LEARNED]
    return own[: KINDS[entry.architecture][2]]


@lru_cache(maxsize=2)
def drawn(task: Task, count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Videos, kept for the next kind of model."""
    return videos(task, count, seed)


def one_try(entry: Recipe, seed: int, out: Path) -> Card:
    """Train, measure, and write the checkpoint."""
    task = entry.make_task()
    data = drawn(task, TRAINING, seed)
    # Time of the process, as others may share the machine.
    begin = time.process_time()
    model = train(entry, data, seed, entry.steps, BATCH)
    seconds = time.process_time() - begin
    fresh = drawn(task, FRESH, TEST_SEED + seed)
    card = Card(
        **settings_of(entry, settings(seed)),
        class_names=task.class_names,
        accuracy=accuracy(model, *fresh),
        videos=FRESH,
        seconds=round(seconds, 1),
    )
    save_checkpoint(model, card, folder_of(out, seed))
    return card


def missing(out: Path) -> Iterator[tuple[Recipe, int]]:
    """The next seed of each kind and task that has too few models, until none has."""
    for seed in range(TRIES):
        for (kind, _), entry in RECIPES.items():
            done = finished(entry, folder_of(out, seed), settings(seed))
            if not done and len(learned(out, entry)) < KINDS[kind][2]:
                yield entry, seed


def accuracies(out: Path) -> list[dict[str, Any]]:
    """Every try, with the interval of its accuracy."""
    rows = []
    for entry in RECIPES.values():
        used = learned(out, entry)
        for card in tries(out, entry):
            low, high = wilson(card.accuracy, card.videos)
            rows.append(
                {
                    "name": card.name,
                    "architecture": card.architecture,
                    "task": card.task,
                    "seed": card.seed,
                    "accuracy": card.accuracy,
                    "interval": [round(float(low), 4), round(float(high), 4)],
                    "videos": card.videos,
                    "steps": card.steps,
                    "seconds": card.seconds,
                    "used": card.seed in used,
                }
            )
    return rows


def table(out: Path) -> list[str]:
    """All tries as Markdown, a line for each kind and task."""
    lines = [
        "| model | task | steps | seconds a model | seeds tried | accuracy by seed (95 % interval) "
        "|",
        "|---" * 6 + "|",
    ]
    for entry in RECIPES.values():
        cards = tries(out, entry)
        if not cards:
            continue
        cells = []
        for card in cards:
            low, high = wilson(card.accuracy, card.videos)
            cells.append(f"{card.seed}: {card.accuracy:.1%} ({low:.1%} to {high:.1%})")
        seconds = sum(card.seconds for card in cards) / len(cards)
        lines.append(
            f"| {entry.architecture} | {entry.task} | {entry.steps} | {seconds:.0f} | {len(cards)} "
            f"| {'; '.join(cells)} |"
        )
    return lines


def main() -> None:
    """Train what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT, help=f"by default {OUT}")
    parser.add_argument("--only", nargs="*", choices=list(TASKS), help="tasks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for entry, seed in missing(options.out):
        if options.only and entry.task not in options.only:
            continue
        card = one_try(entry, seed, options.out)
        text = json.dumps(accuracies(options.out), indent=1) + "\n"
        (options.out / "accuracies.json").write_text(text)
        print(f"{card.name} seed {seed}: {card.accuracy:.1%}, {card.seconds:.0f} s", flush=True)
    print("\n".join(table(options.out)))


if __name__ == "__main__":
    main()
