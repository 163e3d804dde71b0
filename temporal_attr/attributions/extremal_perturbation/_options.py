"""Options of learned masks, checked when they are given."""

from __future__ import annotations

from typing import Any, get_args

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count, require_within
from temporal_attr._told import shown


def require_choice(name: str, value: object, choices: Any) -> None:  # noqa: ANN401 - a Literal
    """Raise unless an option is one of its names.

    Raises:
        OptionError: With the names.
    """
    if not isinstance(value, str) or value not in get_args(choices):
        names = " or ".join(f'"{choice}"' for choice in get_args(choices))
        raise OptionError(f"{name} to be {names}", shown(value), "Choose one of them.")


def require_part(name: str, value: object) -> None:
    """Raise unless an option is a share, more than 0 and less than 1.

    Raises:
        OptionError: With its name.
    """
    require_within(name, value, 0, 1)
    if value in (0, 1):
        raise OptionError(f"{name} more than 0 and less than 1", shown(value), "Try 0.1.")


def require_grid(grid: object, kind: str) -> None:
    """Raise unless a grid is three counts of cells, for a mask that has one.

    Raises:
        OptionError: With what it may be.
    """
    if grid is None:
        return
    if kind == "frames":
        raise OptionError(
            'no grid with kind="frames", which has a number for each frame',
            shown(grid),
            'Leave it out, or take kind="space-time".',
        )
    if not isinstance(grid, (tuple, list)) or len(grid) != 3:
        raise OptionError(
            "grid as three counts of cells, along time, height and width",
            shown(grid),
            "Try (8, 8, 8).",
        )
    for count in grid:
        require_count("each count of grid", count, 1)
