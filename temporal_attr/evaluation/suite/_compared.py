"""The methods that a suite compares, in whatever form they are given."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from captum.attr import Attribution, GradientAttribution
from torch import Tensor

from temporal_attr._errors import ModelError, OptionError
from temporal_attr._told import told
from temporal_attr._typing import ClipTensor
from temporal_attr.attributions import METHODS, VideoMethod
from temporal_attr.evaluation._case import Explanation, Model
from temporal_attr.evaluation.suite._budget import BACKWARD, options_within
from temporal_attr.evaluation.suite._chance import CHANCE
from temporal_attr.evaluation.suite._explained import is_sensitivity, of_result, of_tensor
from temporal_attr.perturbations import seeded

MethodLike: TypeAlias = str | type[VideoMethod] | Attribution | Callable[..., Any]
"""A slug, a class, a method, a function from a model to a method, or one that gives scores."""

SLUGS: dict[str, type[VideoMethod]] = {kind.traits.slug: kind for kind in METHODS}
"""The methods of the library by their slugs."""


@dataclass(frozen=True)
class Explained:
    """An explanation, and what it took.

    Attributes:
        evaluations: Forward passes of the clip, and two for each backward pass; NaN if nobody
            knows.
    """

    explanation: Explanation
    evaluations: float


Ask: TypeAlias = Callable[[ClipTensor, int], Explained]
"""A method that was made for a model."""


@dataclass(frozen=True)
class Compared:
    """A method by its name in tables, to be made for any model.

    Attributes:
        make: From a model, the number of frames and a seed to the method.
        held: What it is made of, by which a method is told from another of its name.
        seeded: Whether it draws, or may draw, random numbers by that seed.
        of_one_model: Whether it cannot be made for another model.
    """

    name: str
    make: Callable[[Model, int, int], Ask]
    held: object
    seeded: bool = False
    of_one_model: bool = False


def compared(
    methods: Sequence[MethodLike] | Mapping[str, MethodLike], budget: int | None = None
) -> list[Compared]:
    """Methods by their names.

    Raises:
        OptionError: If there is none, two have one name, or something is no method.
    """
    if isinstance(methods, str):
        methods = [methods]
    given = methods.items() if isinstance(methods, Mapping) else [(None, one) for one in methods]
    found = [_compared(name, one, budget) for name, one in given]
    names = [one.name for one in found]
    if len(set(names)) < len(names) or not names:
        twice = sorted({name for name in names if names.count(name) > 1})
        raise OptionError(
            "methods, at least one, each with a name of its own",
            f"{', '.join(twice)} more than once" if twice else "none",
            'Give them by name: methods={"mine": ..., "other": ...}.',
        )
    return found


def _compared(name: str | None, one: MethodLike, budget: int | None) -> Compared:
    if isinstance(one, str) and one in CHANCE:
        return Compared(name or one, _chance(one), one, seeded=one == "random")
    kind: MethodLike = SLUGS.get(one, one) if isinstance(one, str) else one
    if isinstance(kind, type) and issubclass(kind, VideoMethod):
        slug = kind.traits.slug
        return Compared(name or slug, _of_kind(kind, budget), kind, kind.traits.random)
    if isinstance(kind, Attribution):
        label = name or kind.get_name()
        return Compared(label, _of_instance(kind), kind, True, of_one_model=True)
    if isinstance(kind, str) or not callable(kind):
        raise OptionError(
            "a method: one of its slugs, a class, a method, or a function",
            told(one),
            f"The slugs are {', '.join([*SLUGS, *CHANCE])}.",
        )
    label = str(name or getattr(kind, "__name__", type(kind).__name__))
    make, of_clips = _of_function(kind, label)
    return Compared(label, make, kind, True, of_clips)


def _chance(name: str) -> Callable[[Model, int, int], Ask]:
    def make(model: Model, frames: int, seed: int) -> Ask:
        return lambda clip, target: Explained(
            of_tensor(CHANCE[name](clip, seed), clip, sensitivity=False), 0.0
        )

    return make


def _of_kind(kind: type[VideoMethod], budget: int | None) -> Callable[[Model, int, int], Ask]:
    def make(model: Model, frames: int, seed: int) -> Ask:
        options = {} if budget is None else options_within(kind, budget, frames)
        if "seed" in inspect.signature(kind).parameters:
            options["seed"] = seed
        return asking(kind(model, **options))

    return make


def _of_instance(method: Attribution) -> Callable[[Model, int, int], Ask]:
    own = getattr(method, "model", None) or method.forward_func

    def make(model: Model, frames: int, seed: int) -> Ask:
        if model is not own:
            raise ModelError(
                f"{method.get_name()} of the model at hand",
                "a method that was made for another model",
                "Give a function that makes the method of a model: lambda model: Method(model).",
            )
        return asking(method, seed)

    return make


def _of_function(
    function: Callable[..., Any], name: str
) -> tuple[Callable[[Model, int, int], Ask], bool]:
    """One of a model, that makes a method; or of clip and target, or model, clip and target.

    And whether it is of clip and target.
    """
    taken = _taken(function)
    if taken not in (1, 2, 3):
        raise OptionError(
            "a function of a model, of clip and target, or of model, clip and target",
            f"{name}, which takes {taken} arguments",
            "Bind the others first, by functools.partial.",
        )

    def make(model: Model, frames: int, seed: int) -> Ask:
        if taken == 1:
            with seeded(seed):
                made = function(model)
            if not isinstance(made, Attribution):
                raise OptionError(
                    f"a method from {name}(model)", told(made), "Return a method of the model."
                )
            return asking(made, seed)
        bound = function if taken == 2 else partial(function, model)

        def ask(clip: ClipTensor, target: int) -> Explained:
            with seeded(seed):
                found = bound(clip, target)
            return Explained(of_tensor(found, clip, sensitivity=False), math.nan)

        return ask

    return make, taken == 2


def _taken(function: Callable[..., Any]) -> int:
    """How many arguments it needs by place; of one that has a target, however many it takes."""
    parameters = inspect.signature(function).parameters
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    every = [one for one in parameters.values() if one.kind in by_place]
    if "target" in parameters and 2 <= len(every) <= 3:
        return len(every)
    return sum(one.default is one.empty for one in every)


def asking(method: Attribution, seed: int = 0) -> Ask:
    """A method of this library or of Captum, whose passes are counted; it draws by the seed."""
    if isinstance(method, VideoMethod):
        return _ask_ours(method)
    counted = _Counted(method)
    sensitivity = is_sensitivity(method)

    def ask(clip: ClipTensor, target: int) -> Explained:
        with seeded(seed):
            return counted.explained(clip, target, sensitivity)

    return ask


def _ask_ours(method: VideoMethod) -> Ask:
    # What the explanation does not need is not paid for.
    spared = {"influence": False, "temporal_attention": False}
    known = inspect.signature(method.explain).parameters
    options = {name: value for name, value in spared.items() if name in known}
    sensitivity = is_sensitivity(method)

    def ask(clip: ClipTensor, target: int) -> Explained:
        result = method.explain(clip, target, **options)
        forward, backward = result.run.forward_passes, result.run.backward_passes
        unknown = forward is None or backward is None
        evaluations = math.nan if unknown else forward + BACKWARD * backward  # type: ignore[operator]
        return Explained(of_result(result, sensitivity), evaluations)

    return ask


class _Counted:
    """A method of Captum's, a copy of which asks the model through a function that counts.

    A pass whose input asks for gradients counts as one forward and one backward.
    """

    def __init__(self, method: Attribution) -> None:
        self.evaluations = 0.0
        self._method = copy.copy(method)
        inner = self._method
        # NoiseTunnel and the like ask through the method that they were made of.
        while isinstance(getattr(inner, "attribution_method", None), Attribution):
            inner.attribution_method = copy.copy(inner.attribution_method)
            inner = inner.attribution_method
        self._differentiates = isinstance(inner, GradientAttribution)
        self._forward = inner.forward_func
        inner.forward_func = self._count

    def _count(self, clip: Tensor, *arguments: Any) -> Any:  # noqa: ANN401 - the model's
        goes_back = torch.is_grad_enabled() and clip.requires_grad
        self.evaluations += len(clip) * (1 + BACKWARD * goes_back)
        return self._forward(clip, *arguments)

    def explained(self, clip: ClipTensor, target: int, sensitivity: bool) -> Explained:
        """Explain a clip, and count."""
        self.evaluations = 0.0
        # Captum asks for gradients of what it is given, and warns where it has to say so itself.
        given = clip.detach().clone().requires_grad_(self._differentiates)
        found = self._method.attribute(given, target=target)
        # One that asks the module itself, as DeepLift does, was not seen.
        evaluations = self.evaluations or math.nan
        return Explained(of_tensor(found, clip, sensitivity), evaluations)
