"""Text that fits beside what it is about."""

from __future__ import annotations

import textwrap


def fitted(text: str, inches: float, points: float = 10.0) -> str:
    """Lines that fit into a length, broken between words; `points` is the size of the letters.

    Matplotlib's own wrapping leaves a gap as wide as the lines were before, beside a colour bar.
    """
    # Letters are about half as wide as tall; a few more wide ones than usual must fit, too.
    width = max(1, int(72 * inches / (0.55 * points)))
    parts = [
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        for line in text.split("\n")
    ]
    return "\n".join(parts)
