"""Which axes of a layer's output are time, height and width, told from what it does.

Sizes do not tell them: a map of as many channels as steps, or tokens in either order, look alike.
So the layer is run on five clips, the clip at hand and four in which a half of the frames, a half
of the rows and a half of the columns are changed, in all pairings that tell the three apart. Along
its own axis, what changes in a map moves from one end to the other; along others it does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._typing import ClipTensor
from temporal_attr.models.layers._map_layout import Channels, MapLayout, layouts_of

PROBED = 5
"""Clips that go through together: the clip itself, and four changed ones."""

_ENDS = {"t": (-1, -1, 1, 1), "h": (-1, 1, -1, 1), "w": (-1, 1, 1, -1)}
"""For each changed clip, which end of an axis is changed."""

LEAST = 0.1
"""By what share of the way that it moves without mixing a change must move along each axis."""

AGREES = 0.3
"""How well the changes must agree with a layout: far less mixing than leaves no place its own."""

MARGIN = 0.05
"""By how much the changes must agree better with a layout than with any other."""


@dataclass(frozen=True)
class _Fit:
    """How well a layout explains what changes.

    Attributes:
        layout: The layout.
        agreement: The correlation of what changes with what would without mixing.
        moves: For each axis of more than one entry, by what share of the way that it moves without
            mixing a change moves along it.
    """

    layout: MapLayout
    agreement: float
    moves: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether it does, and each axis is seen."""
        return self.agreement >= AGREES and all(move >= LEAST for move in self.moves.values())


def probing_clips(clip: ClipTensor) -> Tensor:
    """A clip, and four in which a corner of space and time is changed.

    Args:
        clip: `(1, time, channel, height, width)`.

    Example:
        >>> probing_clips(torch.zeros(1, 4, 3, 8, 8)).flatten(1).any(1)
        tensor([False,  True,  True,  True,  True])
    """
    drawn = torch.randn(clip.shape, generator=torch.Generator().manual_seed(0)).to(clip)
    scale = clip.detach().double().std().to(clip) if clip.numel() > 1 else clip.new_zeros(())
    noise = drawn * torch.where(scale > 0, scale, torch.ones_like(scale))
    changed = [clip]
    for place in range(PROBED - 1):
        halves = (
            _ends_of(clip.shape[axis], name)[place].to(clip)
            for axis, name in ((1, "t"), (3, "h"), (4, "w"))
        )
        changed.append(clip + noise * torch.einsum("t,h,w->thw", *halves)[None, :, None])
    return torch.cat(changed)


def measured_layout(
    name: str, output: Tensor, clip: ClipTensor, calls: int = 1, channels: Channels = None
) -> MapLayout:
    """The layout of what a layer gives.

    Args:
        name: Of the layer, for messages.
        output: For `probing_clips(clip)`; of a layer with several calls one after another.
        clip: `(1, time, channel, height, width)`.
        calls: How often the layer ran.
        channels: Whether channels come before or after the places, by the kinds of its modules;
            None where these do not say it. It settles what the changes leave open: small maps in
            which every place sees all others.

    Raises:
        OptionError: If it is no map of space and time, or cannot be told apart from another.

    Example:
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> volume = probing_clips(clip).transpose(1, 2)
        >>> measured_layout("stem", volume, clip).names
        ('', 'c', 't', 'h', 'w')
    """
    frames, (height, width) = clip.shape[1], clip.shape[3:]
    found = layouts_of(tuple(output.shape), PROBED, frames, (height, width))
    if not found:
        raise _no_map(name, output, calls)
    if not bool(output.isfinite().all()):
        raise OptionError(
            f"finite values from the layer {name!r}",
            "NaN or infinity",
            "Look for weights that are not finite, or for half precision.",
        )
    fits = _fits(found, output)
    best = _best(fits, output)
    if best is None and channels is not None:
        # Of each order of rows the one that the kinds of modules leave.
        known = [fit for fit in fits if fit.layout.channels == channels]
        best = _best(known, output) or _only(known)
    if best is None:
        raise _open(name, output, fits)
    if not best.is_map(tuple(output.shape), PROBED):
        raise _no_map(name, output, calls)
    return best


def _best(fits: Sequence[_Fit], output: Tensor) -> MapLayout | None:
    """The layout that explains the changes, and better than any other; None if there is none."""
    holding = [fit for fit in fits if fit.holds]
    if not holding:
        return None
    best, *others = holding
    # Of layouts that say the same of this output, any will do.
    others = [fit for fit in others if not _same(fit.layout, best.layout, output)]
    if others and others[0].agreement > best.agreement - MARGIN:
        return None
    return best.layout


def _only(fits: Sequence[_Fit]) -> MapLayout | None:
    """The one layout there is, if it is not of tokens; of two orders of rows that which fits."""
    plain = [fit for fit in fits if not fit.layout.grid]
    if len(plain) != len(fits) or not fits or len({fit.layout.names for fit in fits}) > 1:
        return None
    if len(fits) == 1:
        return fits[0].layout
    clear = fits[0].moves.get("t", 0.0) >= LEAST > fits[1].moves.get("t", 0.0) + LEAST / 2
    return fits[0].layout if clear else None


def _fits(layouts: Sequence[MapLayout], output: Tensor) -> list[_Fit]:
    """How well what changes is where each layout has it, the best first."""
    changes: dict[object, Tensor] = {}
    found = []
    for layout in layouts:
        alike = (layout.rows, layout.names)
        if alike not in changes:
            changes[alike] = layout.changes(output, PROBED)
        found.append(_fit(layout, changes[alike]))
    return sorted(found, key=lambda fit: -fit.agreement)


def _fit(layout: MapLayout, changes: Tensor) -> _Fit:
    """How well what changes is where a layout has it."""
    change = layout.changes_same_in_channels(changes)
    halves = [_ends_of(change.shape[axis + 1], name) for axis, name in enumerate("thw")]
    expected = torch.einsum("kt,kh,kw->kthw", *(half.to(change) for half in halves))
    found, wanted = change.sqrt().flatten(1), expected.flatten(1)
    # Tokens that are no places react alike, whichever part of the clip is changed.
    rest = layout.changes_of_others(changes).sqrt()
    found, wanted = torch.cat([found, rest], 1), torch.cat([wanted, 0 * rest], 1)
    found, wanted = found - found.mean(0), wanted - wanted.mean(0)
    sizes = found.norm() * wanted.norm()
    agreement = float((found * wanted).sum() / sizes) if sizes > 0 else 0.0
    return _Fit(layout, agreement, dict(_moves(change)))


def _ends_of(size: int, name: str) -> Tensor:
    """For each changed clip, which entries of an axis are changed `(probe, size)`."""
    half = torch.zeros(size)
    half[: (size + 1) // 2] = 1
    return torch.stack([half if end < 0 else half.flip(0) for end in _ENDS[name]])


def _moves(change: Tensor) -> Iterator[tuple[str, float]]:
    """By what share of the way that it moves without mixing a change moves along each axis."""
    for axis, name in ((1, "t"), (2, "h"), (3, "w")):
        size = change.shape[axis]
        if size == 1:
            continue
        profile = change.sum([place for place in (1, 2, 3) if place != axis])
        total = profile.sum(1)
        if not bool((total > 0).all()):
            yield name, 0.0
            continue
        ends = torch.tensor(_ENDS[name]).to(profile)
        places = torch.arange(size).to(profile)
        local = _ends_of(size, name).to(profile)
        most = (local @ places / local.sum(1)) @ ends
        yield name, float((profile @ places / total) @ ends / most)


def _same(one: MapLayout, other: MapLayout, output: Tensor) -> bool:
    """Whether two layouts bring an output to the same maps."""
    first, second = (layout.to_maps(output, PROBED) for layout in (one, other))
    return first.shape == second.shape and torch.equal(first, second)


def _no_map(name: str, output: Tensor, calls: int) -> OptionError:
    times = "" if calls == 1 else f" in {calls} calls"
    return OptionError(
        "a layer whose output is a map of places, with time in an axis of its own or folded into "
        "the batch or into tokens",
        f"{name!r}, which gives shape {tuple(output.shape)} for {PROBED} clips{times}",
        "Name an earlier layer: one before pooling; and of windows of a frame or parts of "
        "attention, the block around it.",
    )


def _open(name: str, output: Tensor, fits: Sequence[_Fit]) -> OptionError:
    said = "; or ".join(
        f"{fit.layout.told()} (agreement {fit.agreement:.2f}, of axes "
        + ", ".join(f"{axis} {move:.2f}" for axis, move in fit.moves.items())
        + ")"
        for fit in fits[:2]
    )
    return OptionError(
        f"a layer {name!r} whose axes of time, height and width can be told apart by changing "
        "parts of the clip",
        f"shape {tuple(output.shape)} for {PROBED} clips, which could be {said}",
        "Name an earlier layer, that mixes fewer places, or explain a longer or larger clip.",
    )
