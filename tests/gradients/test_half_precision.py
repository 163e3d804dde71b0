"""Half precision is never silent, and comes after everything else."""

import warnings

import pytest
import torch
from torch import nn

from temporal_attr import (
    FrameMaskingTSR,
    HalfPrecisionWarning,
    Normalization,
    ShuffleProbe,
    TemporalGradient,
)
from temporal_attr.measures import frame_scores

CLIP = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
UNIT = Normalization((0.0,) * 3, (1.0,) * 3)


class Room(nn.Module):
    """A network that has room for the graph of so many clips, and of more in half precision."""

    def __init__(self, clips):
        super().__init__()
        self.clips = clips
        torch.manual_seed(0)
        self.along, self.classify = nn.Conv3d(3, 4, 3, padding=1), nn.Linear(4, 5)
        self.eval()

    def forward(self, clip):
        full = clip.requires_grad and not torch.is_autocast_enabled("cpu")
        if full and len(clip) > self.clips:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.classify(torch.tanh(self.along(clip.transpose(1, 2))).mean((2, 3, 4)))


def of_attribute(method):
    return method.attribute(CLIP, 1)


def of_explain(method):
    return method.explain(CLIP, 1, influence=False).attribution


@pytest.mark.parametrize("ask", [of_attribute, of_explain])
def test_a_gradient_that_ends_in_half_precision_warns(ask):
    full = TemporalGradient(Room(clips=2)).attribute(CLIP, 1)
    with pytest.warns(HalfPrecisionWarning, match=r'bfloat16, .* memory="whole"'):
        found = ask(TemporalGradient(Room(clips=0)))
    apart = (found - full).norm() / full.norm()
    # 8 bits of precision: what the warning is for.
    assert 1e-4 < apart < 0.05


def test_half_precision_that_was_asked_for_does_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TemporalGradient(Room(clips=0), memory="half").attribute(CLIP, 1)


@pytest.mark.parametrize(
    "build",
    [
        lambda method: ShuffleProbe(method, 3, reduction=frame_scores, normalization=UNIT),
        FrameMaskingTSR,
    ],
    ids=["shuffle", "tsr"],
)
def test_fewer_clips_come_before_half_precision(build):
    """The warning would be an error here."""
    full = build(TemporalGradient(Room(clips=100))).attribute(CLIP, 1)
    found = build(TemporalGradient(Room(clips=1))).attribute(CLIP, 1)
    # The order of sums over the batch is all that differs.
    torch.testing.assert_close(found, full, rtol=1e-4, atol=1e-6)
