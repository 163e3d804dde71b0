"""The networks of the table of families, each beside its wrapper: see `families.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

import temporal_attr as ta
from tests.helpers import own_networks
from tests.helpers.families import ATTENDING, SMALL, family, vivid
from tests.helpers.transformer_families import TRANSFORMERS
from tests.models import test_pytorchvideo, test_recognizers, test_slowfast

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


def subjects() -> Iterator[tuple[str, Callable[[], Subject]]]:
    """All families by name, by where they come from."""
    # Networks of full width take minutes each; the tests have them.
    for entry in (*SMALL, *ATTENDING, *TRANSFORMERS):
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
    if clip.shape[1] < 3:
        # Those are networks of images, which take any number; of 2 frames there is no other order.
        clip = torch.cat([clip, clip.flip(-1)], 1)
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
