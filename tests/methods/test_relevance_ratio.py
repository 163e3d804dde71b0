"""How far relevance cancels is told, and how much memory a row of it leaves behind."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from temporal_attr import LRP, ContrastiveLRPTemporal, LateFusion, LRPResult, load_result
from temporal_attr.attributions._relevance import LARGEST_RATIO
from temporal_attr.relevance import Composite, Epsilon
from temporal_attr.zoo import build_model

PLAIN = Composite(input=None)


class Difference(nn.Module):
    """The first pixel of a frame less almost as much: two parts that cancel."""

    def __init__(self, left):
        super().__init__()
        self.left = left

    def forward(self, frames):
        first, second = frames[:, 0, 0, :1], frames[:, 1, 0, :1]
        return first - (1 - self.left) * second


@pytest.mark.parametrize(("left", "expected"), [(1.0, 1.0), (2.0**-4, 31.0), (2.0**-10, 2047.0)])
def test_the_ratio_of_two_parts_that_cancel(left, expected, tmp_path):
    model = LateFusion(Difference(left)).eval()
    clip = torch.ones(2, 3, 3, 1, 1, dtype=torch.float64)
    clip[1] *= -2
    result = LRP(model, PLAIN).explain(clip, target=0)
    # Of a logit d the parts 1 and d - 1 get 1 / d and 1 - 1 / d of it, less 1e-9 over d.
    torch.testing.assert_close(
        result.relevance_ratio, torch.full((2,), expected, dtype=torch.float64), rtol=1e-5, atol=0
    )
    assert result.convergence_delta.abs().max() < 1e-9
    matrix = ContrastiveLRPTemporal(model, PLAIN, contrastive=False).explain(clip, target=0)
    torch.testing.assert_close(matrix.relevance_ratio, result.relevance_ratio, rtol=1e-9, atol=0)
    for found in (result, matrix):
        assert ("WARNING" in found.summary()) == (expected > LARGEST_RATIO)
        assert f"add up to {expected:.2g} times the logit" in found.summary()
        assert found.to_dict()["relevance_ratio"] == found.relevance_ratio.tolist()
        folder = tmp_path / type(found).__name__
        found.save(folder)
        assert torch.equal(load_result(folder).relevance_ratio, found.relevance_ratio)


def test_no_logit_has_no_ratio():
    model = LateFusion(Difference(0.5)).eval()
    result = LRP(model, PLAIN).explain(torch.zeros(1, 2, 3, 1, 1), target=0)
    assert isinstance(result, LRPResult)
    assert result.relevance_ratio.isnan().all()
    assert "times the logit" not in result.summary()
    assert (
        "times the logit"
        not in ContrastiveLRPTemporal(model, PLAIN)
        .explain(torch.zeros(1, 2, 3, 1, 1), target=0)
        .summary()
    )


class Block(nn.Module):
    """A sum with no activation after it, as mixers have."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(12, 12), nn.GELU(), nn.Linear(12, 12))

    def forward(self, x):
        return x + self.inner(x)


def mixer(blocks):
    """Residual sums over the mean of a convolution."""
    torch.manual_seed(0)
    start = [nn.Conv2d(3, 12, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten(1)]
    network = nn.Sequential(*start, *(Block() for _ in range(blocks)), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.Linear):
                part.weight.mul_(3)
    return LateFusion(network)


def test_networks_without_an_activation_after_their_sums_are_warned_of():
    clip = torch.rand(1, 3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    clip, model = clip.double(), mixer(6).double()
    signed = Composite(Epsilon(), Epsilon(), input=None)
    found = LRP(model, signed).explain(clip, target=1)
    assert found.relevance_ratio.item() > 1000
    assert found.convergence_delta.abs() < 1e-3
    assert "WARNING: magnitudes of relevance add up to" in found.summary()
    matrix = ContrastiveLRPTemporal(model, signed, contrastive=False).explain(clip, target=1)
    assert "WARNING: magnitudes of relevance add up to" in matrix.summary()
    # By z+ few of its parts cancel.
    found = LRP(model, PLAIN).explain(clip, target=1)
    assert 0.999 < found.relevance_ratio.item() < 2
    assert "WARNING" not in found.summary()
    # A ReLU after every sum takes what cancelled away.
    zoo = build_model("inflated-resnet", classes=4, widths=(4, 8)).double()
    found = LRP(zoo).explain(clip, target=1)
    assert 0.999 < found.relevance_ratio.item() < 10
    contrasted = ContrastiveLRPTemporal(zoo).explain(clip, target=1)
    assert 0 < contrasted.relevance_ratio.item() < 1.001
    assert "WARNING" not in found.summary() + contrasted.summary()


@pytest.mark.parametrize("contrastive", [False, True])
def test_the_ratio_of_a_matrix_is_of_all_its_rows(contrastive):
    model = build_model("tam2d", classes=4, widths=(4, 8)).double()
    clip = torch.rand(2, 5, 3, 16, 16, dtype=torch.float64)
    method = ContrastiveLRPTemporal(model, contrastive=contrastive)
    result = method.explain(clip, target=1, rows=range(5))
    reached = result.row_relevance.abs().sum((1, 2, 3, 4, 5))
    # R - R' should cancel, so its positive part, which is kept, is half of its magnitudes.
    expected = reached / result.step_logits.abs().sum(1)
    torch.testing.assert_close(result.relevance_ratio, expected, rtol=1e-6, atol=0)


MEASURED = """
import torch
from temporal_attr import ContrastiveLRPTemporal
from temporal_attr.zoo import build_model

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

torch.set_num_threads(1)
model = build_model("late-fusion", classes=4, widths=(4, 8))
method = ContrastiveLRPTemporal(model, rows_per_backward=1)
method.attribute(torch.rand(1, 8, 3, 32, 32), target=1)
clip = torch.rand(1, 60, 3, 32, 32)
before = kilobytes("VmRSS")
method.attribute(clip, target=1)
print((kilobytes("VmHWM") - before) * 1024 / (clip.numel() * clip.element_size()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_does_not_grow_with_the_rows():
    command = [sys.executable, "-c", MEASURED]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    # In clips of this size: 14 to 16, for what the backward pass holds. What lived between two
    # rows left one clip more behind with each: 54 to 62 for these sixty.
    assert float(done.stdout) < 30
