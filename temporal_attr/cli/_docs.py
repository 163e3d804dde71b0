"""What a docstring says of each argument, as plain text."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^Args:\n((?:[ ]+.*\n|\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^    (\w+):[ ]*(.*(?:\n(?:[ ]{8,}.*|[ ]*$))*)", re.MULTILINE)


def argument_texts(docstring: str | None) -> dict[str, str]:
    """The entries of the `Args:` section, by the argument's name.

    Args:
        docstring: In Google's style.
    """
    section = _SECTION.search(inspect.cleandoc(docstring or "") + "\n")
    return {name: plain_text(text) for name, text in _ENTRY.findall(section[1] if section else "")}


def plain_text(text: str) -> str:
    """Text without markup, on one line, as a terminal shows it."""
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ?:cite:\w:`[^`]*`", "", text)
    text = re.sub(r":\w+:`([^`]*)`", r"\1", text)
    # A switch of a call is one of the command line: explain(segments=True).
    text = re.sub(r"\bexplain\(\w*?,? ?(\w+)=True\)", lambda found: _flag(found[1]), text)
    text = re.sub(r"\bexplain\((\w+)=(?:False|None)\)", lambda found: f"no {found[1]}", text)
    return text.replace("`", "")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
