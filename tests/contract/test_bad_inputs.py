"""Bad inputs that once were raw errors of Python or PyTorch, or were taken without a word."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from temporal_attr import (
    LRP,
    Clip,
    ClipError,
    ContrastiveLRPTemporal,
    DataError,
    FrameLogitsError,
    LateFusion,
    ModelError,
    OptionError,
    TargetError,
    TemporalAttrError,
    TemporalGradient,
    load_result,
    views,
    wrap,
)
from temporal_attr._told import shown
from temporal_attr.attributions import require_free
from temporal_attr.clips import load_clip, write_video
from temporal_attr.gradients import isolated_autograd, logit, resolve_target
from temporal_attr.measures import ranges
from temporal_attr.models import FrameRecurrent, class_names, load_model, require_framewise
from temporal_attr.perturbations import baseline_of, frame_masks, masked_clips
from temporal_attr.relevance import Composite, trace
from temporal_attr.synthetic import Motion
from temporal_attr.zoo import build_model, pretrained_card
from tests.helpers.checks import assert_refused
from tests.results import made

pytestmark = pytest.mark.usefixtures("as_user")

ARRAY = np.zeros((2, 3))


def clip():
    return torch.rand(1, 4, 3, 16, 16)


def result(name, **changed):
    return replace(made.made(name), **changed)


@pytest.mark.parametrize("wrong", [torch.tensor([0, -1]), torch.tensor([3, 0])])
def test_a_target_that_is_no_class(wrong):
    assert_refused(TargetError, "targets from 0 to 2", logit, torch.rand(2, 3), wrong)


def test_a_target_of_any_type_of_whole_numbers():
    logits = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    for dtype in (torch.int8, torch.int32, torch.int64):
        assert logit(logits, torch.tensor([1, 0], dtype=dtype)).tolist() == [2.0, 3.0]


@pytest.mark.parametrize("wrong", [object(), "", 2.5, ARRAY, torch.ones(2, 3, dtype=torch.uint8)])
def test_logits_that_are_none(wrong):
    assert_refused(DataError, "logits to be a tensor of floats", resolve_target, 0, wrong)


def test_masked_clips_of_a_baseline_that_is_learned():
    one, masks = clip(), frame_masks(1, 4, 2)
    learned = nn.Parameter(torch.rand(1, 4, 3, 16, 16))
    found = masked_clips(one, masks, learned)
    assert torch.equal(found, masked_clips(one, masks, learned.detach()))
    found[0].sum().backward()
    expected = torch.zeros_like(learned)
    expected[0, :2] = 1  # the first mask hides the first two frames
    assert torch.equal(learned.grad, expected)


@pytest.mark.parametrize("number", [10**400, 1e300, -1e300])
def test_a_baseline_that_no_clip_can_hold(number):
    assert_refused(OptionError, "baselines", baseline_of, clip(), number)


def test_text_is_taken_where_a_path_is(tmp_path):
    require_free(f"{tmp_path}/none", overwrite=False)
    (tmp_path / "names.txt").write_text("walk\nrun\n")
    assert class_names(f"{tmp_path}/names.txt") == ["walk", "run"]
    assert class_names(tmp_path / "names.txt") == ["walk", "run"]


@pytest.mark.parametrize("wrong", ["a\0b", Path("a\0b"), 3, True, ["a"]])
def test_what_is_no_path(wrong):
    for call in (load_result, class_names):
        assert_refused(OptionError, "to be .*a path", call, wrong)


def test_the_folder_that_one_is_in(tmp_path, monkeypatch):
    saved = result("lrp").save(tmp_path / "saved")
    (saved / "deeper").mkdir()
    monkeypatch.chdir(saved)
    for folder in ("", "."):
        assert torch.equal(load_result(folder).target, result("lrp").target)
    monkeypatch.chdir(saved / "deeper")
    assert torch.equal(load_result("..").target, result("lrp").target)


@pytest.mark.parametrize("sigma", [float("nan"), 1.5, np.float32("nan")])
def test_a_share_of_a_row_that_is_none(sigma):
    assert_refused(OptionError, "sigma", result, "contrastive", sigma=sigma)


def test_records_take_only_what_their_fields_say():
    for wrong in (object(), True, 2.5, ARRAY):
        assert_refused(OptionError, "shuffling to be text", result, "shuffles", shuffling=wrong)
    target = made.made("lrp").target
    for wrong in (target[None], target[0], target.tolist()):
        assert_refused(DataError, "target to be a tensor of whole", result, "lrp", target=wrong)


def test_pictures_take_their_first_argument_by_its_name():
    found = made.made("lrp")
    assert len(views.glance(result=found).axes) == len(views.glance(found).axes)
    of_set = made.made("shuffle_set")
    assert views.pictures_of_set(clips=of_set).keys() == views.pictures_of_set(of_set).keys()
    shown_clip = made.one_clip()
    named = views.pictures(result=found, clip=shown_clip)
    assert named.keys() == views.pictures(found, shown_clip).keys()


def test_pictures_still_take_the_types_of_others():
    class Mine:
        pass

    @views.glance.register(Mine)
    def _(result, *, example=0):
        return example

    assert views.glance(result=Mine(), example=3) == views.glance(Mine(), example=3) == 3


@pytest.mark.parametrize("seed", [10**400, -1, 2**40])
def test_a_seed_that_no_generator_takes(seed):
    assert_refused(OptionError, "seed", build_model, "late-fusion", 3, seed=seed)
    assert_refused(OptionError, "seed", replace, pretrained_card(NAME), seed=seed)


NAME = "mixed-appearance-late-fusion"


@pytest.mark.parametrize("classes", [-1, 0, 2**40])
def test_a_number_of_classes_that_no_model_has(classes):
    assert_refused(OptionError, "classes", load_model, "torchvision:r3d_18", classes=classes)


@pytest.mark.parametrize("wrong", [int, False, -1, ..., {}, ARRAY])
def test_names_of_classes_that_are_no_list(wrong):
    model = build_model("late-fusion", 3, widths=(4, 8))
    assert_refused(OptionError, "class_names to be a", wrap, model, class_names=wrong)
    assert_refused(OptionError, "class_names", load_model, "timm:resnet18", class_names=wrong)


@pytest.mark.parametrize("wrong", [int, -1, {}, torch.tensor(1)])
def test_frames_that_are_no_list(tmp_path, wrong):
    assert_refused(ClipError, "frames to be", write_video, wrong, tmp_path / "a.webm", 5.0)


def test_frames_in_one_array_are_those_in_a_list(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
    one = write_video(frames, tmp_path / "one.webm", 5.0)
    other = write_video(list(frames), tmp_path / "two.webm", 5.0)
    assert torch.equal(load_clip(one, 3).tensor, load_clip(other, 3).tensor)
    for wrong in (ARRAY, frames[:0], frames[..., :2], frames / 255, "ab"):
        assert_refused(TemporalAttrError, "frames", write_video, wrong, one, 5.0)


@pytest.mark.parametrize("wrong", [int, "", [object()], ARRAY, None])
def test_a_rate_that_is_no_number(wrong):
    assert_refused(OptionError, "fps to be a number", Clip.from_tensor, clip(), fps=wrong)


@pytest.mark.parametrize("wrong", [ARRAY, int, nn.Linear, torch.ones(2)])
def test_a_readout_that_is_an_array_or_a_class(wrong):
    parts = (nn.Flatten(), nn.LSTM(768, 5), nn.Linear(5, 3))
    assert_refused(OptionError, "readout to be", FrameRecurrent, *parts, readout=wrong)
    assert_refused(OptionError, "aggregation to be", LateFusion, nn.Flatten(), aggregation=wrong)


def test_a_clip_of_another_precision_than_what_is_traced():
    layer, composite = nn.Linear(2, 2).eval(), Composite(input=None)
    wrong = torch.rand(1, 2).bfloat16()
    assert_refused(ClipError, "torch.float32 on cpu", trace, layer, wrong, None, composite)


def test_clips_that_are_nested_or_none():
    model = build_model("late-fusion", 3, widths=(4, 8))
    nested = torch.nested.nested_tensor([clip()[0]], layout=torch.jagged)
    with pytest.raises(ClipError, match="nested"):
        TemporalGradient(model).attribute(nested, target=0)
    with pytest.raises(ClipError, match="at least one clip"), isolated_autograd(()):
        pass
    assert_refused(ClipError, "at least one frame", require_framewise, model, clip()[0, :0])


def test_a_method_of_timesteps_refuses_a_function_when_it_is_made():
    assert_refused(FrameLogitsError, "a VideoModel", ContrastiveLRPTemporal, lambda x: x.mean())
    LRP(lambda x: x.mean((1, 3, 4)))
    assert_refused(ModelError, "a model, or a function", ContrastiveLRPTemporal, 3)


def test_a_planted_video_of_more_frames_than_any_has():
    for wrong in (10**400, 2**25):
        assert_refused(OptionError, "frames a whole number from", Motion, frames=wrong)
    assert_refused(OptionError, "size", Motion, size=2**40)


def test_a_fraction_is_a_number():
    matrix = torch.eye(4)[None] + 0.5
    assert torch.equal(ranges(matrix, Fraction(1, 2)), ranges(matrix, 0.5))
    assert not torch.equal(ranges(matrix, Fraction(1, 2)), ranges(matrix, 0.975))


def test_a_number_that_python_does_not_print():
    assert shown(10**5000) == "a whole number of some 5000 digits"
    assert shown(-(10**59)) == f"-1{59 * '0'}"
    assert_refused(OptionError, "some 5000 digits", Motion, frames=10**5000)
    assert_refused(OptionError, "some 5000 digits", wrap, nn.Identity(), class_names=10**5000)
