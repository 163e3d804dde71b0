"""The table of metrics in the documentation, held against their traits; and the traits."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation._registry import METRICS

DOCS = Path(__file__).parents[2] / "docs"
HEAD = "| metric | question | range | better | needs | cost | source |"
BETTER = {True: "higher", False: "lower", None: "neither"}

on_all_metrics = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)


def bound(value):
    """As the table has it: whole numbers without a point, infinity in words."""
    if math.isinf(value):
        return "infinity" if value > 0 else "-infinity"
    return f"{value:g}"


def row(metric):
    """The row of the table that the traits of a metric ask for."""
    traits = metric.traits
    cells = (
        f"`{metric.__name__}`",
        traits.question,
        f"{bound(traits.lowest)} to {bound(traits.highest)}",
        BETTER[traits.higher_is_better],
        ", ".join(traits.needs) or "nothing",
        traits.cost,
        f"`{traits.source}`" if traits.source else "this library",
    )
    return f"| {' | '.join(cells)} |"


def rows():
    """The rows of the table."""
    lines = (DOCS / "evaluation.md").read_text(encoding="utf-8").splitlines()
    start = lines.index(HEAD) + 2
    stop = next(
        (at for at in range(start, len(lines)) if not lines[at].startswith("|")), len(lines)
    )
    return lines[start:stop]


def test_the_table_has_each_metric_as_its_traits_say():
    assert rows() == [row(metric) for metric in METRICS]


def test_no_two_metrics_share_a_slug():
    slugs = [metric.traits.slug for metric in METRICS]
    assert len(set(slugs)) == len(slugs)


@on_all_metrics
def test_a_metric_is_a_frozen_dataclass_and_its_traits_make_sense(metric):
    assert issubclass(metric, Metric)
    assert dataclasses.is_dataclass(metric)
    assert metric.__dataclass_params__.frozen
    traits = metric.traits
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", traits.slug)
    assert traits.lowest < traits.highest
    assert traits.question.endswith("?")
    # One of them would break the table.
    assert "|" not in traits.question + traits.cost


@on_all_metrics
def test_the_source_is_in_the_bibliography(metric):
    entries = re.findall(r"^@\w+\{(\w+),", (DOCS / "references.bib").read_text("utf-8"), re.M)
    assert not metric.traits.source or metric.traits.source in entries


@on_all_metrics
def test_options_follow_of_and_have_defaults(metric):
    names = [entry.name for entry in dataclasses.fields(metric)]
    assert "of" not in names[1:]
    assert metric().name.startswith(metric.traits.slug)
