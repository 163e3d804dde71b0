"""What the documentation says that the code knows better: tables, names, links."""

import importlib
import re
from pathlib import Path

import pytest

from temporal_attr.attributions import METHODS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
ROOMS = (
    "attributions",
    "clips",
    "evaluation",
    "gradients",
    "measures",
    "models",
    "perturbations",
    "relevance",
    "synthetic",
    "views",
    "zoo",
)
METHODS_BY_NAME = {method.__name__: method for method in METHODS}


def rows(path, head):
    """The rows of the table of a page that begins with this heading."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = lines.index(head) + 2
    found = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        found.append(line)
    return found


def kebab(name):
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name)
    return apart.replace("LRPT", "LRP-T").replace("CAMP", "CAM-P").lower()


@pytest.mark.parametrize("method", METHODS)
def test_the_name_at_the_command_line_is_that_of_the_class(method):
    assert method.traits.slug == kebab(method.__name__)


def test_the_readme_has_each_method_as_its_traits_say():
    expected = [
        f"| `{method.__name__}` | {method.traits.question} | {method.traits.gives} "
        f"`({', '.join(method.traits.axes.split())})` |"
        for method in METHODS
    ]
    assert rows(ROOT / "README.md", "| class | what it answers | `attribute` gives |") == expected


def test_the_costs_page_has_each_method_as_its_traits_say():
    found = rows(DOCS / "costs.md", "| method | passes of `attribute` |")
    assert found == [f"| `{method.__name__}` | {method.traits.cost} |" for method in METHODS]


@pytest.mark.parametrize("method", METHODS)
def test_sources_are_in_the_bibliography(method):
    entries = re.findall(r"^@\w+\{(\w+),", (DOCS / "references.bib").read_text(), re.M)
    assert not method.traits.source or method.traits.source in entries


@pytest.mark.parametrize("room", ROOMS)
def test_the_api_page_has_every_public_name(room):
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    module = importlib.import_module(f"temporal_attr.{room}")
    # Sphinx lists all that these rooms hand on.
    if f".. automodule:: temporal_attr.{room}\n   :members:\n   :imported-members:" in page:
        return
    missing = [name for name in module.__all__ if not re.search(rf"\b{name}\b", page)]
    assert missing == []


def test_the_api_page_names_nothing_that_is_not_there():
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    module = "temporal_attr"
    for line in page.splitlines():
        if line.startswith(".. currentmodule:: "):
            module = line.split(":: ")[1]
        elif line.startswith((".. autoclass:: ", ".. autofunction:: ", ".. autodata:: ")):
            name = line.split(":: ")[1]
            home, _, last = name.rpartition(".") if "." in name else (module, ".", name)
            assert hasattr(importlib.import_module(home), last), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_results_that_a_page_speaks_of_are_there_and_linked(page):
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"benchmarks/results/[\w.]+", text))
    for name in named:
        assert (ROOT / name).is_file(), name
    if page.parent == DOCS:
        links = set(re.findall(r"\{download\}`[^<`]*<\.\./(benchmarks/results/[\w.]+)>`", text))
        links |= set(re.findall(r"```\{image\} \.\./(benchmarks/results/[\w.]+)", text))
        assert named == links, f"not linked: {sorted(named - links)}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_a_page_gives_name_scripts_that_are_there(page):
    for script in re.findall(r"python (benchmarks/\w+\.py)", page.read_text(encoding="utf-8")):
        assert (ROOT / script).is_file(), script
