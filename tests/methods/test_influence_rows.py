"""Influence of chosen timesteps: the rows of the whole matrix, told by their numbers everywhere."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from temporal_attr import TemporalGradient, TemporalGradientResult, load_result, views
from temporal_attr._errors import OptionError, ResultError
from temporal_attr.models import VideoModel
from tests.helpers.checks import assert_near
from tests.helpers.families import family

ROWS = [4, 0, -1]


class Whole(VideoModel):
    """A model that is not framewise, with as many timesteps as frames."""

    layout = "batch time channel height width"

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @property
    def stages(self):
        return (torch.tanh, self.inner.features)

    def head(self, features):
        return self.inner.head(features)

    def frame_head(self, features):
        return self.inner.frame_head(features)


def framewise():
    return family("gru_mean").build()[0].double()


def whole():
    return Whole(framewise()).double().eval()


@pytest.fixture(scope="module")
def clip():
    return family("gru_mean").clip(torch.float64)


@pytest.fixture(scope="module")
def found(clip):
    return TemporalGradient(framewise()).explain(clip, 1, influence=ROWS)


@pytest.mark.parametrize("build", [framewise, whole])
@pytest.mark.parametrize("memory", ["whole", "framewise", "checkpoint", "offload"])
def test_rows_are_those_of_the_whole_matrix(build, memory, clip):
    if memory == ("checkpoint" if build is framewise else "framewise"):
        pytest.skip("no such path")
    model = build()
    method = TemporalGradient(model, memory=memory)
    every = method.explain(clip, 1)
    steps = every.influence.shape[1]
    last = steps - 1
    chosen = method.explain(clip, 1, influence=ROWS)
    assert every.rows == tuple(range(steps))
    assert chosen.rows == (4, 0, last)
    assert_near(chosen.influence, every.influence[:, [4, 0, last]], 1e-13)
    assert torch.equal(chosen.step_logits, every.step_logits)
    assert chosen.run.backward_passes < every.run.backward_passes


def test_a_row_costs_one_backward_pass(clip):
    method = TemporalGradient(whole())
    assert method.explain(clip, 1, influence=[2]).run.backward_passes == 2
    assert method.explain(clip, 1, influence=range(1, 4)).run.backward_passes == 4


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], r"True, False or timesteps, got \[\]"),
        ([0, 6], r"each timestep of influence a whole number from -6 to 5, got 6"),
        ([-7], "from -6 to 5, got -7"),
        ([1, 1], "each timestep of influence once"),
        ([5, -1], r"\[5, -1\], in which 5 of 6 is there twice"),
        ([0.5], "influence"),
        ([True], "influence"),
        ("first", "influence"),
        (2, "influence"),
        (None, "influence"),
    ],
)
def test_rows_that_are_none_are_named(clip, rows, said):
    with pytest.raises(OptionError, match=said):
        TemporalGradient(framewise()).explain(clip, 1, influence=rows)


def test_the_summary_says_how_many_there_are(found, clip):
    assert "3 of 6 timesteps; 90% of a timestep's sensitivity" in found.summary()
    assert " of 6 timesteps" not in TemporalGradient(framewise()).explain(clip, 1).summary()


def test_files_and_records_say_which_rows_these_are(found, tmp_path):
    assert found.rows == (4, 0, 5)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["rows"] == [4, 0, 5]
    found.save(tmp_path / "saved")
    again = load_result(tmp_path / "saved")
    assert isinstance(again, TemporalGradientResult)
    assert again.rows == (4, 0, 5)
    assert torch.equal(again.influence, found.influence)


def test_results_that_do_not_say_hold_all_timesteps(found):
    assert replace(found, rows=None).rows == (0, 1, 2)
    with pytest.raises(ResultError, match="a timestep for each of the 3 rows"):
        replace(found, rows=(1, 2))
    assert replace(found, influence=None, rows=None).rows is None


def test_a_table_names_the_timesteps(found):
    pytest.importorskip("pandas")
    table = found.to_dataframe(table="influence")
    assert table["timestep"].unique().tolist() == [4, 0, 5]
    row = table[(table["clip"] == 1) & (table["timestep"] == 5)]
    np.testing.assert_array_equal(row["influence"], found.influence[1, 2].numpy())


def test_pictures_number_the_rows(found):
    for figure, place in (
        (views.influence_map(found), 0),
        (views.glance(found), 1),
    ):
        axes = figure.axes[place]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["4", "0", "5"]
        assert axes.get_yticks().tolist() == [0, 1, 2]


def test_the_command_line_takes_rows():
    from temporal_attr.cli._options import options_of, values_of

    option = options_of(TemporalGradient)["influence"]
    assert (option.kind.switch, option.kind.forms) == (True, ("N,N,...",))
    for given, value in (("0,-1", (0, -1)), (True, True), (False, False)):
        assert values_of(TemporalGradient, {"influence": given})["explain"] == {"influence": value}
    with pytest.raises(OptionError, match="--influence to be whole numbers with commas, got a"):
        values_of(TemporalGradient, {"influence": "a"})
