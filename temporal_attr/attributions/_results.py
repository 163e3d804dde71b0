"""What `explain` returns: tensors, what was predicted, and how the run went."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from temporal_attr._run import Run
from temporal_attr._typing import ClipTensor, FrameScores, Logits, Target


@dataclass(frozen=True, eq=False)
class Result:
    """Base of the results of all methods.

    Attributes:
        logits: `(batch, classes)`, the model's prediction for each clip.
        target: `(batch,)`, the class that was explained.
        run: How the run went.
        class_names: What the model's classes are called, in their order; empty if not known.
    """

    large: ClassVar[tuple[str, ...]] = ()
    """Fields that are as large as the input; `to_dict` describes them instead."""

    logits: Logits
    target: Target
    run: Run
    class_names: tuple[str, ...] = field(default=(), kw_only=True)

    def summary(self) -> str:
        """The result in a few lines of text."""
        lines = [f"{type(self).__name__.removesuffix('Result')}: {self.run.describe()}"]
        probabilities = self.logits.softmax(1)
        for example, target in enumerate(self.target.tolist()):
            top = int(self.logits[example].argmax())
            says = (
                "the top class"
                if top == target
                else f"the top class is {top} ({probabilities[example, top]:.1%})"
            )
            lines.append(
                f"clip {example}: target {target}, logit {self.logits[example, target]:.3f}, "
                f"probability {probabilities[example, target]:.1%}; {says}"
            )
            lines.extend(f"  {line}" for line in self._details(example))
        return "\n".join(lines)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, contiguous and on the CPU."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {
            name: value.detach().cpu().contiguous()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, ready for JSON; input-sized tensors appear as shape and norm only.

        JSON has no NaN or infinity, so such numbers become None.
        """
        return {entry.name: self._plain(entry.name) for entry in fields(self)}

    def _plain(self, name: str) -> Any:  # noqa: ANN401
        value = getattr(self, name)
        if isinstance(value, Tensor) and name in self.large:
            norm = torch.linalg.vector_norm(value.double()).item()
            return {"shape": list(value.shape), "norm": _json_number(norm)}
        return plain(value)

    def _details(self, example: int) -> list[str]:
        """Lines of the summary that only this method has."""
        raise NotImplementedError(f"{type(self).__name__} must say what it found")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.summary())}</pre>"


@dataclass(frozen=True, eq=False)
class PixelResult(Result):
    """Base of the results of methods whose attribution is shaped like the clip.

    Attributes:
        attribution: `(batch, time, channel, height, width)`.
        frame_scores: `(batch, time)`, one number for each frame.
    """

    large: ClassVar[tuple[str, ...]] = ("attribution",)

    attribution: ClipTensor
    frame_scores: FrameScores

    @property
    def meaning(self) -> str:
        """What the attribution of a value is, for the legend of a picture."""
        raise NotImplementedError(f"{type(self).__name__} must say what it attributes")

    @property
    def frame_meaning(self) -> str:
        """What a frame's score is, for an axis."""
        raise NotImplementedError(f"{type(self).__name__} must say what it scores")

    def _top_frames(self, example: int) -> str:
        """The three frames with the largest scores, and their shares of the sum."""
        scores = self.frame_scores[example]
        order = scores.abs().argsort(descending=True, stable=True)[:3].tolist()
        total = scores.sum().item()
        return ", ".join(f"{frame} ({scores[frame].item() / total:.0%})" for frame in order)


def plain(value: Any) -> Any:  # noqa: ANN401
    """Plain Python from tensors and records; numbers that JSON lacks become None."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return _json_number(value) if isinstance(value, float) else value


def _json_number(value: float) -> float | None:
    return value if math.isfinite(value) else None
