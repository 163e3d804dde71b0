"""What can follow the layer that timesteps are taken from, each with its passes written out.

A tail reads tokens `(batch, time, features)`; the pieces beside it compute the same, and the same
with all that is not linear held, as `tests.references.layer_timesteps` has them.
"""

from dataclasses import dataclass

import torch
from torch import nn

from tests.helpers.tails.activations import ACTIVATIONS
from tests.helpers.tails.attention import ATTENTION
from tests.helpers.tails.ends import ENDS
from tests.helpers.tails.norms import NORMS
from tests.helpers.tails.parts import STEPS, Network, lively
from tests.helpers.tails.products import PRODUCTS

FROZEN = ACTIVATIONS | NORMS | PRODUCTS | ATTENTION | ENDS


@dataclass(frozen=True)
class Case:
    """A network whose layer `read` gives tokens, its tail's pieces, and a clip."""

    network: nn.Module
    piece: object
    clip: torch.Tensor

    @property
    def tokens(self):
        return self.network.read(self.network.conv(self.clip.transpose(1, 2))).detach()


def case(name, dtype=torch.float64, batch=2):
    """A tail by its name, in a network."""
    torch.manual_seed(sum(map(ord, name)))
    tail, piece = FROZEN[name]()
    network = lively(Network(tail).to(dtype))
    return Case(network, piece, torch.randn(batch, STEPS, 3, 5, 5, dtype=dtype))
