"""The rooms of the package: who may import whom, and how large a file and a function may be."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "temporal_attr"

_MODELS = {"clips", "models"}
_ENGINES = {"gradients", "perturbations", "relevance"}
_METHODS = _MODELS | _ENGINES | {"measures", "attributions"}
_EVALUATION = _METHODS | {"zoo", "synthetic", "evaluation"}
# Data flows one way: what each room may import from, itself aside.
ALLOWED = {
    "clips": set(),
    "models": {"clips"},
    "zoo": _MODELS,
    "synthetic": _MODELS,
    "gradients": _MODELS,
    "perturbations": _MODELS,
    "relevance": _MODELS,
    "measures": {"clips"},
    "attributions": _METHODS,
    "evaluation": _EVALUATION,
    "views": _EVALUATION,
    "cli": _EVALUATION | {"views", "temporal_attr"},
}
# Files outside of the rooms, which every room may read and which read no room.
SHARED = {
    "_activation",
    "_checked",
    "_errors",
    "_files",
    "_memory",
    "_precision",
    "_require",
    "_run",
    "_seeding",
    "_takes",
    "_targets",
    "_told",
    "_typing",
}

# "About 300" lines a file and "about 30" a function: a tenth more, and half more, are not about.
FILE_LINES = 330
FUNCTION_LINES = 45


def name_of(path):
    """`temporal_attr.clips._clip`; a package has the name of its folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def room_of(name):
    """The room of a module, or the file outside of the rooms; of the package itself its name."""
    return name.split(".")[1] if "." in name else name


def imports(nodes, name, path, known):
    """The modules of the package that are imported in nodes, each with its line."""
    for node in nodes:
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                around = name.split(".")
                here = around if path.name == "__init__.py" else around[:-1]
                base = ".".join([*here[: len(here) - node.level + 1], *filter(None, [base])])
            # `from package import module` reads the module, and any other name the package.
            whole = [f"{base}.{alias.name}" for alias in node.names]
            targets = [one if one in known else base for one in whole]
        else:
            continue
        for target in targets:
            if target.split(".")[0] == PACKAGE.name:
                yield target, node.lineno


def upwards(files):
    """Imports that no room may make, wherever in a file they stand."""
    for name, (path, tree) in files.items():
        room = room_of(name)
        allowed = ALLOWED.get(room, set()) | SHARED | {room}
        for target, line in imports(ast.walk(tree), name, path, files):
            if room != PACKAGE.name and room_of(target) not in allowed:
                yield f"{name}:{line} imports {target}"


def at_import(tree):
    """What runs when a module is imported or its types are checked: all but bodies of functions."""
    if not isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        yield tree
        for part in ast.iter_child_nodes(tree):
            yield from at_import(part)


def circle(graph):
    """A circle of a graph, or None."""
    done, way = set(), []

    def search(name):
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return None
        way.append(name)
        found = next(filter(None, map(search, sorted(graph.get(name, ())))), None)
        way.pop()
        done.add(name)
        return found

    return next(filter(None, map(search, sorted(graph))), None)


def graph_of(files):
    """Which modules each imports when it is imported itself, or when its types are checked."""
    return {
        name: {target for target, _ in imports(at_import(tree), name, path, files)} - {name}
        for name, (path, tree) in files.items()
    }


def lines_of(function):
    """The lines of a function without its docstring."""
    start = function.lineno
    if ast.get_docstring(function) is not None and len(function.body) > 1:
        start += function.body[0].end_lineno - function.body[0].lineno + 1
    return function.end_lineno - start + 1


def parsed(**sources):
    """Modules of the package by name and source."""
    texts = {name.replace("__", "."): text for name, text in sources.items()}
    return {name: (Path(f"{name}.py"), ast.parse(text)) for name, text in texts.items()}


@pytest.fixture(scope="module")
def package():
    return {name: (path, ast.parse(path.read_text("utf-8"))) for name, path in FILES.items()}


def test_every_room_has_its_place(package):
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert rooms == ALLOWED.keys()
    assert {room_of(name) for name in package} - rooms == SHARED | {PACKAGE.name}


def test_the_table_has_a_direction():
    assert circle({room: allowed - {room} for room, allowed in ALLOWED.items()}) is None


def test_no_room_imports_upwards(package):
    assert list(upwards(package)) == []


def test_no_module_imports_itself_in_a_circle(package):
    assert circle(graph_of(package)) is None


def test_files_have_one_subject(package):
    lines = {name: path.read_text("utf-8").count("\n") for name, (path, _) in package.items()}
    assert {name: count for name, count in lines.items() if count > FILE_LINES} == {}


def test_functions_are_short(package):
    functions = {
        f"{name}:{node.lineno} {node.name}": lines_of(node)
        for name, (_, tree) in package.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert len(functions) > 500
    assert {name: count for name, count in functions.items() if count > FUNCTION_LINES} == {}


def test_every_folder_of_tests_is_a_package():
    # Otherwise two files of one name would be one module.
    tests = Path(__file__).parents[1]
    folders = {path.parent for path in tests.rglob("*.py")}
    assert len(folders) > 10
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


@pytest.mark.parametrize(
    "source",
    [
        "from temporal_attr.models import wrap",
        "from temporal_attr import models",
        "import temporal_attr.models._wrap",
        "from ..models._wrap import wrap",
        "from .. import models",
        "def late():\n    from temporal_attr.models import wrap",
        "from temporal_attr import wrap",
    ],
)
def test_each_way_of_importing_upwards_is_found(source):
    files = parsed(
        temporal_attr="", temporal_attr__models="", temporal_attr__models___wrap="",
        temporal_attr__clips___clip=source,
    )  # fmt: skip
    (found,) = upwards(files)
    assert found.startswith("temporal_attr.clips._clip:")
    assert list(upwards({**files, **parsed(temporal_attr__clips___clip="import torch")})) == []


def test_a_circle_is_found_and_a_late_import_is_none():
    one = "from temporal_attr.clips import _two"
    two = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ._one import name"
    late = "def late():\n    from ._one import name"
    files = {"temporal_attr__clips": "", "temporal_attr__clips___one": one}
    names = ["temporal_attr.clips._one", "temporal_attr.clips._two", "temporal_attr.clips._one"]
    assert circle(graph_of(parsed(**files, temporal_attr__clips___two=two))) == names
    assert circle(graph_of(parsed(**files, temporal_attr__clips___two=late))) is None
