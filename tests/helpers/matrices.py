"""Relevance of timesteps on timesteps, made up."""

import torch


def random_matrices(clips, steps, dtype=torch.float64):
    """Rows of either sign of which a few entries hold most, and a row or two of zeros."""
    matrix = torch.randn(clips, steps, steps, dtype=dtype) ** 5
    matrix[torch.rand(clips, steps, steps) < 0.2] = 0
    matrix[torch.rand(clips, steps) < 0.1] = 0
    return matrix
