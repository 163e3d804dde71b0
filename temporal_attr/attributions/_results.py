"""What `explain` returns: tensors, what was predicted, and how the run went."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from temporal_attr._errors import ModelError
from temporal_attr._require import require_count
from temporal_attr._run import Run
from temporal_attr._typing import ClipTensor, FrameScores, Logits, Target
from temporal_attr.attributions._storage import Stored, short_shapes
from temporal_attr.attributions._tables import result_table
from temporal_attr.clips import Clip

if TYPE_CHECKING:
    import pandas

_BASE_FIELDS = ("logits", "target")


@dataclass(frozen=True, eq=False)
class Result(Stored):
    """Base of the results of all methods.

    Attributes:
        logits: `(batch, classes)`, the model's prediction for each clip.
        target: `(batch,)`, the class that was explained.
        run: How the run went.
        class_names: What the model's classes are called, in their order; empty if not known. Those
            of the model (`wrap(model, class_names=...)`); give a result others with
            `dataclasses.replace(result, class_names=...)`.

    Raises:
        ModelError: If there are names, but not one for each class of the logits.
    """

    main_table: ClassVar[str] = "clips"
    """What `to_dataframe` gives if it is not told."""

    logits: Logits
    target: Target
    run: Run
    class_names: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        classes = self.logits.shape[1]
        if self.class_names and len(self.class_names) != classes:
            # Here, since only now it is known how many classes the model has.
            raise ModelError(
                f"a name for each of the model's {classes} classes",
                f"{len(self.class_names)} class names",
                "Give the model's class_names in the order of its classes, or none.",
            )

    def class_label(self, example: int = 0) -> str:
        """What the explained class of a clip is called: "running (3)", or "class 3" if unnamed."""
        require_count("example", example, 0, len(self.target) - 1)
        return self._label(int(self.target[example]))

    def _label(self, number: int, unnamed: str = "class ") -> str:
        return (
            f"{self.class_names[number]} ({number})" if self.class_names else f"{unnamed}{number}"
        )

    def summary(self) -> str:
        """The result in a few lines of text."""
        lines = [f"{type(self).__name__.removesuffix('Result')}: {self.run.describe()}"]
        probabilities = self.logits.softmax(1)
        for example, target in enumerate(self.target.tolist()):
            top = int(self.logits[example].argmax())
            best = f"{self._label(top, '')}, with {probabilities[example, top]:.1%}"
            says = "the top class" if top == target else f"the top class is {best}"
            lines.append(
                f"clip {example}: target {self._label(target, '')}, "
                f"logit {self.logits[example, target]:.3f}, "
                f"probability {probabilities[example, target]:.1%}; {says}"
            )
            lines.extend(f"  {line}" for line in self._details(example))
        return "\n".join(lines)

    def to_dataframe(
        self, clip: Clip | Sequence[Clip] | None = None, *, table: str | None = None
    ) -> pandas.DataFrame:
        """A tidy table, for pandas (the extra `tables`).

        Tables, with the columns of each besides those that all have:

        - `"frames"`: a row for each frame of each clip. `frame`, its number in the clip, and a
          column for every field that is `(batch, time)`, by its name, such as `frame_scores`.
        - `"clips"`: a row for each clip. `logit` and `probability` of the target, `top_class`, and
          a column for every field that is `(batch,)`; of one with an interval also its ends, such
          as `mrr_low` and `mrr_high`.
        - The name of any other field that is a tensor, such as `"influence"` or `"matrix"`: a row
          for each of its entries, with their places in columns `frame`, `timestep`, `order` and so
          on, and the entry in a column of the field's name. In a matrix of timesteps `timestep` is
          the row, which predicts, and `read_timestep` the column, which is read.

        All have `clip`, the number of the clip in the batch; `target`, the class explained; and
        `class_name`, what that is called (missing if not known). With `clip` given they also have
        `source`, where the clip is from, and, where there are frames, `timestamp`, the time of the
        frame in its video in seconds. Fields that are None have no column.

        Args:
            clip: The clip that was explained, or one for each of the batch.
            table: By default the method's own: `"frames"`, or `"matrix"` of
                `ContrastiveLRPTemporal`.

        Raises:
            ClipError: If a clip does not have the frames that were explained, or there is not one
                for each of the batch.
            OptionError: If there is no such table, or pandas is not installed.

        Example:
            >>> import torch
            >>> from temporal_attr import TemporalGradient
            >>> from temporal_attr.zoo import build_model
            >>> model = build_model("gru", classes=2, widths=(4, 8))
            >>> model.class_names = ("walking", "running")
            >>> result = TemporalGradient(model).explain(torch.rand(1, 4, 3, 16, 16), target=1)
            >>> print(result.to_dataframe()[["clip", "frame", "target", "class_name"]].tail(1))
               clip  frame  target class_name
            3     0      3       1    running
            >>> result.to_dataframe(table="influence").columns.tolist()
            ['clip', 'timestep', 'frame', 'target', 'class_name', 'influence']
        """
        return result_table(self, table or self.main_table, clip)

    def _details(self, example: int) -> list[str]:
        """Lines of the summary that only this method has."""
        raise NotImplementedError(f"{type(self).__name__} must say what it found")

    def _at_a_glance(self) -> list[str]:
        shapes = {
            entry.name: tuple(value.shape)
            for entry in fields(self)
            if entry.name not in _BASE_FIELDS
            and isinstance(value := getattr(self, entry.name), Tensor)
        }
        explained = sorted(set(self.target.tolist()))
        labels = [self._label(number) for number in explained[:3]]
        more = ["more"] if len(explained) > 3 else []
        target = f"target {', '.join([*labels, *more])}"
        return [*short_shapes(shapes), target, f"path {self.run.path}"]


@dataclass(frozen=True, eq=False)
class PixelResult(Result):
    """Base of the results of methods whose attribution is shaped like the clip.

    Attributes:
        attribution: `(batch, time, channel, height, width)`.
        frame_scores: `(batch, time)`, one number for each frame.
    """

    large: ClassVar[tuple[str, ...]] = ("attribution",)
    main_table: ClassVar[str] = "frames"

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
