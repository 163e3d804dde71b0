"""Models of the transformers library, recognised without importing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from temporal_attr._errors import UnsupportedModelError
from temporal_attr.clips import Preprocessing
from temporal_attr.models._base import VideoModel
from temporal_attr.models._late_fusion import LateFusion
from temporal_attr.models.libraries._attentive import VJEPA2, VideoPrism
from temporal_attr.models.libraries._timesformer import wrap_timesformer
from temporal_attr.models.libraries._transformers_base import activation_of, class_names_of
from temporal_attr.models.libraries._videomae import VideoMAE, ViViT

_FAMILIES: dict[str, Callable[[nn.Module, Preprocessing | None], VideoModel]] = {
    "TimesformerForVideoClassification": wrap_timesformer,
    "VideoMAEForVideoClassification": VideoMAE,
    "VideoPrismForVideoClassification": VideoPrism,
    "VivitForVideoClassification": ViViT,
    "VJEPA2ForVideoClassification": VJEPA2,
}
"""By the names of the classes, so that they need not be imported."""

_OF_IMAGES = ("ForImageClassification", "ForImageClassificationWithTeacher")
"""How the names of image classifiers end."""


def wrap_transformers(model: nn.Module, preprocessing: Preprocessing | None) -> VideoModel | None:
    """The wrapper of a classifier of the transformers library; None for models of others.

    Raises:
        UnsupportedModelError: If it is a model of that library that is no classifier, or of a
            family that is not known.
    """
    kinds = [
        kind for kind in type(model).__mro__ if kind.__module__.startswith("transformers.models.")
    ]
    if not kinds or not hasattr(model, "config"):
        return None
    wrapper = next(filter(None, (_wrapper(kind, model, preprocessing) for kind in kinds)), None)
    if wrapper is None:
        raise not_known(kinds[0], type(model).__name__)
    config = model.config
    wrapper.class_names = class_names_of(config)
    wrapper.activation = activation_of(config)
    return wrapper


def _wrapper(
    kind: type[Any], model: nn.Module, preprocessing: Preprocessing | None
) -> VideoModel | None:
    if kind.__name__ in _FAMILIES:
        return _FAMILIES[kind.__name__](model, preprocessing)
    if kind.__name__.endswith(_OF_IMAGES):
        return LateFusion(model, preprocessing=preprocessing)
    return None


def is_known(kind: type[Any]) -> bool:
    """Whether models of a class of the library can be wrapped."""
    return kind.__name__ in _FAMILIES or kind.__name__.endswith(_OF_IMAGES)


def not_known(kind: type[Any] | None, name: str) -> UnsupportedModelError:
    """The error of a class of the library, if it has it, that cannot be wrapped."""
    what = "which returns features, no logits"
    if kind is None:
        what = "which this version of the library does not have"
    elif kind.__name__.endswith("Classification"):
        what = "which is of a family that is not known here"
    return UnsupportedModelError(
        f"a classifier of the transformers library: {', '.join(_FAMILIES)}, or one for images",
        f"{name}, {what}",
        "Pass a function of clips to logits." if kind is None else _remedy(kind.__module__),
    )


def _remedy(module: str) -> str:
    """Which class has a classifier, if the family of a module has one."""
    family = module.split(".")[2]
    same = [name for name in _FAMILIES if name.lower().startswith(family.replace("_", ""))]
    if same:
        return f"Load the checkpoint as {same[0]}, if it was trained as one."
    return "Pass a function of clips to logits, or a subclass of VideoModel."
