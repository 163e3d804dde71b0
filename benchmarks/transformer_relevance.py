"""Which relevance of a video transformer tells the truth, and how far do its timesteps reach?

    OMP_NUM_THREADS=1 python benchmarks/transformer_training.py --out FOLDER
    OMP_NUM_THREADS=1 python benchmarks/transformer_relevance.py --models FOLDER
    OMP_NUM_THREADS=1 python benchmarks/transformer_relevance.py --models FOLDER --atr
    python benchmarks/transformer_relevance.py --models FOLDER --report

Transformers of two kinds, each trained from several seeds on planted videos, are asked by every
preset of LRP, by the gradient, gradient x input, attention rollout and leaving tubelets out, on
fresh clips that they get right. The attributions are held against the frames and pixels that were
planted, and against what the model does without tubelets. With --atr the relevance matrices of the
same models, and of 3D networks beside them. Each model and method is a line in a file, so a run
that is stopped goes on; --report writes results/transformer_relevance.md and .png from what is
there.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from train_zoo import Recipe
from transformer_methods import methods, presets
from transformer_ranges import measured_ranges, picture
from transformer_report import page
from transformer_rows import Row, add, rows_of
from transformer_scores import measured, questions
from transformer_training import OUT, RECIPES, folder_of, learned

from temporal_attr.zoo import load_pretrained, pretrained_card

RESULTS = Path(__file__).parent / "results"
CLIPS = 40
"""Of each model."""


def models(folder: Path, transformers: bool) -> Iterator[tuple[Recipe, int]]:
    """Trained models that learned their task."""
    for (kind, _), entry in RECIPES.items():
        if "transformer" in kind or not transformers:
            for seed in learned(folder, entry):
                yield entry, seed


def begun(entry: Recipe, seed: int, folder: Path, method: str, clips: int) -> Row:
    """A row without numbers."""
    weights = pretrained_card(entry.name, folder_of(folder, seed)).sha256[:12]
    return Row(entry.architecture, entry.task, seed, weights, method, clips, 0.0, {})


def attributions(options: argparse.Namespace) -> None:
    """Measure what is not there yet."""
    path = options.models / "relevance.jsonl"
    known = {row.key for row in rows_of(path)}
    asked = methods(options.grid)
    if options.methods:
        asked = {name: asked[name] for name in options.methods}
    for entry, seed in models(options.models, transformers=True):
        begins = [begun(entry, seed, options.models, name, options.clips) for name in asked]
        rows = [row for row in begins if row.key not in known]
        if not rows:
            continue
        model = load_pretrained(entry.name, folder_of(options.models, seed))
        clips = list(questions(model, entry.make_task(), seed, options.clips))
        for row in rows:
            begin = time.process_time()
            numbers = measured(model, asked[row.method], clips)
            seconds = round((time.process_time() - begin) / len(clips), 4)
            add(path, replace(row, seconds=seconds, numbers=numbers))
            print(f"{entry.name} seed {seed}, {row.method}: {seconds:.2f} s a clip", flush=True)


def ranges(options: argparse.Namespace) -> None:
    """Measure the matrices that are not there yet."""
    path = options.models / "ranges.jsonl"
    known = {row.key for row in rows_of(path)}
    for entry, seed in models(options.models, transformers=False):
        for name in options.matrices:
            row = begun(entry, seed, options.models, name, options.clips)
            if row.key in known:
                continue
            model = load_pretrained(entry.name, folder_of(options.models, seed))
            clips = list(questions(model, entry.make_task(), seed, options.clips))
            begin = time.process_time()
            numbers = measured_ranges(model, name, clips)
            seconds = round((time.process_time() - begin) / len(clips), 4)
            add(path, replace(row, seconds=seconds, numbers=numbers))
            print(f"{entry.name} seed {seed}, {name}: {seconds:.2f} s a clip", flush=True)


def current(options: argparse.Namespace, path: Path) -> list[Row]:
    """The rows of models as they are now, on as many clips as are asked for."""
    of_models = {
        begun(entry, seed, options.models, "", options.clips).key
        for entry, seed in models(options.models, transformers=False)
    }
    return [row for row in rows_of(path) if replace(row, method="").key in of_models]


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", type=Path, default=OUT, help=f"by default {OUT}")
    parser.add_argument("--clips", type=int, default=CLIPS, help="of each model")
    parser.add_argument("--methods", nargs="*", choices=list(methods(grid=True)))
    parser.add_argument(
        "--grid", action="store_true", help="every preset with every rule for attention and norms"
    )
    parser.add_argument("--atr", action="store_true", help="matrices instead of attributions")
    parser.add_argument(
        "--matrices",
        nargs="*",
        choices=["gradient", "default", *presets()],
        default=["gradient", "default"],
        help="by what they are made: the gradient, or relevance under a preset or the default",
    )
    parser.add_argument("--report", action="store_true", help="of what has been measured so far")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.atr:
        ranges(options)
    elif not options.report:
        attributions(options)
    relevance, matrices = (
        current(options, options.models / f"{name}.jsonl") for name in ("relevance", "ranges")
    )
    shown = "![Mean matrices](transformer_relevance.png)" if matrices else ""
    text = page(options.models, relevance, matrices, shown)
    (RESULTS / "transformer_relevance.md").write_text(text, encoding="utf-8")
    if matrices:
        picture(matrices).savefig(RESULTS / "transformer_relevance.png", dpi=110)
    print(text)


if __name__ == "__main__":
    main()
