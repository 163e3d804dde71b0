"""The suite: every form of a method, what is kept, and what goes on where it stopped."""

import dataclasses
import json
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from captum.attr import InputXGradient, NoiseTunnel, Saliency

from temporal_attr import (
    LRP,
    RISE,
    FrameMaskingTSR,
    ModelError,
    OptionError,
    ResultError,
    TargetError,
    TemporalGradient,
)
from temporal_attr.evaluation import (
    AUPRC,
    Comparison,
    Deletion,
    Example,
    Metric,
    MetricTraits,
    Score,
    Suite,
    Truth,
    planted_clips,
)
from temporal_attr.evaluation.suite._compared import compared
from temporal_attr.evaluation.suite._digest import seed_of
from temporal_attr.synthetic import Keyframe
from temporal_attr.zoo import build_model
from tests.helpers.checks import assert_refused

pytestmark = pytest.mark.usefixtures("as_user")


@dataclasses.dataclass(frozen=True)
class Mean(Metric):
    """The mean score of frames, so that a row can be told from any other."""

    traits: ClassVar[MetricTraits] = MetricTraits(
        "mean", "How large?", "complexity", (), True, -math.inf, math.inf, "0", ""
    )

    def score(self, case):
        return Score(case.scores("frames").mean(), curves={"scores": tuple(case.scores("frames"))})


@dataclasses.dataclass(frozen=True)
class Again(Metric):
    """What the method says of the clip turned round, and with another seed."""

    traits: ClassVar[MetricTraits] = MetricTraits(
        "again", "And again?", "sanity", ("method",), None, -math.inf, math.inf, "A", ""
    )

    def score(self, case):
        explain = self.require_explain(case)
        found = explain(case.clip.flip(1), case.target, seed=case.seed + 1)
        return Score(float(found.frame_scores[0]))


@dataclasses.dataclass(frozen=True)
class RandomizedTwin(Metric):
    """What the method says of another model."""

    traits: ClassVar[MetricTraits] = MetricTraits(
        "twin", "And of another?", "sanity", ("method",), None, -math.inf, math.inf, "A", ""
    )

    def score(self, case):
        explain = self.require_explain(case)
        found = explain(case.clip, case.target, model=lambda clip: -linear(clip))
        return Score(float(found.frame_scores[0]))


@dataclasses.dataclass(frozen=True)
class Broken(Metric):
    """One with a fault."""

    traits: ClassVar[MetricTraits] = MetricTraits("broken", "?", "sanity", (), None, 0, 1, "0", "")

    def score(self, case):
        raise ZeroDivisionError("of my own")


def linear(clip):
    """Two classes: the sum of brightness, weighted by the frame, and its opposite."""
    weights = torch.arange(1, clip.shape[1] + 1).to(clip)
    values = (clip.mean((2, 3, 4)) * weights).sum(1)
    return torch.stack([values, -values], 1)


def clips(count=3, frames=4):
    random = torch.Generator().manual_seed(0)
    truth = Truth(frames=torch.tensor([False] * (frames - 1) + [True]))
    drawn = torch.rand(count, 1, frames, 3, 6, 6, generator=random)
    return [Example(clip, 0, truth, f"clip {place}") for place, clip in enumerate(drawn)]


def bright(clip, target):
    return clip.mean((2, 3, 4))


def row(table, **known):
    for name, value in known.items():
        table = table[table[name] == value]
    assert len(table) == 1, table
    return table.iloc[0]


def test_each_form_of_a_method_gives_its_own_scores():
    examples = clips(1)
    clip, weights = examples[0].clip, torch.arange(1.0, 5)
    forms = {
        "class": TemporalGradient,
        "slug": "temporal-gradient",
        "made": TemporalGradient(linear),
        "of a model": lambda network: TemporalGradient(network, "logit"),
        "of clip and target": bright,
        "of model, clip and target": lambda model, clip, target: (
            model(clip)[:, :1] * clip[:, :, 0, 0, 0]
        ),
        "Captum's": Saliency,
        "centre": "centre",
    }
    table = Suite(linear, forms, examples, [Mean()]).run(show_progress=False).table
    found = {name: row(table, method=name).value for name in forms}
    # The gradient at each of 108 values is the weight over 108; a frame's score is its norm.
    expected = float((weights / 108**0.5).mean())
    for name in ("class", "slug", "made", "of a model", "Captum's"):
        assert found[name] == pytest.approx(expected, rel=1e-6)
    assert found["of clip and target"] == pytest.approx(float(clip.mean()), rel=1e-6)
    by_model = float((linear(clip)[0, 0] * clip[0, :, 0, 0, 0]).mean())
    assert found["of model, clip and target"] == pytest.approx(by_model, rel=1e-6)


def test_passes_of_captums_methods_are_counted():
    def noisy(model):
        return NoiseTunnel(InputXGradient(model))

    forms = {"saliency": Saliency, "noisy": noisy, "mine": bright}
    table = Suite(linear, forms, clips(1), [Mean()]).run(show_progress=False).table
    taken = {name: row(table, method=name).evaluations for name in forms}
    # NoiseTunnel draws 5 clips by default; a forward and a backward pass count 1 and 2.
    assert taken["saliency"] == 3
    assert taken["noisy"] == 15
    assert math.isnan(taken["mine"])


def test_a_users_method_is_left_as_it_is():
    method = Saliency(linear)
    Suite(linear, [method], clips(1), [Mean()]).run(show_progress=False)
    assert method.forward_func is linear


def test_a_method_of_another_model_is_told():
    table = (
        Suite(lambda clip: 2 * linear(clip), [TemporalGradient(linear)], clips(1), [Mean()])
        .run(show_progress=False)
        .table
    )
    assert table.failed.all()
    assert "made for another model" in table.note[0]


def test_an_error_is_a_row_and_the_rest_goes_on():
    def bad(clip, target):
        raise RuntimeError("no such thing")

    suite = Suite(linear, {"bad": bad, "good": bright}, clips(2), [Mean(), Broken(), AUPRC()])
    found = suite.run(show_progress=False)
    assert len(found.table) == 2 * 2 * 3
    bad_rows = found.table[found.table.method == "bad"]
    assert bad_rows.failed.all()
    assert bad_rows.value.isna().all()
    assert set(bad_rows.note) == {"RuntimeError: no such thing"}
    broken = row(found.table, method="good", metric="broken", clip="clip 0")
    assert broken.failed
    assert broken.note == "ZeroDivisionError: of my own"
    assert len(found.failures) == 2 * 3 + 2
    assert not row(found.table, method="good", metric="mean", clip="clip 1").failed
    assert "8 of 12 rows failed" in found.summary()


def test_what_a_metric_asks_for_and_is_not_there_is_no_fault():
    found = Suite(linear, [bright], clips(1), [AUPRC("pixels")]).run(show_progress=False)
    only = found.table.iloc[0]
    assert math.isnan(only.value)
    assert not only.failed
    assert "scores of pixels" in only.note


def test_what_a_metric_takes_is_counted_beside_what_the_explanation_took():
    suite = Suite(linear, {"rise": lambda model: RISE(model, 9, (2, 2, 2))}, clips(1), [Again()])
    only = suite.run(show_progress=False).table.iloc[0]
    assert only.evaluations == 10
    assert only.metric_evaluations == 10


def test_another_seed_makes_a_random_method_anew():
    suite = Suite(linear, ["random"], clips(1), [Again(), Mean()], seed=5)
    table = suite.run(show_progress=False).table
    seed = seed_of(5, "clip 0", "metrics") + 1
    drawn = torch.rand(1, 4, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    assert row(table, metric="again").value == pytest.approx(float(drawn[0, 0].sum()), rel=1e-6)


def test_budgets_reach_the_methods():
    table = (
        Suite(linear, ["rise", "integrated-gradients"], clips(1), [Mean()], budget=30)
        .run(show_progress=False)
        .table
    )
    assert row(table, method="rise").evaluations == 30
    # 9 steps of a forward and a backward pass, and 2 forward passes for clip and baseline.
    assert row(table, method="integrated-gradients").evaluations == 29


def test_clips_that_the_model_gets_wrong_are_left_out():
    right, wrong, third = clips(3)
    wrong = dataclasses.replace(wrong, target=1)
    found = Suite(linear, [bright], [right, wrong, third], [Mean()]).run(show_progress=False)
    assert list(found.table["clip"]) == ["clip 0", "clip 2"]
    (left,) = found.left_out
    assert (left.clip, left.reason) == ("clip 1", "the model predicts class 0, not 1")
    everything = Suite(linear, [bright], [right, wrong], [Mean()], only_correct=False)
    assert len(everything.run(show_progress=False).table) == 2


def test_without_a_target_the_predicted_class_is_explained():
    example = dataclasses.replace(clips(1)[0], target=None)
    negative = Example(-example.clip, name="negative")
    suite = Suite(linear, {"lrp": lambda model, clip, target: clip[:, :, 0, 0, 0] * 0 + target},
                  [example, negative], [Mean()])  # fmt: skip
    assert list(suite.run(show_progress=False).table.value) == [0, 1]


class Stopping:
    """A method that counts its calls, and is stopped at one of them.

    It has no attributes of its own, by which it would be another method after each call.
    """

    __slots__ = ("at", "calls", "error")

    def __init__(self, at=None, error=KeyboardInterrupt):
        self.calls, self.at, self.error = 0, at, error

    def __call__(self, clip, target):
        self.calls += 1
        if self.calls == self.at:
            raise self.error
        return bright(clip, target)


def known(table):
    return table.drop(columns=["seconds", "metric_seconds", "peak_memory"])


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_stopped_run_goes_on_where_it_was(tmp_path, at):
    whole = Suite(linear, {"m": Stopping(), "chance": "random"}, clips(), [Mean(), AUPRC()])
    expected = whole.run(show_progress=False)
    stopped = Stopping(min(at, 3))
    with pytest.raises(KeyboardInterrupt):
        Suite(linear, {"m": stopped, "chance": "random"}, clips(), [Mean(), AUPRC()]).run(
            tmp_path, show_progress=False
        )
    again = Stopping()
    found = Suite(linear, {"m": again, "chance": "random"}, clips(), [Mean(), AUPRC()]).run(
        tmp_path, show_progress=False
    )
    assert again.calls == 3 - (stopped.calls - 1)
    assert known(found.table).equals(known(expected.table))
    assert found.curves.equals(expected.curves)


def test_what_is_done_can_be_had_without_a_folder():
    found = Suite(linear, {"m": Stopping(2)}, clips(), [Mean()]).run(
        show_progress=False, on_stop="keep"
    )
    assert list(found.table["clip"]) == ["clip 0"]


def test_more_methods_clips_and_metrics_compute_only_what_is_new(tmp_path):
    first, second = Stopping(), Stopping()
    Suite(linear, {"m": first}, clips(2), [Mean()]).run(tmp_path, show_progress=False)
    found = Suite(linear, {"m": first, "n": second}, clips(3), [Mean()]).run(
        tmp_path, show_progress=False
    )
    assert (first.calls, second.calls) == (3, 3)
    assert len(found.table) == 6
    # A new metric needs the explanation again, and leaves the old metric's rows as they are.
    Suite(linear, {"m": first}, clips(3), [Mean(), AUPRC()]).run(tmp_path, show_progress=False)
    assert first.calls == 6
    # Another seed is other work.
    Suite(linear, {"m": first}, clips(3), [Mean()], seed=1).run(tmp_path, show_progress=False)
    assert first.calls == 9


def test_other_weights_are_other_work(tmp_path):
    model = build_model("late-fusion", classes=2, widths=(4, 8)).eval()
    counted = Stopping()
    examples = [dataclasses.replace(one, target=None) for one in clips(1)]
    for _ in range(2):
        Suite(model, {"m": counted}, examples, [Mean()]).run(tmp_path, show_progress=False)
    assert counted.calls == 1
    with torch.no_grad():
        next(model.parameters()).add_(1)
    Suite(model, {"m": counted}, examples, [Mean()]).run(tmp_path, show_progress=False)
    assert counted.calls == 2


class Reading:
    """A model with what no state dict holds."""

    def __init__(self, frame):
        self.frame = frame

    def __call__(self, clip):
        value = clip[:, self.frame].mean((1, 2, 3))
        return torch.stack([value, -value], 1)


def reading(frame):
    return lambda clip: 2 * Reading(frame)(clip)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"truth": 0}, {"truth": 3}),
        ({"methods": {"m": RISE(linear, 4)}}, {"methods": {"m": RISE(linear, 8)}}),
        ({"methods": {"m": lambda model: RISE(model, 4)}},
         {"methods": {"m": lambda model: RISE(model, 8)}}),
        ({"models": Reading(0)}, {"models": Reading(1)}),
        ({"models": {"m": reading(0)}}, {"models": {"m": reading(1)}}),
        ({"metrics": [Deletion(baselines=torch.zeros(1, 4, 3, 6, 6))]},
         {"metrics": [Deletion(baselines=torch.ones(1, 4, 3, 6, 6))]}),
    ],
)  # fmt: skip
def test_what_changed_is_other_work(tmp_path, before, after):
    def table(changes, store):
        changes = dict(changes)
        true = torch.arange(4) == changes.pop("truth", 3)
        example = dataclasses.replace(clips(1)[0], truth=Truth(frames=true))
        usual = {"models": linear, "methods": {"m": bright}, "metrics": [AUPRC()]}
        suite = Suite(clips=[example], only_correct=False, **{**usual, **changes})
        return known(suite.run(store, show_progress=False).table)

    table(before, tmp_path)
    found, fresh = table(after, tmp_path), table(after, None)
    assert found.drop(columns="metric").equals(fresh.drop(columns="metric"))
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert len(lines) == 2
    table(after, tmp_path)
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2


def test_what_failed_is_tried_again(tmp_path):
    flaky = Stopping(1, OSError)
    suite = Suite(linear, {"m": flaky}, clips(1), [Mean()])
    assert suite.run(tmp_path, show_progress=False).table.failed.all()
    assert not suite.run(tmp_path, show_progress=False).table.failed.any()
    assert not suite.run(tmp_path, show_progress=False).table.failed.any()
    assert flaky.calls == 2


def test_a_method_that_writes_into_the_clip_spoils_nothing():
    def writes(clip, target):
        clip.zero_()
        return torch.rand(4)

    examples = clips(2)
    before = [one.clip.clone() for one in examples]
    methods = {"writes": writes, "mine": bright}
    table = Suite(linear, methods, examples, [Mean()]).run(show_progress=False).table
    expected = Suite(linear, {"mine": bright}, examples, [Mean()]).run(show_progress=False).table
    assert list(table[table.method == "mine"].value) == list(expected.value)
    assert all(torch.equal(one.clip, kept) for one, kept in zip(examples, before, strict=True))


def test_others_random_numbers_come_from_the_seed_and_go_nowhere():
    def drawing(clip, target):
        return torch.rand(4)

    suite = Suite(linear, {"m": drawing}, clips(2), [Mean()])
    torch.manual_seed(1)
    first = suite.run(show_progress=False).table
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), after)
    second = suite.run(show_progress=False).table
    assert known(first).equals(known(second))
    assert len(set(first.value)) == 2
    # A clip has its numbers wherever it stands in the list.
    turned = Suite(linear, {"m": drawing}, clips(2)[::-1], [Mean()]).run(show_progress=False)
    assert list(turned.table.value) == list(first.value)[::-1]


def test_a_method_of_clip_and_target_is_asked_of_no_other_model():
    suite = Suite(linear, {"mine": bright}, clips(1), [RandomizedTwin()])
    only = suite.run(show_progress=False).table.iloc[0]
    assert math.isnan(only.value)
    assert "can be asked of another model" in only.note
    two = {"a": linear, "b": lambda clip: -linear(clip)}
    assert_refused(OptionError, "each of several models.*mine", Suite, two, {"mine": bright},
                   clips(1), [Mean()])  # fmt: skip


def test_a_model_in_training_mode_is_refused():
    model = build_model("late-fusion", classes=2, widths=(4, 8)).train()
    assert_refused(ModelError, "evaluation mode", Suite, model, [bright], clips(1), [Mean()])


def test_classes_that_do_not_exclude_each_other_are_predicted_by_themselves():
    class Both(torch.nn.Module):
        activation = "sigmoid"

        def forward(self, clip):
            return torch.tensor([[2.0, 3.0]]).expand(len(clip), 2)

    found = Suite(Both().eval(), [bright], clips(1), [Mean()]).run(show_progress=False)
    assert len(found.table) == 1


def test_a_target_that_the_model_does_not_have_is_named():
    example = dataclasses.replace(clips(1)[0], target=7)
    suite = Suite(linear, [bright], [example], [Mean()])
    assert_refused(TargetError, "a target from 0 to 1.*got 7", suite.run, show_progress=False)
    assert_refused(OptionError, "target", Example, clips(1)[0].clip, -1)


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    inner = Suite(linear, {"m": bright}, clips(1), [Mean()])

    def nested(clip, target):
        inner.run(tmp_path, show_progress=False)
        return bright(clip, target)

    table = (
        Suite(linear, {"n": nested}, clips(1), [Mean()]).run(tmp_path, show_progress=False).table
    )
    assert "another run that writes to it" in table.note[0]


def test_names_that_look_like_numbers_or_gaps_stay_text(tmp_path):
    examples = [dataclasses.replace(one, name=f"000{place}") for place, one in enumerate(clips(2))]
    found = Suite(linear, {"NA": bright}, examples, [Mean()]).run(show_progress=False)
    read = Comparison.load(found.save(tmp_path))
    assert list(read.table["clip"]) == ["0000", "0001"]
    assert set(read.table["method"]) == {"NA"}


def test_rows_of_an_earlier_version_are_read(tmp_path):
    suite = Suite(linear, {"m": bright}, clips(1), [Mean()])
    suite.run(tmp_path, show_progress=False)
    rows = tmp_path / "rows.jsonl"
    entry = json.loads(rows.read_text())
    for row in entry["rows"].values():
        del row["metric_seconds"], row["curves"]
    rows.write_text(json.dumps(entry) + "\n")
    assert suite.run(tmp_path, show_progress=False).table.metric_seconds[0] == 0


def test_a_line_that_was_cut_off_is_done_again(tmp_path):
    suite = Suite(linear, {"m": Stopping(), "chance": "random"}, clips(), [Mean()])
    expected = suite.run(tmp_path, show_progress=False)
    rows = tmp_path / "rows.jsonl"
    content = rows.read_bytes()
    rows.write_bytes(content[:-7])
    counted = Stopping()
    found = Suite(linear, {"m": counted, "chance": "random"}, clips(), [Mean()]).run(
        tmp_path, show_progress=False
    )
    assert counted.calls == 0  # the last line was of chance
    assert known(found.table).equals(known(expected.table))
    assert len(rows.read_bytes().splitlines()) == 6


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"unit": "a", "rows": {"b": {"model": 1}}}\n')
    suite = Suite(linear, [bright], clips(1), [Mean()])
    assert_refused(ResultError, "on line 1", lambda: suite.run(tmp_path, show_progress=False))


def test_rows_are_strict_json(tmp_path):
    Suite(linear, [bright], clips(1), [Broken()]).run(tmp_path, show_progress=False)
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    entry = json.loads(line, parse_constant=pytest.fail)
    (only,) = entry["rows"].values()
    assert only["value"] is None


def test_a_comparison_is_read_as_it_was_written(tmp_path):
    suite = Suite(linear, {"m": bright, "chance": "random"}, clips(), [Mean(), Broken(), Again()])
    found = suite.run(show_progress=False)
    read = Comparison.load(found.save(tmp_path / "out"))
    assert read.table.drop(columns="failed").equals(found.table.drop(columns="failed"))
    assert list(read.table.failed.astype(bool)) == list(found.table.failed)
    assert read.metrics == found.metrics
    assert read.summary() == found.summary()
    np.testing.assert_array_equal(read.curves.value, found.curves.value)
    assert_refused(ResultError, "a comparison in", Comparison.load, tmp_path)


def test_planted_videos_come_in_each_models_own_values():
    found = planted_clips(
        Keyframe(frames=4, size=16), lambda clip: torch.eye(4)[[0] * len(clip)], 2
    )
    assert {video.label for video in found.videos} == {0}
    assert found.accuracy == 2 / found.drawn
    suite = Suite(
        lambda clip: torch.eye(4)[[0] * len(clip)],
        {"m": lambda clip, target: clip.amax((2, 3, 4))},
        found.videos,
        [Mean(), AUPRC("frames")],
    )
    table = suite.run(show_progress=False).table
    first = found.videos[0]
    expected = first.frames.astype(np.float64).reshape(4, -1).max(1).mean() / 255
    found_value = row(table, metric="mean", clip=first.name).value
    assert found_value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("one of its slugs.*no-such-method", {"methods": ["no-such-method"]}),
        ("methods, at least one.*got none", {"methods": []}),
        ("lrp more than once", {"methods": [LRP, "lrp"]}),
        ("which takes 0 arguments", {"methods": [lambda: None]}),
        ("a method: one of its slugs.*got 3", {"methods": [3]}),
        ("the name of one.*no-such-metric", {"metrics": ["no-such-metric"]}),
        ("metrics, at least one.*got none", {"metrics": []}),
        ("each once.*auprc-frames, auprc-frames", {"metrics": [AUPRC(), "auprc-frames"]}),
        ("clips, at least one.*got none", {"clips": []}),
        ("clips", {"clips": ["a path"]}),
        ("clip 0 more than once", {"clips": clips(1) * 2}),
        ("models by their names.*got none", {"models": {}}),
        ("models by their names.*a: 3", {"models": {"a": 3}}),
        ("budget", {"budget": 1}),
        ("seed", {"seed": -1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_compared_is_named(text, changes):
    options = {"models": linear, "methods": [bright], "clips": clips(1), "metrics": [AUPRC()]}
    assert_refused(OptionError, text, Suite, **{**options, **changes})


def test_a_method_inside_of_another_says_what_its_sign_means():
    made = compared([lambda model: FrameMaskingTSR(TemporalGradient(model))])[0].make(linear, 4, 0)
    explanation = made(clips(1)[0].clip, 0).explanation
    assert explanation.sensitivity
    assert (explanation.pixel_scores >= 0).all()
    signed = compared([lambda model: FrameMaskingTSR(InputXGradient(model))])[0].make(linear, 4, 0)
    assert not signed(clips(1)[0].clip, 1).explanation.sensitivity
