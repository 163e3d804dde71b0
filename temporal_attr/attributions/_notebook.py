"""How a notebook shows a result: a picture, if there is a painter, above its summary."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Callable
from typing import Any

Painter = Callable[[Any], bytes | None]
"""From a result to a PNG; None for one that it has no picture of."""

_painters: list[Painter] = []


def register_painter(painter: Painter) -> None:
    """Let a painter draw results in notebooks; `temporal_attr.views` registers one on import.

    The methods know nothing of pictures, so what draws them comes from outside. The painter that
    was registered last draws what it can, and the one before it the rest.

    Args:
        painter: From a result to a PNG, or None.
    """
    _painters.append(painter)


def notebook_html(result: Any) -> str:  # noqa: ANN401
    """A picture of a result and its summary, or the summary alone."""
    text = f"<pre>{html.escape(result.summary())}</pre>"
    for painter in reversed(_painters):
        picture = painter(result)
        if picture is not None:
            source = f"data:image/png;base64,{b64encode(picture).decode('ascii')}"
            name = html.escape(repr(result), quote=True)
            return f'<img src="{source}" alt="{name}" style="max-width: 100%">\n{text}'
    return text
