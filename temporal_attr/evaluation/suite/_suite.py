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
from temporal_attr.evaluation.suite._examples import (
    ClipLike,
    digest_of,
    example_for,
    name_of,
    require_clips,
    with_target,
)
from temporal_attr.evaluation.suite._rows import LeftOut, Row, RowStore
from temporal_attr.evaluation.suite._unit import Made, Unit, run_unit
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
        >>> model = build_model("gru", classes=2, widths=(4, 8)).eval()
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
        compared(self.methods, self.budget)
        metrics_of(self.metrics)
        named_models(self.models)

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
                methods, clips or metrics. What is kept is known by the model's weights, the clip's
                values, the names of method and metric, budget, seed and the version of the library:
                a function that changed and kept its name is not noticed.
            show_progress: Whether to show a bar with the time left.
            on_stop: What becomes of a run that is stopped: `"raise"`, or `"keep"` for what is done
                by then.

        Raises:
            ResultError: If the folder holds something else.
        """
        require_on_stop(on_stop)
        kept = None if store is None else RowStore(Path(store))
        metrics, rows, left_out = metrics_of(self.metrics), list[Row](), list[LeftOut]()
        methods, models = compared(self.methods, self.budget), named_models(self.models)
        total = len(models) * len(methods) * len(self.clips)
        with stopping(on_stop), tqdm(total=total, disable=not show_progress) as bar:
            made = Made()
            for unit in self._units(models, methods, left_out, bar):
                rows += _judged(unit, metrics, kept, made)
                bar.update()
        return Comparison.of_rows(rows, metrics, tuple(left_out))

    def _units(
        self,
        models: dict[str, Model],
        methods: Sequence[Compared],
        left_out: list[LeftOut],
        bar: tqdm[None],
    ) -> Iterator[Unit]:
        """All work, clip by clip, so that what is there early is of all methods."""
        weights = {name: digest_of(model) for name, model in models.items()}
        for place, clip in enumerate(self.clips):
            for name, model in models.items():
                example, predicted = with_target(example_for(clip, place, model), model)
                if self.only_correct and predicted != example.target:
                    reason = f"the model predicts class {predicted}, not {example.target}"
                    left_out.append(LeftOut(name, name_of(clip, place), reason))
                    bar.update(len(methods))
                    continue
                known = digest_of(name, weights[name], example.clip, example.target, example.name)
                for method in methods:
                    seed = self.seed + place
                    key = digest_of(version("temporal-attr"), known, method.name, self.budget, seed)
                    yield Unit(key, name, model, example, method, seed)


def _judged(unit: Unit, metrics: Sequence[Metric], kept: RowStore | None, made: Made) -> list[Row]:
    """The rows of a unit: those that are kept, and what is still to be found."""
    known = {} if kept is None else kept.rows(unit.key)
    missing = [metric for metric in metrics if metric.name not in known]
    if missing:
        found = run_unit(unit, made, missing)
        if kept is not None:
            kept.add(unit.key, found)
        known |= {row.metric: row for row in found}
    return [known[metric.name] for metric in metrics]


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
