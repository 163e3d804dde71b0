"""Small networks that run in a moment on any machine."""

from __future__ import annotations

import torch
from torch import nn

from temporal_attr.clips import Preprocessing
from temporal_attr.models import FrameRecurrent


def small_recurrent(classes: int = 4, width: int = 8, seed: int = 0) -> FrameRecurrent:
    """A small convolutional encoder with a GRU, with random weights.

    Args:
        classes: Number of classes.
        width: Channels of the first layer; the GRU has four times as many units.
        seed: Of the weights; the global random state is left as it was.

    Returns:
        A model of frames of any size from 16 pixels on, with values in [0, 1], in evaluation mode.

    Example:
        >>> model = small_recurrent(classes=5)
        >>> tuple(model(torch.rand(2, 8, 3, 32, 32)).shape)
        (2, 5)
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(
            nn.Conv2d(3, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        )
        recurrent = nn.GRU(8 * width, 4 * width, batch_first=True)
        classifier = nn.Linear(4 * width, classes)
    model = FrameRecurrent(
        encoder, recurrent, classifier, readout="mean", preprocessing=Preprocessing()
    )
    return model.eval()
