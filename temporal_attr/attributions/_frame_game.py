"""The game whose players are frames, or regions of frames: what a model makes of each coalition."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr.attributions._objective_values import ObjectiveValues
from temporal_attr.perturbations import (
    AbsentFrames,
    ComposedClips,
    Labels,
    masked_compositions,
)


class FrameGame:
    """v(S) of one clip: the objective of the clip with the frames S present.

    Values that are known are not asked for again.

    Args:
        values: Asks the model.
        absent: What the clip is without some of its frames.
        example: Which clip of the batch.
    """

    def __init__(self, values: ObjectiveValues, absent: AbsentFrames, example: int) -> None:
        self._values, self._absent, self._example = values, absent, example
        self.players = absent.clip.shape[1]
        self.frame_of = torch.arange(self.players)
        whole = torch.ones(self.players, dtype=torch.bool)
        self._known = {whole.numpy().tobytes(): float(values.of_clips[example])}

    @property
    def evaluations(self) -> int:
        """How many coalitions the model was asked for, with that of all frames."""
        return len(self._known)

    def of_pixels(self, values: Float[Tensor, "players"]) -> Float[Tensor, "time height width"]:
        """The value of each pixel's player, on the CPU."""
        height, width = self._absent.clip.shape[-2:]
        return values[:, None, None].expand(-1, height, width)

    def others(self, coalitions: int) -> int:
        """Frames besides those of the clip that so many coalitions show, at most."""
        return self._absent.others(self._example)

    def of(self, present: Bool[Tensor, "coalitions players"]) -> Float[Tensor, "coalitions"]:
        """The values of coalitions, in float64 on the CPU."""
        distinct, places = torch.unique(present, dim=0, return_inverse=True)
        keys = [row.tobytes() for row in distinct.numpy()]
        new = [place for place, key in enumerate(keys) if key not in self._known]
        if new:
            for rows, composed in self._composed(distinct[new]):
                found = self._values.of(composed).cpu().tolist()
                for row, value in zip(rows.tolist(), found, strict=True):
                    self._known[keys[new[row]]] = value
        of_distinct = torch.tensor([self._known[key] for key in keys], dtype=torch.float64)
        return of_distinct[places]

    def _composed(
        self, present: Bool[Tensor, "coalitions players"]
    ) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        device = self._absent.clip.device
        for rows, composed in self._absent.without(present.to(device), self._example):
            yield rows.cpu(), composed


class RegionGame(FrameGame):
    """The same, where the players are the regions of all frames.

    Args:
        values: Asks the model.
        absent: What the clip is without some of its frames.
        example: Which clip of the batch.
        labels: `(batch, time, height, width)`, the region of its frame that each pixel belongs to.
        baseline: What each value becomes where it is absent, shaped like the clip.
    """

    def __init__(
        self,
        values: ObjectiveValues,
        absent: AbsentFrames,
        example: int,
        labels: Labels,
        baseline: Tensor,
    ) -> None:
        super().__init__(values, absent, example)
        self._baseline = baseline
        own = labels[example].long()
        frames = torch.arange(len(own), device=own.device)[:, None, None]
        # Numbered through all frames, without gaps.
        pairs = torch.stack([frames.expand_as(own), own], -1).reshape(-1, 2)
        distinct, numbers = torch.unique(pairs, dim=0, return_inverse=True)
        self.frame_of = distinct[:, 0].cpu()
        self._labels = numbers.view_as(own)
        self._of_batch = self._labels.expand(len(labels), *own.shape)
        self.players = len(distinct)
        whole = torch.ones(self.players, dtype=torch.bool)
        self._known = {whole.numpy().tobytes(): float(values.of_clips[example])}

    def of_pixels(self, values: Float[Tensor, "players"]) -> Float[Tensor, "time height width"]:
        """The value of each pixel's region, on the CPU."""
        return values[self._labels.cpu()]

    def others(self, coalitions: int) -> int:
        """Each coalition adds a region to one frame; and every frame is seen without any."""
        return coalitions + self._absent.clip.shape[1]

    def _composed(
        self, present: Bool[Tensor, "coalitions players"]
    ) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        clip = self._absent.clip
        rows = torch.full((len(present),), self._example, device=clip.device)
        given = present.to(clip.device)
        composed = masked_compositions(clip, self._baseline, self._of_batch, given, rows)
        yield torch.arange(len(present)), composed


def all_coalitions(players: int) -> Bool[Tensor, "coalitions players"]:
    """Every coalition; the last player changes fastest.

    Example:
        >>> all_coalitions(2).int().tolist()
        [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return torch.tensor(list(product((False, True), repeat=players)))
