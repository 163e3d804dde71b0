"""Pictures that are given what does not belong together: another clip, example or result."""

import inspect

import pytest
import torch

from temporal_attr import Clip, OptionError, TemporalAttrError, views
from temporal_attr.attributions import ShuffleSet
from temporal_attr.views._common import Picture
from tests.contract.hostile import calls, values
from tests.contract.hostile.judge import run

FRAMES, SIDE = 6, 32


def parameters(name):
    return list(inspect.signature(DRAWN[name].function).parameters)


DRAWN = {
    name: call
    for name, call in calls.calls("views").items()
    if not name.startswith(("views.overlay_video", "views.pictures"))
}


def clip_of(frames=FRAMES, channels=3, height=SIDE, width=SIDE):
    return Clip.from_tensor(values.drawn(1, frames, channels, height, width), fps=4)


WRONG_CLIPS = {
    "fewer frames": clip_of(frames=FRAMES - 1),
    "more frames": clip_of(frames=FRAMES + 1),
    "one frame": clip_of(frames=1),
}
WRONG_PIXELS = {
    "larger": clip_of(height=2 * SIDE, width=2 * SIDE),
    "turned": clip_of(height=SIDE, width=SIDE + 2),
    "one channel": clip_of(channels=1),
}
OF_PIXELS = ("views.flow_saliency", "views.frame_strip", "views.overlay_grid", "views.side_by_side")


@pytest.mark.parametrize("wrong", WRONG_CLIPS)
@pytest.mark.parametrize("name", [name for name in DRAWN if "clip" in DRAWN[name].arguments])
def test_a_clip_of_other_frames(as_user, name, wrong):
    call = DRAWN[name]
    with pytest.raises(TemporalAttrError, match="clip"):
        run(call, {"clip": WRONG_CLIPS[wrong]})


@pytest.mark.parametrize("wrong", WRONG_PIXELS)
@pytest.mark.parametrize("name", OF_PIXELS)
def test_a_clip_of_other_pixels(as_user, name, wrong):
    call = DRAWN[name]
    with pytest.raises(TemporalAttrError, match=r"the clip that was explained, with frames of 32"):
        run(call, {"clip": WRONG_PIXELS[wrong]})


def test_an_attribution_of_one_channel_belongs_to_a_clip_of_three(as_user):
    one = values.drawn(1, FRAMES, 1, SIDE, SIDE)
    assert isinstance(views.overlay_grid(one, clip_of()), Picture)


@pytest.mark.parametrize("example", [-1, 2, 2**40])
@pytest.mark.parametrize("name", [name for name in DRAWN if "example" in parameters(name)])
def test_an_example_that_is_not_there(as_user, name, example):
    call = DRAWN[name]
    with pytest.raises(OptionError, match="example"):
        run(call, {"example": example})


@pytest.mark.parametrize("name", DRAWN)
def test_a_result_of_another_kind_is_drawn_or_refused_by_name(as_user, name):
    call = DRAWN[name]
    first = parameters(name)[0]
    drawn = 0
    for other in values.results().values():
        try:
            found = run(call, {first: other})
        except TemporalAttrError:
            continue
        assert isinstance(found, Picture)
        drawn += 1
    assert drawn < len(values.results()) or name == "views.glance"


@pytest.mark.parametrize("example", [-1, 2])
def test_a_result_of_shuffles_without_such_an_example(as_user, example):
    result = values.results()["shuffles"]
    calls_ = (result.row, result.samples, result.levels, result.target_logits, result.class_label)
    for one in calls_:
        with pytest.raises(OptionError, match="example a whole number from 0 to 1"):
            one(example)
    with pytest.raises(OptionError, match="example a whole number from 0 to 1"):
        result.interval("mrr", example)
    with pytest.raises(OptionError, match="example a whole number from 0 to 1"):
        ShuffleSet.of([(result, example)])


def test_segments_without_a_start_each(as_user):
    result = values.results()["shuffles"]
    for given in ({"starts": [0, 3]}, {"size": 3}, {"starts": [0], "size": 3}):
        with pytest.raises(TemporalAttrError, match="starts of 2 segments and their size, or"):
            ShuffleSet.of([result], **given)
    assert ShuffleSet.of([result], starts=[0, 3], size=3).starts == (0, 3)


def test_bounds_of_another_shape_than_the_clip(as_user):
    from temporal_attr.relevance import Box, Composite, trace

    composite = Composite(input=Box(torch.zeros(5), torch.ones(5)))
    with pytest.raises(TemporalAttrError, match=r"bounds of pixels that broadcast .* \(1, 4\)"):
        trace(torch.nn.Linear(4, 2), torch.rand(1, 4), None, composite)
    for low, high in ((2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(OptionError):
            Box(low, high)
