"""Fixtures of the whole suite."""

import os
from pathlib import Path

import jaxtyping
import matplotlib as mpl
import numpy as np
import pytest
import torch

from tests.helpers import simulations

mpl.use("agg")

VIDEOS = Path(__file__).parents[2] / "shared" / "videos"


MEASURED = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption(
        "--note-simulations", metavar="FILE", help="write what the simulations measured to a table"
    )


def pytest_configure(config):
    config.stash[MEASURED] = []
    if config.getoption("--note-simulations") and config.getoption("numprocesses", 0):
        raise pytest.UsageError("--note-simulations notes what one process measured: add -n 0")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    listed = (Path(__file__).parent / "on_demand.txt").read_text("utf-8").splitlines()
    for item in items:
        if item.nodeid in listed:
            item.add_marker(pytest.mark.simulation)


def pytest_sessionfinish(session):
    file = session.config.getoption("--note-simulations")
    if file and session.config.stash[MEASURED]:
        Path(file).write_text(simulations.table(session.config.stash[MEASURED], file), "utf-8")


@pytest.fixture
def check_measured(request):
    """Assert that a measured number is where theory has it, and note it for the table."""

    def check_measured(what, value, low, high, trials):
        row = simulations.Measured(request.node.name, what, value, low, high, trials)
        request.config.stash[MEASURED].append(row)
        assert low <= value <= high, row

    return check_measured


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    # Processes beside each other have a core each.
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)


@pytest.fixture
def one_thread(_seeded):
    """For models so small that they lose more than they gain by a second thread."""
    torch.set_num_threads(1)


@pytest.fixture
def as_user():
    """What a user meets, who has no shape checks at run time: our own errors, not jaxtyping's."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def shapes_checked(as_user):
    """Shapes checked at run time again, in a file whose tests are run `as_user`."""
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def without_trials(monkeypatch):
    """What a model does in runs only, without what it is tried on once, before the first."""
    monkeypatch.setattr("temporal_attr.attributions._method.require_as_assumed", lambda trial: None)
    monkeypatch.setattr(
        "temporal_attr.attributions._predictions.predicts_by_frame", lambda model, clip: True
    )


@pytest.fixture
def real_video():
    """A function from the name of a real clip to its path; skips by name where it is absent."""

    def find(name):
        path = VIDEOS / name
        if not path.is_file():
            pytest.skip(f"needs the real clip {name}, which is not beside this checkout")
        return path

    return find


@pytest.fixture(scope="session")
def grey_levels():
    """The grey level of each frame of `grey_video`, far enough apart to survive the codec."""
    return np.random.default_rng(0).permutation(np.linspace(20, 235, 40).round().astype(int))


@pytest.fixture(scope="session")
def grey_video(tmp_path_factory, grey_levels):
    """A video of 40 flat frames, 48 x 64, each of a grey level of its own."""
    from temporal_attr.clips import write_video

    frames = [np.full((48, 64, 3), level, np.uint8) for level in grey_levels]
    return write_video(frames, tmp_path_factory.mktemp("video") / "grey.webm", fps=10)
