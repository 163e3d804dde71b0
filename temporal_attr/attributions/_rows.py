"""One timestep after another sent back to the pixels, and what reaches each frame."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from temporal_attr._typing import ClipTensor, StepMatrix, StepScores
from temporal_attr.relevance import Trace


@dataclass(frozen=True)
class Rows:
    """What reached the frames from each timestep.

    Attributes:
        frame_matrix: `(batch, steps, time)`, relevance of each frame, summed over its pixels.
        error: `(batch, steps)`, the sum of all relevance less what it should be, over the logit.
        pixels: The relevance of pixels of the rows that were to be kept.
    """

    frame_matrix: Float[Tensor, "batch steps time"]
    error: StepScores
    pixels: dict[int, ClipTensor]


def send_back(
    run: Trace, contrastive: bool, chunk_size: int, keep: Collection[int], show_progress: bool
) -> Rows:
    """Send each output `(batch, steps)` of a pass back as a row of relevance.

    Args:
        run: The pass; contrasted already, if `contrastive`.
        contrastive: Whether negative relevance is dropped, pixel by pixel, and the sum before that
            should be 0; otherwise it should be the logit.
        chunk_size: Rows sent back together.
        keep: Rows whose pixels are kept.
        show_progress: Show a bar on anything over two seconds.
    """
    logits = run.output.detach()
    frames, sums, pixels = [], [], {}
    with tqdm(total=logits.shape[1], desc="rows", delay=2, disable=not show_progress) as bar:
        for rows in torch.arange(logits.shape[1], device=logits.device).split(chunk_size):
            for row, shared in zip(rows.tolist(), _shared(run, logits, rows), strict=True):
                sums.append(shared.flatten(1).sum(1))
                reached = shared.clamp(min=0) if contrastive else shared
                frames.append(reached.sum((2, 3, 4)))
                if row in keep:
                    pixels[row] = reached
                bar.update()
    total = torch.stack(sums, 1)
    lost = total if contrastive else total - logits
    error = torch.where(logits == 0, lost, lost / logits.abs())
    return Rows(torch.stack(frames, 1), error, pixels)


def _shared(run: Trace, logits: StepScores, rows: Tensor) -> Tensor:
    """The relevance `(rows, *clip)` of some timesteps' logits."""
    starts = logits.new_zeros(len(rows), *logits.shape)
    starts[torch.arange(len(rows)), :, rows] = logits[:, rows].T
    return run.relevances(starts) if len(rows) > 1 else run.relevance(starts[0])[None]


def by_step(frame_matrix: Float[Tensor, "batch steps time"], frames_per_step: int) -> StepMatrix:
    """Columns of frames added up to columns of timesteps; what is left over joins the last.

    Example:
        >>> by_step(torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 5.0]]]), frames_per_step=2)
        tensor([[[3., 3.],
                 [0., 5.]]])
    """
    batch, steps, time = frame_matrix.shape
    places = torch.arange(time, device=frame_matrix.device) // frames_per_step
    matrix = frame_matrix.new_zeros(batch, steps, steps)
    return matrix.index_add_(2, places.clamp(max=steps - 1), frame_matrix)
