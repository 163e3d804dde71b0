"""Does temporal saliency rescaling find what was planted better than the methods it rescales?

    OMP_NUM_THREADS=1 python benchmarks/tsr.py

Ismail et al. (2020) found that rescaling in time (TSR) improves saliency on synthetic time series.
Here networks are trained from several seeds on planted videos, where the deciding frames and pixels
are known, and Captum's methods are asked alone and with TSR, on fresh clips that the network gets
right. Models that are trained already are kept, and what was measured of them, so a run that is
stopped goes on; with --report the page is written from what is there. Writes results/tsr.md,
tsr.png and tsr_parts.png.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from temporal_range import folder_of, train_all
from tqdm import tqdm
from train_zoo import Recipe
from tsr_methods import LONGER, METHODS, PARTS, RECIPES, RESNET, outcome, path_of
from tsr_pictures import differences, parts_picture
from tsr_report import report
from tsr_table import Table

from temporal_attr.zoo import pretrained_card

HERE = Path(__file__).parent
CLIPS = 100
"""At least so many a model, from all of its seeds together."""

ORDER = ("chance", "Saliency", "FeatureAblation", "GradientShap", *PARTS, "IntegratedGradients")
"""What is measured first; then the others."""

LEARNED, FEWEST = 0.9, 3
"""Accuracy that a model needs, and seeds that have to reach it."""

Job = tuple[Recipe, int, str, int]


def learned(entry: Recipe, seeds: int) -> list[int]:
    """Seeds that learned their task."""
    cards = {seed: pretrained_card(entry.name, folder_of(seed)) for seed in range(seeds)}
    return [seed for seed, card in cards.items() if card.accuracy >= LEARNED]


def jobs(seeds: int) -> list[Job]:
    """What is measured, the first methods for all models first."""
    found: list[Job] = []
    for called in dict.fromkeys((*ORDER, *METHODS)):
        for entry in RECIPES:
            own = learned(entry, seeds)
            if len(own) < FEWEST or (called in PARTS and entry not in (RESNET, LONGER)):
                continue
            found += [(entry, seed, called, -(-CLIPS // len(own))) for seed in own]
    return found


def left_out(seeds: int) -> list[str]:
    """Models that did not learn, with their accuracies."""
    lines = []
    for entry in RECIPES:
        own = learned(entry, seeds)
        for seed in range(seeds):
            if seed not in own or len(own) < FEWEST:
                accuracy = pretrained_card(entry.name, folder_of(seed)).accuracy
                lines.append(f"{entry.name} seed {seed} ({accuracy:.1%})")
    return lines


def main() -> None:
    """Train and measure what is not there yet, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help=f"at least {FEWEST}")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="of what has been measured so far")
    options = parser.parse_args()
    if options.seeds < FEWEST:
        parser.error(f"--seeds must be at least {FEWEST}")
    if not options.report:
        train_all(RECIPES, options.seeds, options.processes)
    wanted = jobs(options.seeds)
    missing = [job for job in wanted if not path_of(*job).is_file()]
    if not options.report:
        with ProcessPoolExecutor(options.processes) as pool:
            running = [pool.submit(outcome, *job) for job in missing]
            for done in tqdm(as_completed(running), "measured", total=len(running)):
                found = done.result()
                label = (
                    f"{found.name} seed {found.seed}, {found.method}: {found.seconds:.2f} s a clip"
                )
                tqdm.write(label)
        missing = []
    table = Table([outcome(*job) for job in wanted if job not in missing])
    page = report(table, left_out(options.seeds))
    results = HERE / "results"
    (results / "tsr.md").write_text(page, encoding="utf-8")
    differences(table).savefig(results / "tsr.png", dpi=110)
    shown = [(entry, learned(entry, options.seeds)) for entry in (RESNET, LONGER)]
    parts_picture([(entry, own[0]) for entry, own in shown if own]).savefig(
        results / "tsr_parts.png", dpi=110
    )
    print(page)


if __name__ == "__main__":
    main()
