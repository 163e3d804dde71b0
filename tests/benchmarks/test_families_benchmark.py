"""How the table of families judges a method, and what its page says."""

import time
from types import SimpleNamespace

import pytest
import torch

import temporal_attr as ta
from tests.helpers.checks import BENCHMARKS
from tests.helpers.families import family

pytestmark = pytest.mark.usefixtures("one_thread", "as_user")

NAN = torch.tensor([[1.0, torch.nan], [1.0, 2.0]])
WHOLE = torch.tensor([[1.0, -3.0], [0.5, 2.0]], dtype=torch.float64)


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import family_cells
    import family_methods
    import family_page

    return SimpleNamespace(cells=family_cells, methods=family_methods, page=family_page)


def late_fusion():
    entry = family("late_fusion_mean")
    return entry.build()[0].double(), entry.clip(torch.float64)


@pytest.mark.parametrize(
    ("together", "again", "alone", "expected"),
    [
        (WHOLE, WHOLE, WHOLE * (1 + 1e-10), "right"),
        (WHOLE, WHOLE, WHOLE + 3e-6, "WRONG: 1e-06"),
        (WHOLE, WHOLE.flip(0), WHOLE, "WRONG: 2e+00"),
        (WHOLE, WHOLE, WHOLE[:, :1], "WRONG: inf"),
        (NAN, NAN, NAN, "NaN"),
        (NAN, NAN, NAN.nan_to_num(), "WRONG: inf"),
        (0 * WHOLE, 1e-13 * WHOLE, 0 * WHOLE, "zero"),
        (0 * WHOLE, 1e-11 * WHOLE, 0 * WHOLE, "WRONG: 3e+289"),
        (torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]]),
         torch.tensor([[0.0], [1.0]]), "zero of one clip"),
    ],
)  # fmt: skip
def test_what_is_right(table, together, again, alone, expected):
    assert table.cells.judged(together, again, alone, torch.tensor(1.0)) == expected


class Made:
    """In place of a method: attributes by a function of the clip."""

    def __init__(self, function):
        self.attribute = lambda clip, target: function(clip)


def cell_of(table, function, limit=60.0, framewise_only=False):
    column = table.methods.Column("made", Made, lambda *_: Made(function), framewise_only)
    return table.cells.of_method(column, *late_fusion(), limit)


def refuse(clip):
    raise ta.ModelError("a", "b", "C.")


def busy(clip):
    until = time.process_time() + 5
    while time.process_time() < until:
        pass
    return clip


def test_what_comes_of_a_method(table):
    assert cell_of(table, lambda clip: clip) == {"cell": "right"}
    # What is read of the other clip of a batch.
    assert cell_of(table, lambda clip: clip + clip.mean())["cell"].startswith("WRONG")
    assert cell_of(table, refuse) == {"cell": "named: ModelError", "why": "expected a, got b. C."}
    assert cell_of(table, lambda clip: clip[9])["cell"] == "RAW: IndexError"
    assert cell_of(table, busy, limit=0.05) == {"cell": "over 0 s"}


def test_only_long_clips_are_sampled(table):
    shapley = next(one for one in table.methods.COLUMNS if one.name == "frame_shapley")
    model, clip = late_fusion()
    longer = torch.cat([clip, clip], 1)
    assert clip.shape[1] <= table.methods.EXACT_FRAMES < longer.shape[1]
    assert shapley.build(model, clip).n_samples is None
    assert shapley.build(model, longer).n_samples == 4


def test_every_method_of_the_library_is_in_a_table(table):
    columns = table.methods.COLUMNS
    assert {one.kind for one in columns} == set(ta.attributions.METHODS)
    assert {one.table for one in columns} == set(table.methods.KINDS)


def test_the_page_guesses_nothing(table):
    network = {"wrapper": "W", "exactness": "linear", "forward": "0e+00", "timesteps": "1e-16"}
    names = [one.name for one in table.methods.COLUMNS]
    done = {name: {"cell": "right"} for name in names}
    done["lrp"] = {"cell": "named: ModelError", "why": "expected a norm, got none. Take one."}
    done["rise"] = {"cell": "zero"}
    rows = {"done": {"network": network, "cells": done}, "not begun": {"cells": {}}}
    text = table.page.page(rows)
    count = len(names)
    assert f"Of {2 * count} pairs {count - 2} are right, 1 refused" in text
    assert "1 zero,\n0 zero of one clip, 0 NaN in part, 0 raw, wrong or too slow" in text
    assert f"and {count} not run" in text
    assert "| ModelError | a norm | lrp | done |" in text
    assert "| zero | rise | done | **not explained yet** |" in text
    assert "| rise |  |  | 1 |  |  | 1 |  |" in text
    assert text.count("| not begun | not run | not run |") == 1 + len(table.methods.KINDS)
