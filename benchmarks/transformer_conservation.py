"""Where does the relevance of video transformers go, to the last digit?

    OMP_NUM_THREADS=1 python benchmarks/transformer_conservation.py

Every family of transformers that `wrap` knows, small, with random biases, gains, shifts, positions
and queries, explained by every composite by name, in double and in single precision. Lost is the
logit less pixels and sinks. An epsilon rule can give much relevance of either sign, and rounding is
of what is added up: so lost is given over the logit, and over the largest sum. Writes
results/transformer_conservation.md.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from temporal_attr import LRP, LRPResult, VideoModel
from temporal_attr.relevance import Box, Composite, composites
from tests.helpers.transformer_families import TRANSFORMERS

RESULTS = Path(__file__).parent / "results"
TARGET = 1


def bounded(preset: str) -> Composite:
    """A composite by its name; its rule at the input, if any, with bounds for noise."""
    composite: Composite = getattr(composites, preset)()
    return composite if composite.input is None else replace(composite, input=Box(-9.0, 9.0))


def explained(model: VideoModel, clip: torch.Tensor, preset: str) -> tuple[LRPResult, float, float]:
    """The result, and what was lost over the logit and over the largest sum."""
    found = LRP(model, bounded(preset)).explain(clip, TARGET)
    lost, logit = found.lost.abs().item(), found.logits[0, TARGET].abs().item()
    sizes = [found.attribution.abs().sum(), *(got.abs() for got in found.sinks.values())]
    return found, lost / logit, lost / max(size.item() for size in sizes)


def share(found: LRPResult) -> str:
    """The largest sinks, in parts of the logit."""
    logit = found.logits[0, TARGET].item()
    parts = sorted(
        ((got.item() / logit, name) for name, got in found.sinks.items()),
        key=lambda one: -abs(one[0]),
    )
    shown = ", ".join(f"{part:.2g} {name}" for part, name in parts[:2])
    return shown + (f" and {len(parts) - 2} more" if len(parts) > 2 else "")


def main() -> None:
    """Measure, and write the page."""
    torch.set_num_threads(1)
    lines = [
        "# Conservation of relevance in video transformers",
        "",
        f"`python benchmarks/transformer_conservation.py`: torch {torch.__version__}; one clip of "
        "noise, small models with random biases, gains, shifts, positions and queries. Lost is "
        "|logit - pixels - sinks|, over |logit| and, in brackets, over the largest sum of "
        "magnitudes that was added up. The ratio is that of the magnitudes of pixels to the logit. "
        "Eager attention of transformers computes its softmax in single precision whatever the "
        "model's, which is what its rows lose in double precision. Sinks are parts of the logit, "
        "the largest two.",
        "",
        "| family | composite | lost, float64 | lost, float32 | ratio | sinks |",
        "|---|---|---|---|---|---|",
    ]
    for family in TRANSFORMERS:
        torch.manual_seed(0)
        model, _ = family.build()
        for preset in composites.__all__:
            single = explained(model.float(), family.clip()[:1], preset)
            double = explained(model.double(), family.clip(torch.float64)[:1], preset)
            precise, rough = (f"{one[1]:.0e} ({one[2]:.0e})" for one in (double, single))
            ratio = double[0].relevance_ratio.item()
            lines.append(
                f"| {family.name} | {preset} | {precise} | {rough} | {ratio:.2g} | "
                f"{share(double[0])} |"
            )
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    (RESULTS / "transformer_conservation.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
