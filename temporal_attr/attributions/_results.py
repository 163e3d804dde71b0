"""What `explain` returns: tensors, what was predicted, and how the run went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, ClassVar

from jaxtyping import Float
from torch import Tensor

from temporal_attr._activation import (
    Activation,
    activation_note,
    are_exclusive,
    output_name,
    predicted,
    probabilities,
    require_activation,
    resolved_activation,
)
from temporal_attr._errors import ModelError, printable
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
        activation: What turns the logits into probabilities: `"softmax"`, `"sigmoid"`,
            `"identity"` (they are probabilities already) or `"none"` (there are none). As stated
            to the method or by the model, or as found out from the logits; never None.

    Raises:
        ModelError: If there are names, but not one for each class of the logits; or the logits are
            stated to be probabilities, and are none.
    """

    main_table: ClassVar[str] = "clips"
    """What `to_dataframe` gives if it is not told."""
    depends_on_target: ClassVar[bool] = True
    """Whether another class could have another result."""

    logits: Logits
    target: Target
    run: Run
    class_names: tuple[str, ...] = field(default=(), kw_only=True)
    activation: Activation | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        require_activation(self.activation)
        found = resolved_activation(self.activation, self.logits)
        object.__setattr__(self, "activation", found)
        # Set on a model or by `replace`, names pass no other check before they are shown.
        names = tuple(printable(name, keep="") for name in self.class_names)
        object.__setattr__(self, "class_names", names)
        classes = self.logits.shape[1]
        if self.class_names and len(self.class_names) != classes:
            # Here, since only now it is known how many classes the model has.
            raise ModelError(
                f"a name for each of the model's {classes} classes",
                f"{len(self.class_names)} class names",
                "Give the model's class_names in the order of its classes, or none.",
            )

    @property
    def found_by(self) -> str:
        """The name of the method's class, such as "TemporalGradient"."""
        return type(self).__name__.removesuffix("Result")

    def class_label(self, example: int = 0) -> str:
        """What the explained class of a clip is called: "running (3)", or "class 3" if unnamed."""
        self._require_example(example)
        return self._label(int(self.target[example]))

    def _require_example(self, example: int) -> None:
        """Raise unless the batch has such a clip."""
        require_count("example", example, 0, len(self.target) - 1)

    def _label(self, number: int, unnamed: str = "class ") -> str:
        return (
            f"{self.class_names[number]} ({number})" if self.class_names else f"{unnamed}{number}"
        )

    @property
    def probabilities(self) -> Logits | None:
        """`(batch, classes)`, in [0, 1]; None where the outputs have none (activation "none")."""
        if self.activation == "none":
            return None
        return probabilities(self.logits, self.activation)

    def top_classes(self, example: int = 0, count: int = 5) -> list[str]:
        """The best classes of a clip with their probabilities, or with their outputs, as text.

        Args:
            example: Which one of the batch.
            count: How many at most.

        Example:
            >>> import torch
            >>> from temporal_attr import LRP
            >>> from temporal_attr.relevance import Composite
            >>> method = LRP(lambda clip: clip.mean((1, 3, 4)), Composite(input=None))
            >>> method.explain(torch.zeros(1, 2, 3, 4, 4), target=0).top_classes(count=2)
            ['0 (33.3%)', '1 (33.3%)']
        """
        self._require_example(example)
        require_count("count", count, 1)
        chances = self.probabilities
        values = (self.logits if chances is None else chances)[example]
        order = values.argsort(descending=True, stable=True)[:count].tolist()
        names = [f"{number} {self.class_names[number]}" for number in order if self.class_names]
        shown = [
            f"output {values[number]:.3f}" if chances is None else f"{values[number]:.1%}"
            for number in order
        ]
        return [f"{name} ({value})" for name, value in zip(names or order, shown, strict=True)]

    def summary(self) -> str:
        """The result in a few lines of text."""
        return self._summary(self._details)

    def _summary(self, details: Callable[[int], list[str]]) -> str:
        """The lines that all methods have, and those on each clip that only this one has."""
        lines = [f"{self.found_by}: {self.run.describe()}"]
        note = activation_note(self.logits, self.activation)
        lines += [] if note is None else [f"note: {note}"]
        for example in range(len(self.target)):
            lines.append(f"clip {example}: {self._prediction(example)}")
            lines.extend(f"  {line}" for line in details(example))
        return "\n".join(lines)

    def _prediction(self, example: int) -> str:
        """What the model says of the target, and which class it predicts."""
        target, chances = int(self.target[example]), self.probabilities
        said = f"target {self._label(target, '')}"
        if self.activation != "identity":
            said += f", {output_name(self.activation)} {self.logits[example, target]:.3f}"
        if chances is None:
            return said
        said += f", probability {chances[example, target]:.1%}"
        if not are_exclusive(self.logits[example], self.activation):
            above = predicted(self.logits[example], self.target[example], self.activation)
            return f"{said}; {'predicted' if above else 'not predicted'}"
        top = int(self.logits[example].argmax())
        best = f"{self._label(top, '')}, with {chances[example, top]:.1%}"
        return f"{said}; " + ("the top class" if top == target else f"the top class is {best}")

    def to_dataframe(
        self, clip: Clip | Sequence[Clip] | None = None, *, table: str | None = None
    ) -> pandas.DataFrame:
        """A tidy table, for pandas (the extra `tables`).

        Tables, with the columns of each besides those that all have:

        - `"frames"`: a row for each frame of each clip. `frame`, its number in the clip, and a
          column for every field that is `(batch, time)`, by its name, such as `frame_scores`.
        - `"clips"`: a row for each clip. `logit` of the target (`output`, where it is a probability
          already or no score of a class), its `probability` and, of several, the `top_class`, where
          there are probabilities, and a column for every field that is `(batch,)`; of one with an
          interval also its ends, such as `mrr_low` and `mrr_high`.
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
    same_in_channels: ClassVar[bool] = False
    """Whether a place has one number, which stands in each of its channels."""
    shared_by_channels: ClassVar[bool] = False
    """Whether a place has one number, of which each of its channels has a part."""

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
        return top_frames(self.frame_scores[example])


@dataclass(frozen=True, eq=False)
class ScoreResult(Result):
    """Base of the results of methods that score whole frames, and no pixels.

    Attributes:
        frame_scores: `(batch, time)`, one number for each frame.
    """

    main_table: ClassVar[str] = "frames"

    frame_scores: FrameScores

    @property
    def frame_meaning(self) -> str:
        """What a frame's score is, for an axis."""
        raise NotImplementedError(f"{type(self).__name__} must say what it scores")

    @property
    def frame_error(self) -> FrameScores | None:
        """`(batch, time)`, the standard error of each score; None where there is none."""
        return None

    def _top_frames(self, example: int) -> str:
        return top_frames(self.frame_scores[example])


def top_frames(frame_scores: Float[Tensor, "time"]) -> str:
    """The three frames with the largest scores, and their shares of the sum of magnitudes.

    A share has the sign of the score. Of the sum itself, which scores of either sign can cancel to
    next to nothing, it could be any number.

    Example:
        >>> import torch
        >>> top_frames(torch.tensor([1.0, -2.0, 1.0]))
        '1 (-50%), 0 (25%), 2 (25%)'
        >>> top_frames(torch.zeros(3))
        'none, all scores are 0'
    """
    scores = frame_scores.double()
    order = scores.abs().argsort(descending=True, stable=True)[:3].tolist()
    total = scores.abs().sum().item()
    if not total:
        return "none, all scores are 0"
    return ", ".join(f"{frame} ({scores[frame].item() / total:.0%})" for frame in order)


def contribution_lines(exactness: str | None) -> list[str]:
    """What a summary says of timesteps that are no predictions of their own.

    Example:
        >>> contribution_lines("linear")
        []
    """
    if exactness != "frozen":
        return []
    return [
        "timesteps are contributions, not predictions: what mixes them is held at its values on "
        "this clip (see model.frame_logits(clip).rest_share())"
    ]
