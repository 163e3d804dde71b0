"""Every family of networks and every method: does `wrap` know it, and is what comes right?

    python benchmarks/families.py [--only TEXT] [--output benchmarks/results/families.md]

Networks are small, in double precision, with random biases and calibrated batch norm. A family is
right if the wrapper's logits are the network's (what the network makes probabilities of), the
weighted sum of timesteps is those, and each method gives a batch what it gives its clips one by
one, and the same twice. What a method refuses by a named error is said so; any other error is raw.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import temporal_attr as ta
from tests.helpers import own_networks
from tests.helpers.families import SMALL, family, vivid
from tests.helpers.methods import METHODS
from tests.helpers.transformer_families import TRANSFORMERS
from tests.models import test_pytorchvideo, test_recognizers, test_slowfast

RIGHT = 1e-9
"""Over the largest entry, in double precision: sums of thousands of terms that cancel."""

Subject = tuple[ta.VideoModel, Callable[[Tensor], Any], Tensor]
"""A wrapper, what the bare network gives for a clip, and a clip of two examples."""

OWN = {
    "two streams": (own_networks.TwoStream, True),
    "CNN and transformer": (own_networks.CNNTransformer, False),
    "returns a dict": (own_networks.ReturnsDict, False),
    "ends in softmax": (own_networks.EndsInSoftmax, True),
    "CNN and LSTM": (own_networks.CNNLSTM, False),
    "ConvLSTM": (own_networks.ConvLSTM, False),
    "norm before the head": (own_networks.NormBeforeTheHead, True),
    "outputs of every frame": (own_networks.PerTimestep, True),
}
"""Networks of no library, and whether time comes after the channels."""


@dataclass(frozen=True)
class Row:
    """What came of a family."""

    wrapper: str
    exactness: str
    forward: str
    timesteps: str
    methods: dict[str, str]
    seconds: float


def subjects() -> Iterator[tuple[str, Callable[[], Subject]]]:
    """All families by name, by where they come from."""
    # Networks of full width take minutes each; the tests have them.
    for entry in (*SMALL, *TRANSFORMERS):
        yield entry.name, partial(_of_family, entry.name)
    for name in test_pytorchvideo.ALL:
        yield f"pytorchvideo: {name}", partial(_of_pytorchvideo, name)
    for name in test_slowfast.BUILDS:
        yield f"two pathways: {name}", partial(_of_slowfast, name)
    for case in test_recognizers.CASES:
        yield f"repositories: {case.name}", partial(_of_repository, case)
    for name in OWN:
        yield f"own: {name}", partial(_of_own, name)


def _of_family(name: str) -> Subject:
    entry = family(name)
    wrapper, bare = entry.build()
    clip = entry.clip(torch.float64)
    return wrapper.double(), bare, torch.cat([clip, clip.flip(1)])[:2]


def _of_pytorchvideo(name: str) -> Subject:
    network, clip = test_pytorchvideo.built(name)
    return ta.wrap(network), lambda clip: network(clip.transpose(1, 2)), clip


def _of_slowfast(name: str) -> Subject:
    network, clip, _ = test_slowfast.built(name)
    wrapper = ta.wrap(network)

    def bare(clip: Tensor) -> Any:  # noqa: ANN401 - whatever the network returns
        slow = clip[:, test_slowfast.slow_places(clip.shape[1], wrapper.merged_steps)]
        return network(test_slowfast.given(slow, clip))

    return wrapper, bare, clip


def _of_repository(case: Any) -> Subject:  # noqa: ANN401 - a case of a test
    network = case.network().double()
    return ta.wrap(network), partial(case.call, network), case.clip()


def _of_own(name: str) -> Subject:
    kind, volume = OWN[name]
    torch.manual_seed(0)
    clip = torch.randn(2, 6, 3, 16, 16, dtype=torch.float64)
    network = vivid(kind(), (clip.transpose(1, 2) if volume else clip).float()).double()

    def bare(clip: Tensor) -> Any:  # noqa: ANN401 - whatever the network returns
        output = network(clip.transpose(1, 2) if volume else clip)
        output = output["logits"] if isinstance(output, dict) else output
        return output.mean(1) if output.ndim == 3 else output

    return ta.wrap(network, clip=clip), bare, clip


def measured(subject: Callable[[], Subject]) -> Row:
    """What comes of a family."""
    started = time.perf_counter()
    torch.manual_seed(0)
    wrapper, bare, clip = subject()
    with torch.no_grad():
        logits, expected = wrapper(clip), bare(clip.clone())
    forward = _agreement(logits, expected)
    try:
        with torch.no_grad():
            summed = wrapper.frame_logits(clip).clip_logits()
        timesteps = f"{_apart(summed, logits):.0e}" if wrapper.exactness != "none" else "no sum"
    except ta.FrameLogitsError:
        timesteps = "named: open"
    methods = {method.name: _of_method(method, wrapper, clip) for method in METHODS}
    kind, seconds = type(wrapper).__name__, time.perf_counter() - started
    return Row(kind, wrapper.exactness, forward, timesteps, methods, seconds)


def _agreement(logits: Tensor, output: Tensor) -> str:
    """How far a wrapper's logits are from a network's output, or its probabilities."""
    ways = {"": logits, " after softmax": logits.softmax(-1), " after sigmoid": logits.sigmoid()}
    found = {name: _apart(way, output) for name, way in ways.items()}
    best = min(found, key=lambda name: found[name])
    return f"{found[best]:.0e}{best}"


def _of_method(method: Any, wrapper: ta.VideoModel, clip: Tensor) -> str:  # noqa: ANN401
    """What a method makes of a model: right, wrong by how much, or what it says."""
    if method.framewise_only and not isinstance(wrapper, ta.FramewiseModel):
        return "-"
    target = [1, 0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together = method.build(wrapper).attribute(clip, target=target)
            again = method.build(wrapper).attribute(clip, target=target)
            alone = [
                method.build(wrapper).attribute(clip[place : place + 1], target=target[place])
                for place in range(2)
            ]
    except ta.TemporalAttrError as error:
        return f"named: {type(error).__name__}"
    except Exception as error:  # noqa: BLE001 - what is raw is what this looks for
        return f"RAW: {type(error).__name__}"
    if not together.nan_to_num().any():
        return "all zero"
    apart = max(_apart(torch.cat(alone), together), _apart(again, together))
    return "right" if apart <= RIGHT else f"WRONG: {apart:.0e}"


def _apart(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    if not torch.equal(found.isnan(), expected.isnan()):
        return float("inf")
    size = expected.nan_to_num().abs().max().clamp(min=1e-300)
    return float((found - expected).nan_to_num().abs().max() / size)


def table(rows: dict[str, Row]) -> str:
    """The results as a page."""
    names = [method.name for method in METHODS]
    right = sum(cell == "right" for row in rows.values() for cell in row.methods.values())
    cells = [cell for row in rows.values() for cell in row.methods.values() if cell != "-"]
    named = sum(cell.startswith("named") for cell in cells)
    zero = cells.count("all zero")
    lines = [
        "# Families and methods",
        "",
        f"`python benchmarks/families.py`, torch {torch.__version__}. {len(rows)} families; of "
        f"{len(cells)} pairs of a family and a method {right} right (a batch is its clips one by "
        f"one, and the same twice, to {RIGHT:.0e} of the largest entry), {named} refused by a "
        f"named error, {zero} all zero (a model that reads the last frame only), "
        f"{len(cells) - right - named - zero} raw or wrong.",
        "",
        "Forward is the largest difference of the wrapper's logits from the network's own output, "
        "timesteps that of their weighted sum from the logits, both over the largest entry, in "
        "double precision (transformers' eager attention has a softmax in float32). Most networks "
        "are small ones of the build that is meant, with random weights.",
        "",
        f"| family | wrapper | exactness | forward | timesteps | {' | '.join(names)} |",
        f"|{'---|' * (5 + len(names))}",
    ]
    for name, row in rows.items():
        found = " | ".join(row.methods[one] for one in names)
        lines.append(
            f"| {name} | {row.wrapper} | {row.exactness} | {row.forward} | {row.timesteps} "
            f"| {found} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try all families, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="families with this in their name")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    rows: dict[str, Row] = {}
    for name, subject in subjects():
        if options.only in name:
            rows[name] = measured(subject)
            row = rows[name]
            odd = {key: cell for key, cell in row.methods.items() if cell not in ("right", "-")}
            print(f"{name}: {row.wrapper} {row.forward} {row.timesteps} {odd} {row.seconds:.0f} s")
            if options.output:
                options.output.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
