"""Bad inputs over the whole public API: each is refused by name, or taken rightly."""

import inspect
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from temporal_attr import (
    Clip,
    ClipError,
    LateFusion,
    ModelError,
    OptionError,
    TemporalAttrError,
    TemporalGradient,
    views,
)
from temporal_attr._checked import annotation, checked
from temporal_attr.clips import Normalization
from temporal_attr.measures import frame_scores, score_ratios
from temporal_attr.zoo import build_model
from tests.contract.hostile import bad, calls, judge

ROOT = Path(__file__).parents[2]
EVERY = 401
"""Of the table, in the suite; a prime, so that it meets every kind of value in turn."""


def tried(every):
    """What came of a part of the table, in a process without the suite's import hook."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.contract.hostile"]
    done = subprocess.run(
        [*command, "--every", str(every)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def require_named_or_right(outcomes, least):
    """Fail with what was raw or silent, or if fewer than so many were refused by name."""
    assert Counter(one["came"] for one in outcomes)["named"] >= least
    assert [one for one in outcomes if one["came"] in ("raw", "silent")] == []


def test_of_a_sample_no_bad_input_is_a_raw_error_or_taken_in_silence():
    require_named_or_right(tried(EVERY), 150)


@pytest.fixture(scope="module")
def whole_table():
    """What came of all of it."""
    return tried(1)


# A minute and a half on one core.
@pytest.mark.simulation
@pytest.mark.parametrize("room", calls.ROOMS)
def test_no_bad_input_is_a_raw_error_or_taken_in_silence(whole_table, room):
    own = [one for one in whole_table if one["call"].startswith(f"{room}.")]
    require_named_or_right(own, 100)


def _doubled(count):
    if count == 0:
        raise OptionError("count above 0", "0", "Try 1.")
    return 2 * count


@pytest.mark.parametrize(
    ("value", "right", "came"),
    [
        (0, bad.NEVER, "named"),
        (0, bad.FREE, "named"),
        (0, (1,), "raw"),  # refused, where it should be taken
        (1, bad.FREE, "right"),
        (1, bad.NEVER, "silent"),
        (1.0, (1,), "right"),
        (3, (1,), "silent"),
        (None, bad.FREE, "raw"),
    ],
)
def test_what_came_of_a_value_is_told_rightly(value, right, came):
    found = judge.judged("doubled", calls.Call(_doubled, {}), "count", bad.Bad("it", value, right))
    assert found.came == came


def test_everything_public_is_in_the_table():
    missing = [
        f"{name}.{one}"
        for name, room in calls.ROOMS.items()
        for one in room.__all__
        if _is_called(getattr(room, one)) and f"{name}.{one}" not in calls.LEFT_OUT
    ]
    assert missing
    assert [name for name in missing if name not in calls.calls()] == []


def _is_called(thing):
    if inspect.isclass(thing):
        return not issubclass(thing, BaseException)
    return inspect.isfunction(thing)


CHECKED = ("__init__", "__call__")
"""What is public for all its underscores."""


def test_every_public_annotation_can_be_resolved():
    for room in calls.ROOMS.values():
        for name in room.__all__:
            thing = getattr(room, name)
            members = vars(thing).values() if inspect.isclass(thing) else [thing]
            owner = thing if inspect.isclass(thing) else None
            for member in filter(inspect.isfunction, members):
                if member.__name__.startswith("_") and member.__name__ not in CHECKED:
                    continue  # for the class itself, which no user calls
                for parameter in inspect.signature(member).parameters:
                    annotation(member, parameter, owner)


def test_a_number_is_no_flag_and_a_numpy_integer_is_an_integer(as_user):
    numpy = pytest.importorskip("numpy")
    number = checked(_number)
    assert type(number(numpy.int64(3))) is int
    for wrong in (True, "3", 2.5, None, [3], int):
        with pytest.raises(OptionError, match="count to be a whole number, got"):
            number(wrong)


def _number(count: int) -> int:
    return count


def test_axes_that_do_not_belong_together(as_user):
    with pytest.raises(TemporalAttrError, match="shuffled of as many along 'time' as ordered"):
        score_ratios(torch.ones(1, 4), torch.ones(1, 2, 5))


@pytest.mark.parametrize(
    "wrong",
    [
        None, [1.0], torch.ones(1, 2, 3, 4, 4).numpy(), torch.ones(1, 2, 3, 4, 4, device="meta"),
        torch.ones(1, 2, 3, 4, 4).to_sparse(), torch.ones(1, 2, 3, 4, 4).to(torch.float8_e4m3fn),
        torch.ones(1, 2, 3, 4, 4).to(torch.complex64),
    ],
    ids=["None", "list", "array", "meta", "sparse", "float8", "complex"],
)  # fmt: skip
def test_what_is_no_attribution_of_floats(as_user, wrong):
    with pytest.raises(ClipError, match="attribution to be a tensor of floats"):
        frame_scores(wrong)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf")])
def test_a_standard_deviation_that_cannot_divide(std):
    with pytest.raises(OptionError, match="standard deviation"):
        Normalization((0.5,), (std,))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_clip_of_another_precision_than_the_model(dtype):
    method = TemporalGradient(build_model("late-fusion", classes=3, widths=(4, 8)))
    with pytest.raises(ClipError, match=r"a clip in torch.float32 on cpu, as the model's weights"):
        method.explain(torch.rand(1, 4, 3, 16, 16).to(dtype), 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_no_numbers(value):
    encoder = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 2)).eval()
    with torch.no_grad():
        encoder[1].bias[1] = value
    with pytest.raises(ModelError, match="logits that are numbers, got 1 NaN or infinite"):
        TemporalGradient(LateFusion(encoder)).explain(torch.rand(1, 4, 3, 16, 16), 0)


def test_a_name_with_dollars_is_drawn_letter_by_letter():
    clip = Clip.from_tensor(torch.rand(1, 4, 3, 16, 16))
    scores = torch.rand(1, 4, 3, 16, 16)
    figure = views.frame_strip(scores, clip, title="$x_1 \\frac$", label="$")
    figure._repr_png_()
    assert figure.get_suptitle() == r"\$x_1 \frac\$"
