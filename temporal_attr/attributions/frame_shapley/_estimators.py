"""Shapley values: by all coalitions, in closed form, or by permutations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from temporal_attr.attributions._frame_game import FrameGame, all_coalitions
from temporal_attr.perturbations import OnStop, stopping

LEAST_PAIRS = 8
"""After so many pairs of permutations, each time, it is seen whether the error is small enough."""

_CHECKS = 16
"""Random coalitions by which a sum is told from what only looks like one."""

Permutation = Callable[[torch.Generator], Int[Tensor, "players"]]


@dataclass(frozen=True)
class ShapleyValues:
    """What was found for one clip.

    Attributes:
        values: `(players,)`, float64.
        error: `(players,)`, the standard error of each; 0 where they are exact.
        empty: v of no player.
        drawn: `(pairs, players)`, the values of each pair of permutations; None where they are
            exact.
        complete: Whether as many were drawn as were asked for, or the error became small enough.
    """

    values: Float[Tensor, "players"]
    error: Float[Tensor, "players"]
    empty: float
    drawn: Float[Tensor, "pairs players"] | None = None
    complete: bool = True

    def summed(self, group: Int[Tensor, "players"], groups: int) -> ShapleyValues:
        """The values of groups of players, each the sum over its own.

        Args:
            group: The group of each player.
            groups: How many there are.
        """
        drawn = torch.zeros(1, groups, dtype=torch.float64).index_add(1, group, self.values[None])
        if self.drawn is None:
            # 0 where values are exact, and NaN where they are not known.
            return ShapleyValues(drawn[0], 0 * drawn[0], self.empty, None, self.complete)
        drawn = drawn.new_zeros(len(self.drawn), groups).index_add(1, group, self.drawn)
        return ShapleyValues(*mean_and_error(drawn), self.empty, drawn, self.complete)


def by_all_coalitions(game: FrameGame, bar: tqdm) -> ShapleyValues:
    """The exact values: the weighted sum of marginal contributions to all coalitions.

    Args:
        game: Of at most some 20 players.
        bar: Counts coalitions.
    """
    players = game.players
    coalitions = all_coalitions(players)
    found = []
    for part in coalitions.split(256):
        found.append(game.of(part))
        bar.update(len(part))
    # An axis a player, and along it without and with that player.
    grid = torch.cat(found).view((2,) * players)
    sizes = coalitions.sum(1).view((2,) * players)
    values = torch.empty(players, dtype=torch.float64)
    for player in range(players):
        marginal = grid.select(player, 1) - grid.select(player, 0)
        others = sizes.select(player, 0)
        weights = torch.tensor(
            [1 / (players * math.comb(players - 1, size)) for size in range(players)],
            dtype=torch.float64,
        )
        values[player] = (weights[others] * marginal).sum()
    return ShapleyValues(values, torch.zeros_like(values), float(grid.flatten()[0]))


def in_closed_form(game: FrameGame, tolerance: float) -> ShapleyValues | None:
    """Those of a game that is a sum over players; None if it is none.

    A model whose head is a mean says so by its structure; whether its values add up is tried on
    the coalition of all, and on random ones.

    Args:
        game: Which claims to be a sum.
        tolerance: How far a sum may be off, over the largest value.
    """
    players = game.players
    random = torch.Generator().manual_seed(0)
    tried = torch.rand(_CHECKS, players, generator=random) < 0.5
    tried = torch.cat([torch.ones(1, players, dtype=torch.bool), tried])
    alone = game.of(torch.eye(players, dtype=torch.bool))
    empty = game.of(torch.zeros(1, players, dtype=torch.bool))
    values = alone - empty
    found = game.of(tried)
    expected = empty + tried.double() @ values
    if (found - expected).abs().max() > tolerance * found.abs().max():
        return None
    return ShapleyValues(values, torch.zeros_like(values), float(empty))


@dataclass
class PermutationSampling:
    """Shapley values as means over pairs of permutations, each with its own reverse.

    Of a pair of permutations the values are added up in float64, and the spread over pairs gives
    the standard error; each pair adds up to v(all) - v(none) exactly, and so does the mean.

    Args:
        game: Of frames, or of regions.
        draw: Draws a permutation.
        pairs: How many pairs at most.
        until: Stop when the largest standard error is at most this share of the range of the
            values, as Covert and Lee (2021) do; None draws all pairs.
        seed: Of the permutations.
        on_stop: What becomes of a run that is stopped.
    """

    game: FrameGame
    draw: Permutation
    pairs: int
    until: float | None
    seed: int
    on_stop: OnStop = "raise"

    def run(self, bar: tqdm) -> ShapleyValues:
        """Draw, until there are enough."""
        players = self.game.players
        random = torch.Generator().manual_seed(self.seed)
        drawn: list[Tensor] = []
        ends = torch.tensor([[False], [True]]).expand(2, players)
        with stopping(self.on_stop):
            self.game.of(ends)
            while len(drawn) < self.pairs and not self._is_small(drawn):
                order = self.draw(random)
                drawn.append(self._marginals([order, order.flip(0)]).mean(0))
                bar.update(2)
        if not drawn:
            # Stopped within the first pair: nothing is known.
            raise KeyboardInterrupt
        complete = len(drawn) == self.pairs or self._is_small(drawn)
        empty, found = float(self.game.of(ends[:1])), torch.stack(drawn)
        return ShapleyValues(*mean_and_error(found), empty, found, complete)

    def _is_small(self, drawn: Sequence[Tensor]) -> bool:
        if self.until is None or not drawn or len(drawn) % LEAST_PAIRS:
            return False
        values, error = mean_and_error(torch.stack(list(drawn)))
        return bool(error.max() <= self.until * (values.max() - values.min()))

    def _marginals(
        self, orders: Sequence[Int[Tensor, "players"]]
    ) -> Float[Tensor, "orders players"]:
        """What each player adds to those before it."""
        players = self.game.players
        coalitions = torch.stack([_growing(order) for order in orders])
        grown = self.game.of(coalitions.flatten(0, 1)).view(len(orders), players + 1)
        found = torch.empty(len(orders), players, dtype=torch.float64)
        return found.scatter_(1, torch.stack(list(orders)), grown.diff(dim=1))


def _growing(order: Int[Tensor, "players"]) -> Bool[Tensor, "coalitions players"]:
    """From nobody to all, one player after another.

    Example:
        >>> _growing(torch.tensor([1, 0])).int().tolist()
        [[0, 0], [0, 1], [1, 1]]
    """
    players = len(order)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(players))
    return place[None] < torch.arange(players + 1)[:, None]


def mean_and_error(drawn: Float[Tensor, "pairs players"]) -> tuple[Tensor, Tensor]:
    """The mean over pairs, and its standard error; NaN of one pair, which tells none.

    Example:
        >>> mean_and_error(torch.tensor([[1.0], [3.0]]))
        (tensor([2.]), tensor([1.]))
    """
    if len(drawn) == 1:
        return drawn[0], torch.full_like(drawn[0], math.nan)
    return drawn.mean(0), drawn.std(0) / len(drawn) ** 0.5


def uniform_order(players: int) -> Permutation:
    """Any order of the players, each as likely."""
    return lambda random: torch.randperm(players, generator=random)


def nested_order(frame_of: Int[Tensor, "players"]) -> Permutation:
    """An order of frames, and of the regions within each, for Owen values.

    Args:
        frame_of: The frame of each region.
    """
    regions = [(frame_of == frame).nonzero().flatten() for frame in frame_of.unique().tolist()]

    def draw(random: torch.Generator) -> Tensor:
        frames = torch.randperm(len(regions), generator=random).tolist()
        return torch.cat(
            [regions[f][torch.randperm(len(regions[f]), generator=random)] for f in frames]
        )

    return draw
