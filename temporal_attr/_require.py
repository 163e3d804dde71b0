"""Settings within their range, or an error that names the setting and the range."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from numbers import Integral, Real

import torch

from temporal_attr._errors import OptionError
from temporal_attr._told import shown

INFINITE = float("inf")

LARGEST = sys.float_info.max
"""What whole numbers beyond cannot be computed with."""

LONGEST = 2**24
"""More frames than any video has: six days at 30 a second."""


def require_within(name: str, value: object, low: float, high: float = INFINITE) -> None:
    """Raise unless a setting is a number between two bounds, both allowed.

    Raises:
        OptionError: With the setting's name and range.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    # Written so that NaN, which compares false, is refused too; and infinity is no number.
    if not is_number or not max(low, -LARGEST) <= value <= min(high, LARGEST):  # type: ignore[operator]
        raise _outside(name, "", value, low, high)


def require_count(name: str, value: object, low: float, high: float = INFINITE) -> None:
    """Raise unless a setting is a whole number between two bounds, both allowed.

    Raises:
        OptionError: With the setting's name and range.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= int(value) <= high:  # type: ignore[call-overload]
        raise _outside(name, "a whole number ", value, low, high)


WIDEST = 2**16
"""More channels, layers or classes than any network has that could be built here."""


def require_size(name: str, value: object, low: int) -> None:
    """Raise unless a setting is how many of something a network can have.

    Raises:
        OptionError: With the setting's name and range.
    """
    require_count(name, value, low)
    if int(value) > WIDEST:  # type: ignore[call-overload]
        raise OptionError(f"{name} at most {WIDEST}", shown(value), f"Choose another {name}.")


def require_range(name: str, pair: object, low: float, high: float, whole: bool = False) -> None:
    """Raise unless a setting is (smallest, largest), and both lie between two bounds.

    Raises:
        OptionError: With the setting's name and range.
    """
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise OptionError(f"{name} as (smallest, largest)", shown(pair), "Give two numbers.")
    for value in pair:
        (require_count if whole else require_within)(name, value, low, high)
    if pair[0] > pair[1]:
        raise OptionError(f"{name} as (smallest, largest)", str(pair), "Swap them.")


def require_share(name: str, value: object) -> None:
    """Raise unless a setting is a share from 0 to less than 1.

    Raises:
        OptionError: With the setting's name.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not 0 <= value < 1:  # type: ignore[operator]
        raise OptionError(f"{name} in [0, 1)", shown(value), "A share, such as 0.5.")


def require_flag(name: str, value: object) -> None:
    """Raise unless a setting is True or False.

    Raises:
        OptionError: With the setting's name.
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name} to be True or False", shown(value), "Choose one of them.")


SEEDS = 2**32
"""How many seeds there are: NumPy's and PyTorch's generators all take those."""


def require_seed(seed: object, name: str = "seed") -> None:
    """Raise unless a seed is one that every generator takes.

    Raises:
        OptionError: With the range.
    """
    require_count(name, seed, 0, SEEDS - 1)


def require_finite(name: str, value: object) -> None:
    """Raise unless a setting is a finite number.

    Raises:
        OptionError: With the setting's name.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if not is_number or not -LARGEST <= value <= LARGEST:  # type: ignore[operator]
        raise OptionError(f"{name} to be a finite number", shown(value), f"Choose another {name}.")


def require_device(name: str, device: object) -> None:
    """Raise unless this names a device.

    Raises:
        OptionError: With what PyTorch says of it.
    """
    try:
        torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError):
        raise OptionError(f"{name} as PyTorch names one", repr(device), 'Try "cpu".') from None


def _outside(name: str, kind: str, value: object, low: float, high: float) -> OptionError:
    least, most = (f"{bound}" if isinstance(bound, int) else f"{bound:g}" for bound in (low, high))
    reach = f"at least {least}" if high == INFINITE else f"from {least} to {most}"
    return OptionError(f"{name} {kind}{reach}", shown(value), f"Choose another {name}.")
