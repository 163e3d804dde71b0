"""The clips of a suite, as a model takes them, and which of them are explained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from temporal_attr._activation import predicted
from temporal_attr._errors import OptionError, TargetError
from temporal_attr._told import told
from temporal_attr.clips import Clip
from temporal_attr.evaluation._case import Example, Model, Truth
from temporal_attr.models import VideoModel, model_logits
from temporal_attr.synthetic import PlantedVideo

ClipLike: TypeAlias = Example | PlantedVideo | Clip | Tensor
"""A clip with its truth, a planted video, a clip of a file, or a bare tensor of one clip."""


def name_of(clip: ClipLike, place: int) -> str:
    """What a clip is called in tables."""
    known = clip.source if isinstance(clip, Clip) else getattr(clip, "name", "")
    return str(known or f"clip {place}")


def require_clips(clips: Sequence[ClipLike]) -> None:
    """Raise unless there are clips, each with a name of its own.

    Raises:
        OptionError: With what came.
    """
    for clip in clips:
        if not isinstance(clip, (Example, PlantedVideo, Clip, Tensor)):
            raise OptionError(
                "clips as Example, PlantedVideo, Clip or tensor",
                told(clip),
                "Load a file first: load_clip(path, ...).",
            )
    names = [name_of(clip, place) for place, clip in enumerate(clips)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        raise OptionError(
            "clips, at least one, each with a name of its own",
            f"{', '.join(twice)} more than once" if twice else "none",
            "Name them: Example(clip, name=...).",
        )


def example_for(clip: ClipLike, place: int, model: Model) -> Example:
    """A clip in a model's own values, on its device."""
    name = name_of(clip, place)
    if isinstance(clip, Example):
        found = replace(clip, name=name)
    elif isinstance(clip, PlantedVideo):
        preprocessing = model.preprocessing if isinstance(model, VideoModel) else None
        tensor = clip.clip(preprocessing).tensor
        found = Example(tensor, clip.label, Truth.of(clip), name)
    else:
        found = Example(clip.tensor if isinstance(clip, Clip) else clip, name=name)
    weights = next(model.parameters(), None) if isinstance(model, torch.nn.Module) else None
    return found if weights is None else replace(found, clip=found.clip.to(weights))


def with_target(example: Example, model: Model) -> tuple[Example, int | None]:
    """The example with a target, by default the class predicted; and another class predicted.

    That is None where the model predicts the target: as the top class, or, where classes do not
    exclude each other, with more than a half.
    """
    with torch.no_grad():
        logits = model_logits(model, (example.clip,))[0]
    top = int(logits.argmax())
    if example.target is None:
        return replace(example, target=top), None
    if example.target >= len(logits):
        raise TargetError(
            f"a target from 0 to {len(logits) - 1}, for {example.name}",
            str(example.target),
            "The model has no such class.",
        )
    activation = getattr(model, "activation", None)
    target = torch.tensor(example.target, device=logits.device)
    return example, None if bool(predicted(logits, target, activation)) else top
