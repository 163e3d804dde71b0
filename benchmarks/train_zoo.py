"""Train the reference architectures on planted videos, from nothing, on the CPU.

    OMP_NUM_THREADS=1 python benchmarks/train_zoo.py
    OMP_NUM_THREADS=1 python benchmarks/train_zoo.py --only motion-tam2d

Each checkpoint is written as soon as it is done, and a run that is stopped goes on where it was.
The same seed on the same machine gives the same bytes. Those that the package ships go to its own
folder, the others to `--folder`; the table of all goes to benchmarks/results/training.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from temporal_attr.models import VideoModel
from temporal_attr.synthetic import TASKS, Task
from temporal_attr.zoo import (
    Card,
    build_model,
    load_pretrained,
    pretrained_card,
    pretrained_names,
    save_checkpoint,
)

HERE = Path(__file__).parent
PACKAGE = HERE.parent / "temporal_attr" / "zoo" / "checkpoints"
SIZE = 48
BATCH = 16
TRAINING = 3000
FRESH = 1000
"""Videos a task: to train on, and to measure accuracy on."""
TEST_SEED = 10**6


@dataclass(frozen=True)
class Recipe:
    """One checkpoint: what is trained on what, and for how long.

    The last `each_step` of the timesteps (a share) are also taught one by one: a model with a
    memory learns sooner so.
    """

    task: str
    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    task_options: dict[str, Any] = field(default_factory=dict)
    suffix: str = ""
    steps: int = 600
    rate: float = 3e-3
    size: int = SIZE
    each_step: float = 0.0
    expected: str = ""
    shipped: bool = False

    @property
    def name(self) -> str:
        """Task, variant, architecture."""
        return "-".join(filter(None, (self.task, self.suffix, self.architecture)))

    def make_task(self) -> Task:
        """The task with this recipe's settings."""
        return TASKS[self.task](size=self.size, **self.task_options)


BLIND = "blind to order"
LOOKS = {"appearance_reliability": 1.0, "motion_reliability": 0.25}
FOLLOWS = {"appearance_reliability": 0.25, "motion_reliability": 1.0}

RECIPES = [
    Recipe("motion", "lstm", steps=1200, each_step=0.5),
    Recipe("mixed", "late-fusion", task_options=LOOKS, suffix="appearance", shipped=True),
    Recipe("mixed", "inflated-resnet", task_options=FOLLOWS, suffix="motion", shipped=True),
    Recipe("motion", "tubelet-transformer", steps=500, rate=1e-3),
    Recipe("appearance", "late-fusion", steps=250),
    Recipe("appearance", "inflated-resnet", steps=250),
    Recipe("appearance", "tam2d", steps=250),
    Recipe("appearance", "lstm", steps=250),
    Recipe("appearance", "tubelet-transformer", steps=500, rate=1e-3),
    Recipe("motion", "inflated-resnet", steps=300),
    Recipe("motion", "tam2d", steps=300),
    Recipe(
        "motion",
        "late-fusion",
        steps=300,
        expected=f"{BLIND}: at most 50 %, as a video backwards shows the same frames",
    ),
    Recipe(
        "motion",
        "late-fusion",
        {"pooling": "netvlad", "grid": 3},
        suffix="order-blind",
        steps=900,
        expected=f"{BLIND}, but sees places, and pools nonlinearly: at most 50 %",
    ),
    Recipe(
        "motion",
        "late-fusion",
        {"pooling": "last"},
        suffix="one-frame",
        steps=300,
        expected="sees one frame: at most 12.5 %",
    ),
    Recipe("order", "inflated-resnet", steps=300),
    Recipe("order", "tam2d", {"temporal_kernel": 7}, steps=500),
    Recipe("order", "lstm", {"ensemble": "all"}, steps=400),
    Recipe("order", "tubelet-transformer", steps=1300, rate=1e-3),
    Recipe("order", "late-fusion", steps=300, expected=f"{BLIND}: at most 50 %"),
    Recipe("gait", "inflated-resnet", steps=300),
    Recipe("gait", "tam2d", steps=300),
    Recipe(
        "gait",
        "lstm",
        {"ensemble": "all", "grid": 1},
        steps=700,
        each_step=0.5,
        expected="not learned in this time; a failure of the training, not known to be a limit",
    ),
    Recipe("gait", "tubelet-transformer", steps=600, rate=1e-3),
    Recipe("gait", "late-fusion", steps=300, expected=f"{BLIND}, pools by the mean; bound unknown"),
]


def videos(task: Task, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bytes `(video, time, channel, height, width)` and labels."""
    drawn = [task.sample(index, seed) for index in range(count)]
    frames = torch.from_numpy(np.stack([video.frames for video in drawn]))
    return frames.permute(0, 1, 4, 2, 3), torch.tensor([video.label for video in drawn])


def batches(count: int, size: int, seed: int) -> Iterator[Tensor]:
    """Indices of batches without end, every video once an epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        yield from torch.randperm(count, generator=generator)[: count // size * size].split(size)


def values(model: VideoModel, frames: Tensor) -> Tensor:
    """Model input from bytes."""
    assert model.preprocessing is not None
    prepared: Tensor = model.preprocessing(frames.flatten(0, 1))
    shaped: Tensor = prepared.unflatten(0, frames.shape[:2])
    return shaped


@torch.no_grad()
def accuracy(model: VideoModel, frames: Tensor, labels: Tensor) -> float:
    """Share of videos that the model gets right."""
    chunks = frames.split(32)
    predicted = torch.cat([model(values(model, chunk)).argmax(1) for chunk in chunks])
    return (predicted == labels).float().mean().item()


def loss_of(model: VideoModel, clips: Tensor, labels: Tensor, each_step: float) -> Tensor:
    """Cross-entropy of the clips' logits, and of those of the last share of their timesteps."""
    if each_step == 0:
        return F.cross_entropy(model(clips), labels)
    steps = model.frame_logits(clips)
    later = steps.logits[:, round((1 - each_step) * steps.logits.shape[1]) :]
    alone = F.cross_entropy(later.transpose(1, 2), labels[:, None].expand(later.shape[:2]))
    return F.cross_entropy(steps.clip_logits(), labels) + alone


def train(
    recipe: Recipe, data: tuple[Tensor, Tensor], seed: int, steps: int, batch: int = BATCH
) -> VideoModel:
    """A trained model; the same for the same arguments on the same machine."""
    task = recipe.make_task()
    options = {"size": recipe.size, **recipe.options}
    model = build_model(recipe.architecture, len(task.class_names), seed, **options)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, steps, pct_start=0.2)
    frames, labels = data
    order = batches(len(labels), batch, seed)
    for _ in tqdm(range(steps), recipe.name, mininterval=10):
        chosen = next(order)
        loss = loss_of(model, values(model, frames[chosen]), labels[chosen], recipe.each_step)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval()


def settings_of(recipe: Recipe, options: argparse.Namespace) -> dict[str, Any]:
    """What a card says of how its checkpoint came about."""
    return {
        "name": recipe.name,
        "task": recipe.task,
        "task_options": dict(recipe.task_options),
        "architecture": recipe.architecture,
        "options": {"size": recipe.size, **recipe.options},
        "seed": options.seed,
        "steps": options.steps or recipe.steps,
        "training": {
            "rate": recipe.rate,
            "each_step": recipe.each_step,
            "batch": BATCH,
            "videos": options.videos,
        },
    }


def finished(recipe: Recipe, folder: Path, options: argparse.Namespace) -> bool:
    """Whether this very checkpoint is there already, and whole."""
    if recipe.name not in pretrained_names(folder):
        return False
    card = asdict(pretrained_card(recipe.name, folder))
    wanted = json.loads(json.dumps(settings_of(recipe, options)))
    if any(card[key] != value for key, value in wanted.items()):
        return False
    load_pretrained(recipe.name, folder)
    return True


def work(recipe: Recipe, folder: Path, options: argparse.Namespace) -> Card:
    """Draw the videos, train, measure, and write the checkpoint: what one process does."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    task = recipe.make_task()
    data = videos(task, options.videos, options.seed)
    settings = settings_of(recipe, options)
    begin = time.perf_counter()
    model = train(recipe, data, options.seed, settings["steps"])
    seconds = time.perf_counter() - begin
    fresh = videos(task, options.fresh, TEST_SEED + options.seed)
    card = Card(
        **settings,
        class_names=task.class_names,
        accuracy=accuracy(model, *fresh),
        videos=options.fresh,
        seconds=round(seconds, 1),
        expected=recipe.expected,
    )
    save_checkpoint(model, card, folder)
    return card


def table(cards: list[Card]) -> str:
    """All checkpoints as Markdown."""
    minutes = sum(card.seconds for card in cards) / 60
    lines = [
        "# Trained reference models",
        "",
        "`python benchmarks/train_zoo.py`: trained from nothing on planted videos of 16 frames of "
        f"{SIZE} x {SIZE} pixels, {TRAINING} videos a task, batches of 16, AdamW with a one-cycle "
        "rate. Accuracy on fresh videos, with its 95 % interval (Wilson). Seconds are those of "
        f"training on one core, two models at a time; {minutes:.0f} minutes of core time in all.",
        "",
        "| checkpoint | task | settings | architecture | options | accuracy | 95 % interval "
        "| steps | seconds | remark |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for card in cards:
        low, high = wilson(card.accuracy, card.videos)
        options = {key: value for key, value in card.options.items() if key != "size"}
        lines.append(
            f"| {card.name} | {card.task} | {said(card.task_options)} | {card.architecture} "
            f"| {said(options)} | {card.accuracy:.1%} | {low:.1%} to {high:.1%} | {card.steps} "
            f"| {card.seconds:.0f} | {card.expected} |"
        )
    return "\n".join(lines) + "\n"


def said(options: dict[str, Any]) -> str:
    """Settings in words."""
    return ", ".join(f"{name} {value}" for name, value in options.items())


def wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % interval of a share of `count` independent trials."""
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def main() -> None:
    """Train what is asked for and not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [recipe.name for recipe in RECIPES]
    parser.add_argument("--only", nargs="*", choices=names, help="names of checkpoints")
    parser.add_argument("--folder", type=Path, default=HERE / "checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2, help="models trained at a time")
    parser.add_argument("--steps", type=int, help="instead of each recipe's own")
    parser.add_argument("--videos", type=int, default=TRAINING, help="to train on, for each task")
    parser.add_argument("--fresh", type=int, default=FRESH, help="to measure accuracy on")
    options = parser.parse_args()
    chosen = [recipe for recipe in RECIPES if not options.only or recipe.name in options.only]
    # A trial with other settings leaves the package's checkpoints and the table alone.
    usual = parser.parse_args([])
    settings = ("folder", "seed", "steps", "videos", "fresh")
    official = all(getattr(options, name) == getattr(usual, name) for name in settings)
    with ProcessPoolExecutor(options.processes) as pool:
        running = {}
        for recipe in chosen:
            folder = PACKAGE if recipe.shipped and official else options.folder
            if finished(recipe, folder, options):
                print(f"{recipe.name} is there already")
            else:
                running[pool.submit(work, recipe, folder, options)] = recipe
        for done in tqdm(as_completed(running), "trained", total=len(running)):
            card = done.result()
            tqdm.write(f"{card.name}: {card.accuracy:.1%} of {card.videos}, {card.seconds:.0f} s")
            if official:
                (HERE / "results" / "training.md").write_text(table(collect(options)))


def collect(options: argparse.Namespace) -> list[Card]:
    """The cards of all recipes that are trained, in order."""
    cards = []
    for recipe in RECIPES:
        where = PACKAGE if recipe.shipped else options.folder
        if finished(recipe, where, options):
            cards.append(pretrained_card(recipe.name, where))
    return cards


if __name__ == "__main__":
    main()
