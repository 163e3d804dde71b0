"""Timesteps of a layer whose tail is not linear: against passes that are written out."""

import pytest
import torch

from temporal_attr.models import LayerTimesteps
from tests.helpers import tails
from tests.helpers.checks import assert_near
from tests.references.layer_timesteps import held_steps


def timesteps(case, **options):
    return LayerTimesteps(case.network, "read", time_axis=1, exactness="frozen", **options)


@pytest.mark.parametrize("name", tails.FROZEN)
def test_contributions_are_those_of_the_passes_written_out(name):
    case = tails.case(name)
    expected, rest = held_steps(case.piece, case.tokens, 1)
    found = timesteps(case).frame_logits(case.clip)
    assert expected.std() > 1e-2  # what no timestep reads would agree with anything
    assert (expected - rest[:, None]).std() > 1e-2
    assert_near(found.logits, expected, 1e-10)
    assert_near(found.rest, rest, 1e-10)
    assert_near(found.clip_logits(), case.network(case.clip.transpose(1, 2)).detach(), 1e-10)
    torch.testing.assert_close(found.weights, torch.full((5,), 0.2, dtype=torch.float64))
