"""What each method says it is, held against what it does."""

import inspect

import pytest
import torch
from captum.attr import Attribution

from temporal_attr import (
    LRP,
    ExtremalPerturbation,
    FrameLogitsError,
    FrameShapley,
    Normalization,
    OptionError,
    SelectiveRelevance,
    ShuffleProbe,
    TemporalGradient,
    Tubes,
)
from temporal_attr.attributions import METHODS
from tests.helpers.families import family
from tests.helpers.methods import METHODS as KINDS
from tests.helpers.methods import WIDE

on_all_methods = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)


def made(method, model, **options):
    """The method with the options without which it cannot run on the clips of this file."""
    if method is ShuffleProbe:
        # Optical flow needs pixel values.
        options["normalization"] = Normalization((0.5,) * 3, (0.25,) * 3)
    parameters = inspect.signature(method).parameters
    if "n_samples" in parameters:
        # Of clips as short as these FrameShapley is exact, unless permutations are drawn.
        options["n_samples"] = 2 if method is FrameShapley else 40
        if "feature_mask" in parameters and method is not FrameShapley:
            options["feature_mask"] = Tubes(2, 2, 2)
    if "n_steps" in parameters:
        options["n_steps"] = 2
    if method is SelectiveRelevance and not isinstance(model, Attribution):
        return method(LRP(model, WIDE), **options)
    if method is ExtremalPerturbation:
        # These clips are white noise; and what is said here is true of the first mask already.
        options |= {"baselines": 0.0, "max_iterations": 3}
    if "composite" in parameters:
        # The model has no normalization, from which the rule at the input would know its bounds.
        options["composite"] = WIDE
    return method(model, **options)


@pytest.fixture
def model(method):
    # Those of class activation share their code, and have one entry.
    name = next((one.model for one in KINDS if one.kind is method), "gru_mean")
    wrapper, _ = family(name).build()
    return wrapper.double()


@pytest.fixture
def clip():
    return family("gru_mean").clip(torch.float64).clamp(-2, 2)


@on_all_methods
def test_the_attribution_has_the_axes_that_the_traits_name(method, model, clip):
    found = made(method, model).attribute(clip, target=1)
    sizes = dict(zip(("batch", "time", "channel", "height", "width"), clip.shape, strict=True))
    sizes["steps"] = model.frame_logits(clip).logits.shape[1]
    assert found.shape == tuple(sizes[axis] for axis in method.traits.axes.split())
    assert method.traits.input_shaped == (found.shape == clip.shape)


@on_all_methods
def test_the_sign_is_what_the_traits_say(method, model, clip):
    found = made(method, model).attribute(clip, target=1)
    assert bool((found < 0).any()) == (method.traits.sign == "signed")


@on_all_methods
@pytest.mark.usefixtures("as_user")
def test_only_those_that_need_more_than_logits_refuse_a_function(method, model, clip):
    def function(pixels):
        return model(pixels)

    if "frame logits" in method.traits.needs:
        with pytest.raises(FrameLogitsError, match="Wrap the model"):
            made(method, function)
        return
    if "layers" in method.traits.needs:
        with pytest.raises(OptionError, match="Or wrap the model"):
            made(method, function)
        of_layer = made(method, function, layer=model.encoder[4], relu=False)
        expected = made(method, model, layer="encoder.4", relu=False).attribute(clip, target=1)
        assert torch.equal(of_layer.attribute(clip, target=1), expected)
        assert expected.any()
        return
    assert torch.isfinite(made(method, function).attribute(clip, target=1)).all()


@on_all_methods
def test_what_is_random_follows_the_seed_and_nothing_else_has_one_that_matters(method, model, clip):
    if "seed" not in inspect.signature(method).parameters:
        assert not method.traits.random
        return
    one, other = (made(method, model, seed=seed).attribute(clip, target=1) for seed in (0, 1))
    assert torch.equal(one, other) != method.traits.random


@on_all_methods
@pytest.mark.usefixtures("as_user")
def test_a_method_is_taken_where_the_traits_say_so(method, model, clip):
    if method.traits.takes_methods:
        of_model = made(method, model).attribute(clip, target=1)
        of_method = made(method, TemporalGradient(model)).attribute(clip, target=1)
        assert of_method.shape == of_model.shape
        return
    with pytest.raises(ValueError, match="Pass the model that this method explains"):
        made(method, TemporalGradient(model))
