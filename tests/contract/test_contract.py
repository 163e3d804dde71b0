"""What every method promises, run over the registry of methods."""

import copy
import dataclasses
import json

import numpy as np
import pytest
import torch
from captum.attr import Attribution, NoiseTunnel
from captum.attr import visualization as captum_views
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from temporal_attr import ClipError, LateFusion, ModelError, Result, TargetError
from tests.helpers.checks import assert_near
from tests.helpers.families import CLASSES, family
from tests.helpers.methods import METHODS

# The framewise path needs a framewise model; others are tried on these.
MODELS = ["gru_mean", "conv3d_windows", "late_fusion_max", "early_fusion", "lstm_last"]
# Video transformers, one of each kind of split among timesteps, and timesteps of layers that are
# found: minutes more, so on demand.
TRANSFORMERS = ["videomae", "timesformer", "vjepa2", "swin3d", "mvit_v2"]
ON_DEMAND = [*TRANSFORMERS, "layer_framewise", "layer_frozen"]
FRAMEWISE = {"gru_mean", "late_fusion_max", "lstm_last", "layer_framewise"}
INFIDELITY = 1e-7
# Captum's infidelity takes an attribution shaped like the input.
SENSITIVITIES = [method for method in METHODS if method.is_sensitivity and method.input_shaped]


def pairs():
    """Every method on a framewise model and on one of whole clips, and the others in turn."""
    for place, method in enumerate(METHODS):
        quick = {*MODELS[:2], MODELS[2 + place % (len(MODELS) - 2)]}
        if method.variant:
            quick = {MODELS[0]}
        names = (*method.models, *TRANSFORMERS) if method.models else (*MODELS, *ON_DEMAND)
        for name in names:
            if name in FRAMEWISE or not method.framewise_only:
                fast = name in (method.models or quick)
                marks = [] if fast else [pytest.mark.simulation]
                yield pytest.param(method, name, id=f"{method.name}-{name}", marks=marks)


on_all_models = pytest.mark.parametrize(("method", "name"), list(pairs()))
on_one_model = pytest.mark.parametrize(
    "method",
    [
        pytest.param(
            method, id=method.name, marks=[pytest.mark.simulation] if method.variant else []
        )
        for method in METHODS
    ],
)


def on_a_table(names, rows, smoke=0):
    """Every row on the first method, and one row on the others: they all check by the same code."""
    cases = [(METHODS[0], place) for place in range(len(rows))]
    cases += [(method, smoke) for method in METHODS[1:]]
    found = [pytest.param(one, *rows[row], id=f"{one.name}-{row}") for one, row in cases]
    return pytest.mark.parametrize(("method", *names), found)


@pytest.fixture
def model(method):
    """A framewise model that the method can explain."""
    wrapper, _ = family(method.model).build()
    return wrapper.double()


@pytest.fixture
def clip():
    return family("gru_mean").clip(torch.float64)


class Attend(nn.Module):
    """Attention among parts of a row of features, for methods that ask for some."""

    def forward(self, x):
        parts = x.unflatten(1, (16, -1))
        return (parts + (parts @ parts.mT / 64).softmax(-1) @ parts).flatten(1)


def assert_near_or_undefined(found, expected, tolerance=1e-12):
    """Near, not all zero, and undefined at the same places: a ratio may be."""
    assert expected.nan_to_num().any()
    assert_near(found, expected, tolerance, equal_nan=True)


@on_all_models
def test_batch_is_its_examples_one_by_one(method, name):
    wrapper, _ = family(name).build()
    wrapper.double()
    clip, target = family(name).clip(torch.float64), [1, 4]
    whole = method.build(wrapper).attribute(clip, target=target)
    singles = [method.build(wrapper).attribute(clip[i : i + 1], target=target[i]) for i in range(2)]
    # Sums in which more cancels, of more layers.
    tolerance = 1e-10 if name in TRANSFORMERS else 1e-12
    assert_near_or_undefined(whole, torch.cat(singles), tolerance)
    swapped = method.build(wrapper).attribute(clip.flip(0), target=target[::-1])
    assert_near_or_undefined(swapped, whole.flip(0), tolerance)


@pytest.mark.usefixtures("as_user")
@on_all_models
def test_chunked_is_whole(method, name):
    wrapper, _ = family(name).build()
    wrapper.double()
    clip = family(name).clip(torch.float64)
    whole = method.build(wrapper).attribute(clip, target=2)
    tolerance = 1e-10 if name in TRANSFORMERS else 1e-12
    for chunk in (1, 5, 64):
        found = method.build(wrapper, chunk).attribute(clip, target=2)
        assert_near_or_undefined(found, whole, tolerance)


@on_all_models
def test_the_same_twice(method, name):
    wrapper, _ = family(name).build()
    clip = family(name).clip()
    instance = method.build(wrapper)
    once, again = (instance.attribute(clip, target=2) for _ in range(2))
    assert_near_or_undefined(once, again, tolerance=0)


def state_of(wrapper):
    """All of a model that a method could change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "values": {k: v.clone() for k, v in wrapper.state_dict().items()},
        "requires_grad": [p.requires_grad for p in wrapper.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in wrapper.parameters()],
        "training": [part.training for part in wrapper.modules()],
        "hooks": [[len(getattr(part, h)) for h in hooks] for part in wrapper.modules()],
        "forward": ["forward" in vars(part) for part in wrapper.modules()],
    }


def assert_same_state(before, after):
    assert before.keys() == after.keys()
    for key, value in before["values"].items():
        assert torch.equal(value, after["values"][key]), key
    for one, other in zip(before["gradients"], after["gradients"], strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)
    for key in ("requires_grad", "training", "hooks", "forward"):
        assert before[key] == after[key], key


def prepare_mixed_state(wrapper):
    """Some parameters frozen, some with a gradient, a hook of the user's own."""
    for place, parameter in enumerate(wrapper.parameters()):
        parameter.requires_grad_(place % 2 == 0)
        if place % 3 == 0:
            parameter.grad = torch.full_like(parameter, 0.5)
    next(wrapper.children()).register_forward_hook(lambda *_: None)


@on_all_models
def test_model_and_clip_are_untouched_after_success(method, name):
    wrapper, _ = family(name).build()
    prepare_mixed_state(wrapper)
    clip = family(name).clip()
    kept, before = clip.clone(), state_of(wrapper)
    method.build(wrapper).attribute(clip, target=0)
    assert_same_state(before, state_of(wrapper))
    assert torch.equal(clip, kept)
    assert (clip.requires_grad, clip.grad) == (False, None)


class FailsLater(nn.Module):
    """A layer that fails at its n-th call, forward or backward."""

    def __init__(self, calls, backward):
        super().__init__()
        self.left, self.backward = calls, backward

    def fail(self, *_):
        self.left -= 1
        if self.left <= 0:
            raise ArithmeticError("in the middle")

    def forward(self, x):
        if not self.backward:
            self.fail()
        elif x.requires_grad:
            x = x.clone()
            x.register_hook(self.fail)
        return x


@on_one_model
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("leaf", [False, True], ids=["plain", "requires_grad"])
def test_model_and_clip_are_untouched_after_a_failure(method, backward, leaf, clip):
    if backward and not method.goes_back:
        pytest.skip("runs the model forward only")
    fails = FailsLater(1, backward)
    layers = nn.Identity(), nn.Flatten(), fails, Attend(), nn.Linear(768, CLASSES)
    encoder = nn.Sequential(*layers).eval()
    wrapper = LateFusion(encoder).double()
    prepare_mixed_state(wrapper)
    clip = clip.requires_grad_(leaf)
    kept, before, grad_enabled = clip.detach().clone(), state_of(wrapper), torch.is_grad_enabled()
    with pytest.raises(ArithmeticError, match="in the middle"):
        method.build(wrapper).attribute(clip, target=0)
    assert_same_state(before, state_of(wrapper))
    assert torch.equal(clip, kept)
    assert (clip.requires_grad, clip.grad) == (leaf, None)
    assert torch.is_grad_enabled() == grad_enabled
    assert torch.backends.cudnn.enabled


@on_one_model
def test_a_model_that_works_in_place_does_not_reach_the_clip(method, clip):
    in_place = nn.ReLU(inplace=True)
    encoder = nn.Sequential(in_place, nn.Flatten(), Attend(), nn.Linear(768, CLASSES)).eval()
    wrapper, kept = LateFusion(encoder).double(), clip.clone()
    found = method.build(wrapper).attribute(clip, target=0)
    assert torch.equal(clip, kept)
    in_place.inplace = False
    assert_near_or_undefined(found, method.build(wrapper).attribute(clip, target=0))


@on_a_table(
    ["target"],
    [
        (-3,),
        (2,),
        (np.int64(2),),
        (torch.tensor(2),),
        (torch.tensor([2]),),
        ([2],),
        ([2, 2],),
        (torch.tensor([2, 2]),),
        (torch.tensor([2, 2], dtype=torch.int32),),
        ((2,),),
        ([(2,), (2,)],),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_every_form_of_target(method, target, model, clip):
    expected = method.build(model).attribute(clip, target=torch.tensor([2, 2]))
    assert torch.equal(method.build(model).attribute(clip, target=target), expected)


@pytest.mark.usefixtures("as_user")
@on_one_model
def test_one_target_for_each_example(method, model, clip):
    both = method.build(model).attribute(clip, target=[2, 3])
    assert_near_or_undefined(both[1:], method.build(model).attribute(clip, target=3)[1:])
    other = method.build(model).attribute(clip, target=2)
    assert torch.equal(both[1:], other[1:]) == method.class_blind


@pytest.mark.usefixtures("as_user")
@on_one_model
def test_no_target_where_there_is_one_class(method, model, clip):
    model.classifier = nn.Linear(model.classifier.in_features, 1).double().eval()
    found, expected = (method.build(model).attribute(clip, target=t) for t in (None, 0))
    assert torch.equal(found, expected)


@on_a_table(
    ["target", "text"],
    [
        (5, "a target from 0 to 4, got 5"),
        (-6, "a target from 0 to 4, got -6"),
        ([0, 7], "a target from 0 to 4, got 7"),
        (None, "a target among 5 classes, got None"),
        ([0, 1, 2], "one for each of 2 examples, got 3"),
        (torch.tensor([0, 1, 2]), "one for each of 2 examples, got 3"),
        ([], "one for each of 2 examples, got 0"),
        (torch.zeros(2, 1, dtype=torch.long), r"got torch.int64 of shape \(2, 1\)"),
        (torch.tensor([0.0, 1.0]), "integer tensor .* got torch.float32"),
        ("run", "class numbers, .* got 'run'"),
        (True, "class numbers, .* got True"),
        ((1, 2, 0), r"class numbers, .* got \(1, 2, 0\)"),
        ((1, 9), "a target from 0 to 4, got 9"),
        ((9, 1), "a timestep from 0 to 5, as the clip has 6, got 9"),
        ([(1, 2), 2], "for all examples, or for none, got 1 among 2 targets"),
        (1.0, "class numbers, .* got 1.0"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_targets_that_name_no_class(method, target, text, model, clip):
    with pytest.raises(TargetError, match=text):
        method.build(model).attribute(clip, target=target)


@on_a_table(
    ["broken", "text"],
    [
        (lambda clip: clip.transpose(1, 2), r"looks like .batch, channel, time.*transpose\(1, 2\)"),
        (lambda clip: clip[:, :, :2], "3 channels on axis 2 .* RGB"),
        (lambda clip: clip[0], r"five axes .* 4 axes, shape .*clip\[None\]"),
        (lambda clip: clip[None], "five axes .* 6 axes"),
        (lambda clip: clip[:0], r"at least one element on every axis .* \(0, 6, 3, 16, 16\)"),
        (lambda clip: clip[:, :0], r"at least one element on every axis .* \(2, 0, 3, 16, 16\)"),
        (lambda clip: (clip * 255).byte(), "a tensor of floats .* torch.uint8"),
        (lambda clip: (clip * 255).long(), "a tensor of floats .* torch.int64"),
        (lambda clip: clip.clone().fill_(float("nan")), "finite values, got 9216 of 9216"),
        (
            lambda clip: torch.where(clip == clip.max(), float("inf"), clip),
            "finite values, got 1 of",
        ),
        (lambda clip: clip.numpy(), "a tensor of floats .* got an array of float64"),
        (lambda clip: {0: clip}, "a tensor of floats .* got a dict"),
    ],
    smoke=8,  # NaN: the last thing that is looked at
)
@pytest.mark.usefixtures("as_user")
def test_inputs_that_are_no_clips(method, broken, text, model, clip):
    with pytest.raises(ClipError, match=text):
        method.build(model).attribute(broken(clip), target=0)


@on_one_model
@pytest.mark.usefixtures("as_user")
def test_a_model_in_training_mode(method, model, clip):
    model.train()
    before = state_of(model)
    with pytest.raises(
        ModelError,
        match=r"a model in evaluation mode, got encoder.1 \(BatchNorm2d\) in training mode",
    ):
        method.build(model).attribute(clip, target=0)
    assert_same_state(before, state_of(model))


@on_a_table(
    ["output", "text"],
    [
        (lambda x: x.mean(1), r"logits \(batch, classes\) with a batch of 1, got shape \(1,\)"),
        (lambda x: x[:, :, None], r"got shape \(1, 5, 1\)"),
        (lambda x: x.mean(0, keepdim=True), r"with a batch of 2, got shape \(1, 5\)"),
        (lambda x: {"logits": x}, "got dict with logits. Pass a function that returns the logits"),
    ],
)
@pytest.mark.usefixtures("as_user")
def test_models_whose_output_is_not_logits(method, output, text, clip):
    if not method.takes_functions:
        pytest.skip("takes wrappers only, whose output has been checked")
    with pytest.raises(ModelError, match=text):
        method.build(lambda clip: output(clip.flatten(1)[:, :5])).attribute(clip, target=0)


@pytest.mark.usefixtures("as_user")
@on_one_model
def test_under_no_grad_and_with_inference_tensors(method, model, clip):
    expected = method.build(model).attribute(clip, target=1)
    with torch.no_grad():
        assert torch.equal(method.build(model).attribute(clip, target=1), expected)
        assert not torch.is_grad_enabled()
    with torch.inference_mode():
        inside = clip.clone()
        assert torch.equal(method.build(model).attribute(inside, target=1), expected)
        assert torch.is_inference_mode_enabled()
    found = method.build(model).attribute(inside, target=1)
    assert torch.equal(found, expected)
    assert not found.is_inference()


@on_one_model
def test_attributions_are_plain_detached_contiguous_tensors(method, model, clip):
    found = method.build(model).attribute(clip.requires_grad_(), target=1)
    assert type(found) is torch.Tensor
    assert not found.requires_grad
    assert found.is_contiguous()
    assert found.dtype == clip.dtype
    if method.input_shaped:
        assert found.shape == clip.shape
    # A view of a larger clip, and of other strides, gives the same.
    strided = clip.detach().transpose(3, 4).contiguous().transpose(3, 4)
    again = method.build(model).attribute(strided, target=1)
    assert again.is_contiguous()
    assert_near_or_undefined(again, found)


@on_one_model
def test_a_tuple_comes_back_as_a_tuple(method, model, clip):
    found = method.build(model).attribute((clip,), target=1)
    assert isinstance(found, tuple)
    assert len(found) == 1
    assert torch.equal(found[0], method.build(model).attribute(clip, target=1))


@on_one_model
def test_it_is_a_captum_attribution_with_a_readable_name(method, model):
    instance = method.build(model)
    assert isinstance(instance, Attribution)
    assert "  " not in instance.get_name()
    assert not any(len(word) == 1 for word in instance.get_name().split())


@pytest.mark.usefixtures("as_user")
@on_one_model
@pytest.mark.parametrize("samples", [None, 2], ids=["at once", "in parts"])
def test_noise_tunnel(method, samples, model, clip):
    instance = method.build(model)
    torch.manual_seed(3)
    found = NoiseTunnel(instance).attribute(
        clip, nt_samples=4, nt_samples_batch_size=samples, stdevs=0.1, target=[1, 2]
    )
    torch.manual_seed(3)
    # Captum draws the noise of each part in single precision, examples repeated side by side.
    parts = [4] if samples is None else [2, 2]
    noise = [torch.normal(0, torch.full((2 * n, *clip.shape[1:]), 0.1)) for n in parts]
    noisy = torch.cat(
        [clip[:, None] + part.unflatten(0, (2, n)) for n, part in zip(parts, noise, strict=True)], 1
    )
    expected = torch.stack(
        [method.build(model).attribute(noisy[:, i], target=[1, 2]) for i in range(4)]
    ).mean(0)
    assert_near_or_undefined(found, expected)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("method", SENSITIVITIES, ids=lambda method: method.name)
def test_infidelity(method, model, clip):
    """Of the gradient of a logit nearly nothing: it says what a small change does."""
    attribution = method.build(model).attribute(clip, target=1)

    def small_noise(inputs):
        noise = 1e-6 * torch.randn_like(inputs)
        return noise, inputs - noise

    def score(values):
        torch.manual_seed(0)
        return infidelity(model, small_noise, clip, values, target=1, n_perturb_samples=20)

    # The square of what is left out of second order: a gradient of 1.001 times the size fails.
    nothing = score(torch.zeros_like(attribution))
    assert (score(attribution) < INFIDELITY * nothing).all()
    assert (score(1.001 * attribution) > INFIDELITY * nothing).all()


@pytest.mark.usefixtures("as_user")
@on_one_model
def test_sensitivity(method, model, clip):
    """Captum's number is the definition's, for a change that is known."""
    instance = method.build(model)
    change = 0.02 * torch.cos(torch.arange(clip[0].numel())).reshape(clip[0].shape).double()

    def moved(inputs, radius):
        return inputs + change.to(inputs)

    found = sensitivity_max(
        instance.attribute, clip, perturb_func=moved, target=1, n_perturb_samples=2
    )
    before, after = (instance.attribute(one, target=1).flatten(1) for one in (clip, clip + change))
    expected = (after - before).norm(dim=1) / before.norm(dim=1)
    assert (expected > 1e-6).all()
    torch.testing.assert_close(found, expected.to(found), rtol=1e-6, atol=0)


@on_one_model
def test_captums_pictures_of_a_frame(method, model, clip):
    if not method.input_shaped:
        pytest.skip("no frame to draw")
    attribution = method.build(model).attribute(clip, target=1)
    frame = attribution[0, 2].permute(1, 2, 0).numpy()
    _, axes = captum_views.visualize_image_attr(
        frame, clip[0, 2].sigmoid().permute(1, 2, 0).numpy(), "heat_map", "all", use_pyplot=False
    )
    drawn, expected = axes.images[0].get_array(), frame.sum(2)
    # Captum divides by a percentile and clips; what is not clipped keeps its proportions. Of an
    # attribution of two blocks the larger one is at the top of the scale.
    inside = (np.abs(drawn) < 1) & (np.abs(expected) > 0)
    ratio = drawn[inside] / expected[inside]
    assert inside.mean() >= 0.5
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-6)


@pytest.mark.usefixtures("as_user")
@on_one_model
def test_explain_holds_what_attribute_gives(method, model, clip):
    result = method.build(model).explain(clip, target=[1, 2])
    assert isinstance(result, Result)
    with torch.no_grad():
        assert_near_or_undefined(result.logits, model(clip))
    assert result.target.tolist() == [1, 2]
    if method.input_shaped:
        assert torch.equal(result.attribution, method.build(model).attribute(clip, target=[1, 2]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.logits = None
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["target"] == [1, 2]
    assert result.summary().count("\nclip ") == 2


@pytest.mark.usefixtures("as_user")
@on_one_model
def test_a_copied_method_gives_the_same(method, model, clip):
    instance = method.build(model)
    copied = copy.deepcopy(instance)
    assert torch.equal(copied.attribute(clip, target=1), instance.attribute(clip, target=1))
