"""LRP of an image transformer per frame, beside the libraries that do it: time, sums, truth.

    pip install lxt autolrp zennit "transformers<5"
    python benchmarks/transformer_peers.py

First a ViT-tiny with random weights, biases, gains and shifts: time in turns beside one plain
gradient, and what arrives at the pixels. Then small transformers of the same make, trained on
planted videos whose frames all show what decides: does relevance lie there, and does the model
rely on it? Peers that are not installed are left out, by name. Writes
results/transformer_peers.md.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from tqdm import tqdm
from transformer_peer_methods import (
    Explain,
    gradient,
    gradient_input,
    ours,
    ours_with_sinks,
    peers,
    presets,
)
from transformer_peer_scores import (
    FRAMES,
    questions,
    random_numbers,
    relative,
    scored,
    trained_model,
)
from transformer_rows import cell, mean_of

from temporal_attr import ModelError, wrap
from temporal_attr.models import LateFusion
from temporal_attr.synthetic import Appearance

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("torch", "timm", "transformers", "lxt", "autolrp", "zennit")


@torch.no_grad()
def enliven(vit: VisionTransformer) -> VisionTransformer:
    """Give every weight, bias, gain, shift, the class token and places random values."""
    for part in vit.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.normal_(part.weight, std=part.weight[0].numel() ** -0.5)
            assert part.bias is not None
            nn.init.normal_(part.bias, std=0.3)
        elif isinstance(part, nn.LayerNorm):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.3)
    assert vit.cls_token is not None
    assert vit.pos_embed is not None
    nn.init.normal_(vit.cls_token, std=0.5)
    nn.init.normal_(vit.pos_embed, std=0.5)
    return vit.eval().requires_grad_(False)


def random_model() -> tuple[LateFusion, Tensor, int]:
    """A ViT-tiny per frame, a clip, and a class of which all frames have a positive logit."""
    torch.manual_seed(0)
    vit = timm.create_model("vit_tiny_patch16_224")
    assert isinstance(vit, VisionTransformer)
    model = wrap(enliven(vit))
    assert isinstance(model, LateFusion)
    clip = Appearance(size=224, frames=FRAMES).sample(0).clip(model.preprocessing).tensor
    with torch.no_grad():
        target = int(model.encoder(clip[0]).amin(0).argmax())
    return model, clip, target


def sums(explain: Explain, model: LateFusion, clip: Tensor, target: int) -> tuple[float, ...]:
    """What is missing of the logit, what the pixels get, and the sum of magnitudes, over it."""
    try:
        found = explain(model, clip, target)
    except ModelError:
        return math.nan, math.nan, math.nan
    with torch.no_grad():
        logit = float(model.encoder(clip[0]).double().mean(0)[target])
    return relative(found, logit)


def seconds(explain: Explain, model: LateFusion, clip: Tensor, target: int) -> float:
    """Of one attribution."""
    begin = time.perf_counter()
    try:
        explain(model, clip, target)
    except ModelError:
        return math.nan
    return time.perf_counter() - begin


def random_table(rounds: int) -> Iterator[str]:
    """The ViT-tiny with random weights."""
    model, clip, target = random_model()
    theirs = peers()[0]
    timed = {"plain gradient": gradient, **{n: ours(c) for n, c in presets().items()}, **theirs}
    summed = {
        "gradient x input": gradient_input,
        **{n: ours_with_sinks(c) for n, c in presets().items()},
        **theirs,
    }
    times: dict[str, list[float]] = {name: [] for name in timed}
    for _ in tqdm(range(rounds), "rounds"):
        for name, explain in timed.items():
            times[name].append(seconds(explain, model, clip, target))
    floor = times["plain gradient"]
    yield (
        "| method | seconds | over one plain gradient | missing, float32 | missing, float64 "
        "| pixels over logit | sizes over logit |"
    )
    yield "|---" * 7 + "|"
    single = {name: sums(explain, model, clip, target) for name, explain in summed.items()}
    model, clip = model.double(), clip.double()
    double = {name: sums(explain, model, clip, target) for name, explain in summed.items()}
    for name in dict.fromkeys([*timed, *summed]):
        cells = ["", ""]
        if name in timed and not math.isnan(times[name][0]):
            ratios = [one / other for one, other in zip(times[name], floor, strict=True)]
            cells = [f"{statistics.median(times[name]):.2f}", f"{statistics.median(ratios):.1f}"]
        if name in summed:
            cells += [short(single[name][0]), *map(short, double[name])]
        else:
            cells += [""] * 4
        yield f"| {name} | " + " | ".join(cells) + " |"


def short(number: float) -> str:
    """Two digits; a refusal is one."""
    return "refused: not finite" if math.isnan(number) else f"{number:.2g}"


def trained_table(seeds: int, count: int) -> Iterator[str]:
    """Transformers that were trained."""
    methods: dict[str, Explain] = {
        "random numbers": random_numbers,
        "gradient x input": gradient_input,
        **{name: ours_with_sinks(composite) for name, composite in presets().items()},
        **peers()[0],
    }
    groups: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    reached = []
    for seed in range(seeds):
        model, right = trained_model(seed)
        reached.append(f"{right:.1%}")
        asked = list(questions(model, seed, count))
        for name, explain in tqdm(methods.items(), "methods"):
            numbers = [scored(explain, model, question) for question in asked]
            groups[name].append(np.array(numbers))
    yield from TRAINED.format(
        seeds=seeds, clips=count, frames=FRAMES, reached=", ".join(reached)
    ).splitlines()
    yield ""
    yield "| method | ABPC, logits | AP of pixels | sizes over logit | missing |"
    yield "|---|---|---|---|---|"
    for name, arrays in groups.items():
        sizes, missing = np.concatenate(arrays)[:, 2:].T
        cells = [cell(mean_of([array[:, at] for array in arrays])) for at in (0, 1)]
        if name != "random numbers":
            cells += [f"{np.median(sizes):.2g}", f"{np.median(missing):.2g}"]
        else:
            cells += ["", ""]
        yield f"| {name} | " + " | ".join(cells) + " |"


def installed() -> str:
    """What was compared, with versions."""
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="models that are trained")
    parser.add_argument("--clips", type=int, default=12, help="of each of them")
    parser.add_argument("--out", type=Path, default=RESULTS / "transformer_peers.md")
    options = parser.parse_args()
    missing = peers()[1]
    head = HEAD.format(
        installed=installed(),
        python=platform.python_version(),
        threads=torch.get_num_threads(),
        machine=platform.machine(),
        rounds=options.rounds,
        frames=FRAMES,
        left_out="".join(f" Left out: {name} ({why})." for name, why in missing.items()),
    )
    lines = [*head.splitlines(), "", *random_table(options.rounds)]
    lines += trained_table(options.seeds, options.clips)
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


HEAD = """\
# Relevance of an image transformer per frame, beside other libraries

`python benchmarks/transformer_peers.py`: {installed}; Python {python}, {threads} thread(s),
{machine}.{left_out}

A peer is used as `benchmarks/transformer_peer_methods.py` shows. Image transformers of timm are
named by none of them: lxt's patches and functions were put in the place of timm's own by hand, and
zennit knows convolutions, linear layers and GELU as modules, so that plain gradients pass through
its attention and layer norms. autolrp takes the model as it is, as this library does.

## Random weights: time, and what arrives

A ViT-tiny (timm's vit_tiny_patch16_224, one seed; weights, biases, gains, shifts, class token and
places random) on each of {frames} frames of 224 x 224, for the mean of their logits. Time of one
attribution: medians of {rounds} rounds in which all took turns, on a machine that had other work,
so that the ratio says more than the seconds. *Missing*: what neither the pixels nor a named sink
got, over the logit; peers name no sinks, so that what went to biases, the class token and places,
and what a rule does not conserve, is missing there. *Sizes over logit*: the sum of magnitudes. Both
last columns are in double precision. Where relevance is not finite, this library raises an error.
"""

TRAINED = """
## Trained on planted videos

Transformers of 4 blocks and 48 features on each frame of 48 x 48, patches of 8, for
`synthetic.Appearance`: every frame shows what decides. {seeds} seeds, {clips} clips of {frames}
frames each that the model gets right. *ABPC*: patches are put into the background (the median over
time of the video) by their relevance, the largest first, and taken out of the clip likewise; the
area between the two curves of the logit. *AP*: with which average precision pixels by their signed
relevance are those of the cue. Means with 95 % intervals; models are drawn again, and clips within
them. The other columns are medians, in single precision.

Accuracy on 300 fresh videos, by seed: {reached}.
"""


if __name__ == "__main__":
    main()
