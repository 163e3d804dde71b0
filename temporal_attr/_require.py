"""Settings within their range, or an error that names the setting and the range."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral, Real

from temporal_attr._errors import OptionError

INFINITE = float("inf")


def require_within(name: str, value: object, low: float, high: float = INFINITE) -> None:
    """Raise unless a setting is a number between two bounds, both allowed.

    Raises:
        OptionError: With the setting's name and range.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    # Written so that NaN, which compares false, is refused too.
    if not is_number or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise _outside(name, "", value, low, high)


def require_count(name: str, value: object, low: float, high: float = INFINITE) -> None:
    """Raise unless a setting is a whole number between two bounds, both allowed.

    Raises:
        OptionError: With the setting's name and range.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not low <= int(value) <= high:  # type: ignore[call-overload]
        raise _outside(name, "a whole number ", value, low, high)


def require_range(name: str, pair: object, low: float, high: float, whole: bool = False) -> None:
    """Raise unless a setting is (smallest, largest), and both lie between two bounds.

    Raises:
        OptionError: With the setting's name and range.
    """
    if not isinstance(pair, Sequence) or len(pair) != 2:
        raise OptionError(f"{name} as (smallest, largest)", repr(pair), "Give two numbers.")
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
    if not is_number or not 0 <= float(value) < 1:  # type: ignore[arg-type]
        raise OptionError(f"{name} in [0, 1)", repr(value), "A share, such as 0.5.")


def require_flag(name: str, value: object) -> None:
    """Raise unless a setting is True or False.

    Raises:
        OptionError: With the setting's name.
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name} to be True or False", repr(value), "Choose one of them.")


def _outside(name: str, kind: str, value: object, low: float, high: float) -> OptionError:
    least, most = (f"{bound}" if isinstance(bound, int) else f"{bound:g}" for bound in (low, high))
    reach = f"at least {least}" if high == INFINITE else f"from {least} to {most}"
    return OptionError(f"{name} {kind}{reach}", repr(value), f"Choose another {name}.")
