"""Every method on every clip of every model, judged by every metric."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

from temporal_attr._errors import OptionError
from temporal_attr._require import require_count
from temporal_attr._told import told
from temporal_attr.evaluation._case import Model
from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation._named import metrics_of
from temporal_attr.evaluation.suite._compared import Compared, MethodLike, compared
from temporal_attr.evaluation.suite._comparison import Comparison
from temporal_attr.evaluation.suite._digest import digest_of
from temporal_attr.evaluation.suite._examples import (
    ClipLike,
    example_for,
    name_of,
    require_clips,
    with_target,
)
from temporal_attr.evaluation.suite._rows import LeftOut, Row, RowStore, kept_rows
from temporal_attr.evaluation.suite._unit import Made, Unit, run_unit
from temporal_attr.models import require_evaluation_mode
from temporal_attr.perturbations import OnStop, require_on_stop, stopping


@dataclass(frozen=True, eq=False)
class Suite:
    """A comparison of attribution methods.

    Args:
        models: By their names, or one alone.
        methods: Slugs of this library's methods (`"lrp"`) and of levels of chance (`"random"`,
            `"centre"`, `"motion-energy"`, `"edges"`); classes; methods that were made, of this
            library or Captum; functions from a model to a method; functions of clip and target, or
            of model, clip and target, that give scores. In a list, or by names.
        clips: With what is known of them: planted videos, `Example`, `Clip` or tensors.
        metrics: Names, or metrics with options of their own.
        budget: Evaluations for each explanation, which those of the library's methods that are
            given by slug or class keep to as far as their options allow; None for their defaults.
        seed: Of all that is drawn at random.
        only_correct: Whether a clip is left out where its target is given and the model predicts
            another class: what the truth says is then not what the model went by.

    Raises:
        OptionError: If something is missing, no method, no metric, or has another's name.

    Example:
        >>> from temporal_attr.synthetic import Keyframe
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> clips = [Keyframe(frames=6, size=16).sample(index) for index in range(2)]
        >>> suite = Suite(model, ["lrp", "random"], clips, ["auprc-frames"], only_correct=False)
        >>> table = suite.run(show_progress=False).table
        >>> table.groupby("method").size().to_dict()
        {'lrp': 2, 'random': 2}
    """

    models: Mapping[str, Model] | Model
    methods: Sequence[MethodLike] | Mapping[str, MethodLike]
    clips: Sequence[ClipLike]
    metrics: Sequence[str | Metric]
    budget: int | None = None
    seed: int = 0
    only_correct: bool = True

    def __post_init__(self) -> None:
        if self.budget is not None:
            require_count("budget", self.budget, 3)
        require_count("seed", self.seed, 0, 2**31)
        require_clips(self.clips)
        metrics_of(self.metrics)
        models = named_models(self.models)
        bound = [one.name for one in compared(self.methods, self.budget) if one.of_one_model]
        if bound and len(models) > 1:
            raise OptionError(
                "methods that can be made for each of several models",
                f"{', '.join(bound)}, of clip and target only, or made already",
                "Give a function of a model, or of model, clip and target.",
            )
        for model in models.values():
            require_evaluation_mode(model)

    def run(
        self,
        store: str | Path | None = None,
        show_progress: bool = True,
        on_stop: OnStop = "raise",
    ) -> Comparison:
        """Explain and judge.

        Args:
            store: A folder in which each explanation's rows are kept as soon as they are there. A
                run that was stopped, by whatever, goes on where it was; so does one with more
                methods, clips or metrics. What failed is tried again. What is kept is known by all
                that models, clips, truth, methods and metrics hold, their names, budget, seed and
                the version of the library; global variables that a function reads are not seen.
            show_progress: Whether to show a bar with the time left.
            on_stop: What becomes of a run that is stopped: `"raise"`, or `"keep"` for what is done
                by then.

        Raises:
            ResultError: If the folder holds something else, or another run writes to it.
            TargetError: If a model has no such class as a clip's target.
        """
        require_on_stop(on_stop)
        metrics, rows, left_out = metrics_of(self.metrics), list[Row](), list[LeftOut]()
        methods, models = compared(self.methods, self.budget), named_models(self.models)
        total, complete = len(models) * len(methods) * len(self.clips), False
        with (
            stopping(on_stop),
            kept_rows(store) as kept,
            tqdm(total=total, disable=not show_progress) as bar,
        ):
            made, digests = Made(), {digest_of(metric): metric for metric in metrics}
            for unit in self._units(models, methods, left_out, bar):
                rows += _judged(unit, digests, kept, made)
                bar.update()
            complete = True
        return Comparison.of_rows(rows, metrics, tuple(left_out), complete)

    def _units(
        self,
        models: dict[str, Model],
        methods: Sequence[Compared],
        left_out: list[LeftOut],
        bar: tqdm[None],
    ) -> Iterator[Unit]:
        """All work, clip by clip, so that what is there early is of all methods."""
        # Once: a method can hold a whole model, and hashing that takes longer than some explain.
        held = {name: digest_of(model) for name, model in models.items()}
        made_of = {method.name: digest_of(method.held) for method in methods}
        for place, clip in enumerate(self.clips):
            for name, model in models.items():
                example, other = with_target(example_for(clip, place, model), model)
                if self.only_correct and other is not None:
                    reason = f"the model predicts class {other}, not {example.target}"
                    left_out.append(LeftOut(name, name_of(clip, place), reason))
                    bar.update(len(methods))
                    continue
                known = digest_of(version("temporal-attr"), name, held[name], example)
                for method in methods:
                    own = made_of[method.name]
                    key = digest_of(known, method.name, own, self.budget, self.seed)
                    yield Unit(key, name, model, example, method, self.seed)


def _judged(
    unit: Unit, digests: Mapping[str, Metric], kept: RowStore | None, made: Made
) -> list[Row]:
    """The rows of a unit: those that are kept, and what is still to be found, or failed before."""
    known = {} if kept is None else kept.rows(unit.key)
    missing = {key: one for key, one in digests.items() if key not in known or known[key].failed}
    if missing:
        found = dict(zip(missing, run_unit(unit, made, list(missing.values())), strict=True))
        if kept is not None:
            kept.add(unit.key, found)
        known |= found
    return [known[key] for key in digests]


def named_models(models: Mapping[str, Model] | Model) -> dict[str, Model]:
    """Models by their names; one alone has that of its class.

    Raises:
        OptionError: If there is none, or something is no model.
    """
    found = dict(models) if isinstance(models, Mapping) else {type(models).__name__: models}
    wrong = [
        f"{name}: {told(model)}"
        for name, model in found.items()
        if not callable(model) or isinstance(model, type)
    ]
    if not found or wrong:
        raise OptionError(
            "a model, or models by their names",
            ", ".join(wrong) or "none",
            "Pass a wrapped model, or a dict of them.",
        )
    return found
