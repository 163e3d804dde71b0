"""Regions that look and move alike."""

import pytest
import torch
import torch.nn.functional as F

from temporal_attr import ClipError, FlowSegments, KernelSHAP, OptionError, Supervoxels
from temporal_attr.clips import IDENTITY

pytestmark = pytest.mark.usefixtures("as_user")


PLACES = [(slice(24, 56), slice(8 + 4 * time, 40 + 4 * time)) for time in range(6)]


def square_that_moves():
    """A square of blots among others like them, which moves 4 pixels a frame to the right."""
    random = torch.Generator().manual_seed(0)

    def blots(height, width):
        drawn = torch.rand(1, 3, height, width, generator=random) * 0.4 + 0.3
        return F.interpolate(drawn, scale_factor=4, mode="bilinear")[0]

    behind, square = blots(20, 24), blots(8, 8)
    frames = [behind.clone() for _ in PLACES]
    for frame, (rows, columns) in zip(frames, PLACES, strict=True):
        frame[:, rows, columns] = square
    return torch.stack(frames)[None]


def told(labels):
    """The share of pixels that their region, by its majority, puts on the right side."""
    inside = torch.zeros_like(labels, dtype=torch.bool)
    for time, (rows, columns) in enumerate(PLACES):
        inside[0, time, rows, columns] = True
    shares = torch.stack([inside[labels == label].float().mean() for label in labels.unique()])
    majority = shares[labels.unique(return_inverse=True)[1]] > 0.5
    return (majority == inside).float().mean().item()


def test_what_moves_is_told_from_what_is_behind_it():
    clip = square_that_moves()
    assert told(FlowSegments(8).labels(clip, IDENTITY)) > 0.92
    # All that is not the square is 87 of 100 pixels.
    assert told(FlowSegments(8, motion=0.0).labels(clip, IDENTITY)) < 0.89
    assert told(Supervoxels(8).labels(clip, IDENTITY)) < 0.89


def test_they_are_features_of_a_method():
    clip = square_that_moves()
    method = KernelSHAP(
        lambda x: x.mean((1, 3, 4)), FlowSegments(2), 200, 0.0, normalization=IDENTITY
    )
    found = method.explain(clip, 1)
    gap = found.full_value - found.empty_value - found.frame_scores.sum(1)
    assert gap.abs().max() < 1e-6


def test_what_has_no_flow_is_named():
    with pytest.raises(ClipError, match="at least 2 frames of 11 x 11 pixels"):
        FlowSegments(4).labels(torch.rand(1, 1, 3, 16, 16), IDENTITY)
    with pytest.raises(ClipError, match="at least 2 frames of 11 x 11 pixels"):
        FlowSegments(4).labels(torch.rand(1, 3, 3, 16, 8), IDENTITY)
    with pytest.raises(OptionError, match="motion"):
        FlowSegments(4, motion=-1.0)
