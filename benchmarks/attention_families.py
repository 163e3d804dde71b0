"""Which networks' attention can be composed, and which are refused by what error.

    python benchmarks/attention_families.py [--output benchmarks/results/attention_families.md]

Small networks of every family of the test suite that has attention, in double precision with random
weights. Beside what came of each stands what of the mass of rollout lies on the clip, how the
attention over time is resolved, and whether tokens have tubes of pixels of their own.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import temporal_attr as ta
from tests.helpers import own_networks
from tests.helpers.families import ATTENDING, SMALL, Family, vivid
from tests.helpers.transformer_families import TRANSFORMERS

WITHOUT = ("gru_mean", "late_fusion_module", "zoo_tubelets")
"""Of the families that are no transformers of libraries, those that are of interest here."""


def cells(wrapper: ta.VideoModel, clip: torch.Tensor) -> list[str]:
    """What came of a model: a row of the table without its name."""
    try:
        rollout = ta.AttentionRollout(wrapper).explain(clip, target=1)
        gradient = ta.GradientAttention(wrapper).explain(clip, target=1)
    except ta.ModelError as error:
        return [f"refused: {error.expected}", "", "", "", ""]
    single = ta.GradientAttention(wrapper).attribute(clip[-1:], target=1)
    apart = (single - gradient.attribution[-1:]).abs().max() / single.abs().max()
    weights = rollout.temporal_attention
    times = "none" if weights is None else f"{weights.shape[1]} of {weights.shape[2]} times"
    left = f"{len(rollout.left_out)}" if rollout.left_out else "0"
    tubes = "overlapping, or cut" if rollout.token_scores is None else "their own"
    share = f"{rollout.on_clip.min():.2f} to {rollout.on_clip.max():.2f}"
    return ["composed" if apart < 1e-9 else f"WRONG: {apart:.1e}", share, times, left, tubes]


def models() -> list[tuple[str, ta.VideoModel, torch.Tensor]]:
    """All of them, with a clip of two examples each."""
    known = [entry for entry in SMALL if entry.name in WITHOUT]
    found = [of_family(entry) for entry in (*TRANSFORMERS, *ATTENDING, *known)]
    network = vivid(own_networks.CNNTransformer(), torch.randn(4, 6, 3, 16, 16))
    clip = torch.randn(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(7))
    wrapper = ta.wrap(network, clip=clip[:1])
    return [*found, ("own: CNN and transformer", wrapper.double(), clip.double())]


def of_family(entry: Family) -> tuple[str, ta.VideoModel, torch.Tensor]:
    """A family's wrapper and clip."""
    wrapper, _ = entry.build()
    return entry.name, wrapper.double(), entry.clip(torch.float64)


def table() -> str:
    """The page."""
    lines = [
        "# Which attention can be composed",
        "",
        f"`python benchmarks/attention_families.py`, torch {torch.__version__}. Small networks in "
        "double precision with random weights. Mass on the clip is that of `AttentionRollout`: the "
        "rest lies on class tokens, learned tokens and the borders of padded windows.",
        "",
        "| family | came of it | mass on the clip | layers in the attention over time | left out "
        "| tubes of tokens |",
        "|---|---|---|---|---|---|",
    ]
    for name, wrapper, clip in models():
        lines.append("| " + " | ".join([name, *cells(wrapper, clip)]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--output", default="benchmarks/results/attention_families.md")
    path = Path(parser.parse_args().output)
    path.write_text(table(), encoding="utf-8")
    sys.stdout.write(path.read_text(encoding="utf-8"))
