"""The page of the table of families: see `families.py`."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeAlias

import torch
from family_cells import RIGHT, ZERO
from family_methods import BOUNDS, COLUMNS, KINDS, Column

Rows: TypeAlias = dict[str, dict[str, Any]]
"""What was measured of each family: of its network, and a cell for each method."""

NOT_FOR_IT = "-"
FEW = 12
"""So many names are spelled out."""

ONE_CLIP = "zero of one clip"
EXPLAINED = {
    "zero": {
        "sliding_frames_in_reverse": "The model is blind to order: it pools frames by a mean, a "
        "maximum or attention, or attends over them without their positions, so that a window "
        "played backwards changes nothing.",
        "selective_relevance": "The gradient at a frame depends on that frame alone, so it is the "
        "same in a clip in which the frame stands still: nothing of it is about motion.",
    },
    ONE_CLIP: dict.fromkeys(
        ("grad_cam_plus_plus", "layer_cam"),
        "Its definition takes positive gradients only, and of one of the two clips there is none "
        "at any place where the layer is active; `grad_cam`, which takes all, is not zero.",
    ),
    "NaN": dict.fromkeys(
        ("shuffle_probe", "shuffle_probe_of_a_method"),
        "A frame at which the gradient is zero has no ratio: the model reads the last frame only, "
        "or of each feature or logit the largest over time.",
    ),
}
"""Why, of all that is zero or NaN, by the cell and the method; looked at one by one."""


def page(rows: Rows) -> str:
    """All results."""
    sums = [_head(rows), _by_method(rows), _refused(rows), _explained(rows)]
    return "\n\n".join([*sums, _networks(rows), *_tables(rows)]) + "\n"


def cell(row: dict[str, Any], column: Column) -> str:
    """What came of a family and a method, in a word or two."""
    found: str = row["cells"].get(column.name, {"cell": "not run"})["cell"]
    return "refused" if found.startswith("named: ") else found


def _head(rows: Rows) -> str:
    cells = Counter(cell(row, column) for row in rows.values() for column in COLUMNS)
    pairs = cells.total() - cells[NOT_FOR_IT]
    known = {"right", "refused", "zero", ONE_CLIP, "NaN", "not run", NOT_FOR_IT}
    bad = sum(count for found, count in cells.items() if found not in known)
    return f"""# Families and methods

`python benchmarks/families.py`, torch {torch.__version__}: {len(rows)} families of networks and
{len(COLUMNS)} methods or kinds of a method. Of {pairs} pairs {cells["right"]} are right, \
{cells["refused"]} refused by a named error, {cells["zero"]} zero,
{cells[ONE_CLIP]} zero of one clip, {cells["NaN"]} NaN in part, {bad} raw, wrong or too slow, \
and {cells["not run"]} not run.

Networks are small ones of the build that is meant, in double precision, with random weights, random
biases and calibrated batch norm; clips are two, of noise. A cell says:

- `right`: a batch gives what its clips give one by one, and the same twice, to {RIGHT:.0e} of the
  largest entry. It does not say that the attribution is a good one.
- `refused`: a named error says why; all of them are listed below.
- `zero`: nothing in it is larger than {ZERO:.0e} of the largest logit; explained below.
- `NaN`: right, and not a number in the same places; explained below.
- `{NOT_FOR_IT}`: the method is for models that are an encoder of frames only.
- `not run`: not measured. `over N s`: stopped after so many seconds of the process.
- `WRONG: x`: x of the largest entry apart. `RAW: x`: an error that is none of this library's.

{BOUNDS}"""


def _by_method(rows: Rows) -> str:
    heads = ["right", "refused", "zero", "NaN", NOT_FOR_IT, "not run"]
    lines = ["## By method", "", _line(["method", *heads, "other"]), _rule(len(heads) + 2)]
    for column in COLUMNS:
        found = Counter(cell(row, column) for row in rows.values())
        numbers = [found.pop(head, 0) for head in heads]
        other = ", ".join(f"{count} {what}" for what, count in found.items())
        lines.append(_line([column.name, *(str(one or "") for one in numbers), other]))
    return "\n".join(lines)


def _refused(rows: Rows) -> str:
    found: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
    for name, row in rows.items():
        for column in COLUMNS:
            one = row["cells"].get(column.name, {})
            if "why" in one:
                expected = one["why"].split(", got ")[0].removeprefix("expected ")
                key = (one["cell"].removeprefix("named: "), expected)
                methods, families = found.setdefault(key, ({}, {}))
                methods[column.name] = families[name] = None
    lines = ["## What is refused", "", _line(["error", "expected", "methods", "families"])]
    lines.append(_rule(4))
    for (error, expected), (methods, families) in found.items():
        lines.append(_line([error, expected, ", ".join(methods), _names(list(families))]))
    return "\n".join(lines)


def _explained(rows: Rows) -> str:
    lines = ["## What is zero or NaN", "", _line(["cell", "method", "families", "why"]), _rule(4)]
    for kind in ("zero", "NaN", "zero of one clip"):
        for column in COLUMNS:
            families = [name for name, row in rows.items() if cell(row, column) == kind]
            if families:
                why = EXPLAINED.get(kind, {}).get(column.name, "**not explained yet**")
                lines.append(_line([kind, column.name, _names(families), why]))
    return "\n".join(lines)


def _networks(rows: Rows) -> str:
    lines = [
        "## Networks",
        "",
        "Forward is the largest difference of the wrapper's logits from the network's own output, "
        "timesteps that of their\nweighted sum from the logits, both over the largest entry "
        "(transformers' eager attention has a softmax in float32).",
        "",
        _line(["family", "wrapper", "exactness", "forward", "timesteps"]),
        _rule(5),
    ]
    for name, row in rows.items():
        network = row.get("network", dict.fromkeys(("wrapper", "exactness"), "not run"))
        facts = [network.get(key, "") for key in ("wrapper", "exactness", "forward", "timesteps")]
        lines.append(_line([name, *facts]))
    return "\n".join(lines)


def _tables(rows: Rows) -> list[str]:
    """A table for each kind of method."""
    found = []
    for title in KINDS:
        columns = [column for column in COLUMNS if column.table == title]
        heads = [column.name.replace("_", " ") for column in columns]
        lines = [f"## {title}", "", _line(["family", *heads]), _rule(1 + len(heads))]
        for name, row in rows.items():
            lines.append(_line([name, *(cell(row, column) for column in columns)]))
        found.append("\n".join(lines))
    return found


def _names(families: list[str]) -> str:
    return ", ".join(families) if len(families) <= FEW else f"{len(families)} families"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns
