"""Tables have the numbers of the tensors, each where it belongs."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from temporal_attr import Clip, ClipError, OptionError
from tests.results.made import FRAMES, NAMES, made, one_clip
from tests.results.test_storage import own


@pytest.fixture(scope="module")
def results():
    names = ("gradient", "lrp", "contrastive", "shuffles", "rescaled", "shuffle_set")
    return {name: made(name) for name in (*names, "shuffle_curve", "shuffles_of_segments")}


def clips_of(batch=2):
    return [
        Clip(torch.zeros(1, FRAMES, 3, 8, 8), tuple(range(FRAMES)), times, 4.0, f"{number}.mp4")
        for number, times in enumerate(
            [tuple(0.25 * t + number for t in range(FRAMES)) for number in range(batch)]
        )
    ]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("gradient", ["frame_scores"]),
        ("lrp", ["frame_scores"]),
        ("shuffles", ["frame_ratios", "ordered_scores"]),
        (
            "rescaled",
            ["frame_scores", "time_contribution", "accuracy_contribution", "kept", "keyframes"],
        ),
    ],
)
def test_a_row_for_each_frame(results, name, columns):
    result, clips = replace(results[name], class_names=NAMES), clips_of()
    table = result.to_dataframe(clips)
    known = ["clip", "frame", "source", "timestamp", "target", "class_name"]
    assert list(table.columns) == [*known, *columns]
    assert len(table) == 2 * FRAMES
    for row in table.itertuples():
        assert row.timestamp == clips[row.clip].timestamps[row.frame]
        assert row.source == f"{row.clip}.mp4"
        assert row.target == result.target[row.clip].item()
        assert row.class_name == NAMES[row.target]
        for column in columns:
            value = getattr(result, column)[row.clip, row.frame].item()
            np.testing.assert_equal(getattr(row, column), value)
    assert not table.duplicated(["clip", "frame"]).any()
    for column in columns:
        tensor = getattr(result, column)
        assert table[column].dtype == tensor.numpy().dtype
    without = result.to_dataframe()
    pd.testing.assert_frame_equal(without, table.drop(columns=["source", "timestamp"]))


def test_a_row_for_each_clip(results):
    result = results["shuffles"]
    table = result.to_dataframe(table="clips")
    probabilities = result.logits.softmax(1)
    assert len(table) == 2
    for row in table.itertuples():
        assert row.logit == result.logits[row.clip, row.target].item()
        assert row.probability == probabilities[row.clip, row.target].item()
        assert row.top_class == result.logits[row.clip].argmax().item()
        for name, ends in result.intervals.items():
            found = [getattr(row, name), getattr(row, f"{name}_low"), getattr(row, f"{name}_high")]
            expected = [getattr(result, name)[row.clip].item(), *ends[row.clip].tolist()]
            np.testing.assert_equal(found, expected)
        assert row.static_ratio == result.static_ratio[row.clip].item()
        assert row.left_out == result.left_out[row.clip].item()
    assert not table.columns.duplicated().any()
    delta = results["lrp"].to_dataframe(table="clips")["convergence_delta"]
    assert delta.tolist() == results["lrp"].convergence_delta.tolist()


def test_a_row_for_each_entry_of_a_matrix(results):
    result = results["contrastive"]
    table = result.to_dataframe()
    assert list(table.columns) == [
        "clip", "timestep", "read_timestep", "target", "class_name", "matrix"
    ]  # fmt: skip
    assert len(table) == result.matrix.numel()
    for row in table.itertuples():
        assert row.matrix == result.matrix[row.clip, row.timestep, row.read_timestep].item()
    back = table.pivot_table("matrix", ["clip", "timestep"], "read_timestep").to_numpy()
    np.testing.assert_array_equal(back.reshape(result.matrix.shape), result.matrix.numpy())


@pytest.mark.parametrize(
    ("name", "table", "places"),
    [
        ("gradient", "influence", ["clip", "timestep", "frame"]),
        ("gradient", "step_logits", ["clip", "timestep", "class"]),
        ("gradient", "logits", ["clip", "class"]),
        ("contrastive", "frame_matrix", ["clip", "timestep", "frame"]),
        ("contrastive", "ranges", ["clip", "timestep"]),
        ("shuffles", "shuffled_scores", ["clip", "order", "frame"]),
        ("shuffles", "flow", ["clip", "pair"]),
        ("lrp", "attribution", ["clip", "frame", "channel", "height", "width"]),
    ],
)
def test_a_row_for_each_entry_of_any_tensor(results, name, table, places):
    result = results[name]
    found = result.to_dataframe(table=table)
    tensor = getattr(result, table)
    assert len(found) == tensor.numel()
    values = tensor.numpy()[tuple(found[place].to_numpy() for place in places)]
    np.testing.assert_array_equal(found[table].to_numpy(), values)
    np.testing.assert_array_equal(result.target.numpy()[found["clip"]], found["target"])
    assert not found.duplicated(places).any()


def test_a_matrix_has_times_too_where_it_has_frames(results):
    table = results["gradient"].to_dataframe(clips_of(), table="influence")
    assert [row.timestamp for row in table.itertuples()] == [
        0.25 * row.frame + row.clip for row in table.itertuples()
    ]
    steps = results["contrastive"].to_dataframe(clips_of())
    assert "timestamp" not in steps
    assert steps["source"].tolist() == [f"{clip}.mp4" for clip in steps["clip"]]


def test_a_class_without_a_name_has_none(results):
    table = replace(results["gradient"], class_names=()).to_dataframe()
    assert table["class_name"].isna().all()
    assert table["target"].tolist() == [1] * FRAMES + [2] * FRAMES


def test_one_clip_need_not_be_in_a_list():
    result = replace(
        own(), **{name: getattr(own(), name)[:1] for name in ("logits", "target", "attribution")},
        frame_scores=own().frame_scores[:1],
    )  # fmt: skip
    table = result.to_dataframe(one_clip())
    assert table["timestamp"].tolist() == list(one_clip().timestamps)
    assert set(table["source"]) == {"here.mp4"}


def test_a_result_of_ones_own_has_its_tables():
    result = own()
    assert result.to_dataframe()["frame_scores"].tolist() == result.frame_scores.ravel().tolist()


def test_what_is_none_has_no_column_and_no_table(results):
    result = replace(results["rescaled"], keyframes=None)
    assert "keyframes" not in result.to_dataframe()
    refused(
        '"frames", "clips", "logits", "target", "attribution", "frame_scores".*, got \'keyframes\'',
        result.to_dataframe,
        table="keyframes",
    )


def test_a_set_has_a_row_for_each_clip(results):
    found = results["shuffle_set"]
    table = found.to_dataframe()
    assert table["clip"].tolist() == ["a wave", "a jump"]
    for name, values in found.values.items():
        columns = table[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        np.testing.assert_array_equal(columns[:, 0], values.numpy())
        np.testing.assert_array_equal(columns[:, 1:], found.intervals[name].numpy())
    assert len(table.columns) == 1 + 3 * len(found.values)


def test_a_set_of_segments_says_where_they_lie(results):
    segments = results["shuffles_of_segments"].segments[0]
    table = segments.to_dataframe()
    assert table["start"].tolist() == list(segments.starts)
    assert table["stop"].tolist() == [start + segments.size for start in segments.starts]


def test_a_curve_has_a_row_for_each_length(results):
    curve = results["shuffle_curve"]
    table = curve.to_dataframe()
    assert len(table) == 2 * len(curve.lengths)
    for row in table.itertuples():
        place = curve.lengths.index(row.length)
        assert row.shuffling == curve.shufflings[place]
        assert row.orders == curve.orders[place]
        assert row.target == curve.target[row.clip].item()
        assert row.class_name == NAMES[row.target]
        for name, values in curve.values.items():
            np.testing.assert_equal(getattr(row, name), values[row.clip, place].item())
            ends = [getattr(row, f"{name}_low"), getattr(row, f"{name}_high")]
            np.testing.assert_equal(ends, curve.intervals[name][row.clip, place].tolist())


def refused(text, function, *arguments, kind=OptionError, **options):
    with pytest.raises(kind, match=text) as caught:
        function(*arguments, **options)
    assert caught.value.remedy.endswith(".")


def test_what_does_not_fit_is_named(results):
    result = results["gradient"]
    refused(
        'a table of this result: "frames", "clips", .*got \'what\'',
        result.to_dataframe,
        table="what",
    )
    refused("got 'step_weights'", result.to_dataframe, table="step_weights")
    text = "a clip for each of the 2 that were explained, got 1"
    refused(text, result.to_dataframe, one_clip(), kind=ClipError)
    short = [Clip.from_tensor(torch.zeros(1, 5, 3, 8, 8))] * 2
    text = "the clip that was explained, with 6 frames, got one with 5"
    refused(text, result.to_dataframe, short, kind=ClipError)


def test_pandas_is_asked_for_only_when_it_is_needed(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    text = "pandas to be installed.*got no such module. .*temporal-attr.tables"
    for name in ("gradient", "shuffle_set", "shuffle_curve"):
        refused(text, results[name].to_dataframe)
