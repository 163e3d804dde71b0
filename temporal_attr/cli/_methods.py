"""Running a method of the library by its name, and the methods of Captum that it may be given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, get_type_hints

import torch
from captum.attr import (
    Attribution,
    GradientShap,
    InputXGradient,
    Saliency,
)
from torch import Tensor, nn

from temporal_attr import attributions
from temporal_attr.attributions import Estimate, Result, VideoMethod
from temporal_attr.cli._print import say
from temporal_attr.clips import Clip
from temporal_attr.models import VideoModel


@dataclass(frozen=True)
class Base:
    """A method that another one can be given.

    Attributes:
        make: From a model and a seed to the method.
        random: Whether it draws random numbers from the global streams.
        arguments: What its `attribute` needs beside clip and target, from the clip.
    """

    make: Callable[[nn.Module, int], Attribution]
    random: bool = False
    arguments: Callable[[Tensor], dict[str, Any]] = lambda clip: {}


CAPTUM = {
    "gradient-shap": Base(
        lambda model, seed: GradientShap(model),
        True,
        lambda clip: {"baselines": torch.zeros_like(clip)},
    ),
    "input-x-gradient": Base(lambda model, seed: InputXGradient(model)),
    "saliency": Base(lambda model, seed: Saliency(model)),
}
"""Captum's methods for `--base`, and what is to be known of each."""


def methods() -> dict[str, type[VideoMethod]]:
    """The library's methods by their names at the command line."""
    return {method.traits.slug: method for method in attributions.METHODS}


def gathers(method: type[VideoMethod]) -> bool:
    """Whether the results of several clips say something together: see `cli._folder.Gathers`."""
    return hasattr(get_type_hints(method.explain).get("return"), "gather")


def bases() -> dict[str, Base]:
    """The methods for `--base`: their attribution has the shape of the clip."""
    own = {
        slug: Base(partial(_own, method, method.traits.random))
        for slug, method in methods().items()
        if method.traits.input_shaped
    }
    return dict(sorted({**CAPTUM, **own}.items()))


def _own(
    method: Callable[..., VideoMethod], random: bool, model: nn.Module, seed: int
) -> VideoMethod:
    """A method of the library, which draws from a seed of its own if it draws at all."""
    return method(model, seed=seed) if random else method(model)


def base_names() -> tuple[str, ...]:
    """The names of `bases`."""
    return tuple(bases())


@dataclass(frozen=True)
class Chosen:
    """A method and its options.

    Attributes:
        method: Its class.
        seed: For what it, or its base, draws.
        base: The name of the method that it is given, in place of the model.
        constructor: Options of the class.
        explain: Options of the call.
    """

    method: type[VideoMethod]
    seed: int = 0
    base: str | None = None
    constructor: Mapping[str, Any] = field(default_factory=dict)
    explain: Mapping[str, Any] = field(default_factory=dict)

    def run(self, model: nn.Module, clip: Clip, target: int) -> Result:
        """Explain the prediction for a clip; Ctrl-C keeps what is done, where that is possible."""
        takes = inspect.signature(self.method.explain).parameters
        given = self._given(model)
        if "show_progress" in takes:
            given["show_progress"] = True
        if "on_stop" in takes:
            given["on_stop"] = "keep"
        return self._made(model, clip).explain(clip.tensor, target, **given)

    def estimate(self, model: nn.Module, clip: Clip, target: int) -> Estimate:
        """What that will cost."""
        counts = self.method.cost_options()
        given = {name: value for name, value in self._given(model).items() if name in counts}
        return self._made(model, clip).estimate(clip.tensor, target, **given)

    def _given(self, model: nn.Module) -> dict[str, Any]:
        """The options of the call, as far as they hold for this model."""
        takes = inspect.signature(self.method.explain).parameters
        given = dict(self.explain)
        timed = isinstance(model, VideoModel) and model.has_timesteps
        if "influence" in takes and "influence" not in given and not timed:
            say("of this model there are no timesteps and no influence matrix")
            given["influence"] = False
        return given

    def _made(self, model: nn.Module, clip: Clip) -> VideoMethod:
        takes = inspect.signature(self.method).parameters
        given = dict(self.constructor)
        if "normalization" in takes and getattr(model, "normalization", None) is None:
            given["normalization"] = clip.normalization
        base = None if self.base is None else bases()[self.base]
        draws = self.method.traits.random or (base is not None and base.random)
        draws = draws or given.get("baselines") == "shuffled"
        # Only where it matters: with a seed some methods have to run every clip by itself.
        if "seed" in takes and draws:
            given["seed"] = self.seed
        if base is None:
            return self.method(model, **given)
        if arguments := base.arguments(clip.tensor):
            given["method_arguments"] = arguments
        return self.method(base.make(model, self.seed), **given)
