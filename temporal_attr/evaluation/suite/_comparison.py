"""What a suite found: a tidy table, and what can be said of methods from it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from temporal_attr._errors import DataError, OptionError, ResultError
from temporal_attr._files import write_text
from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation.suite._chance import CHANCE
from temporal_attr.evaluation.suite._ranking import (
    Difference,
    Ranked,
    critical_difference,
    differences,
    rank,
)
from temporal_attr.evaluation.suite._rows import LeftOut, MetricSummary, Row

if TYPE_CHECKING:
    from pandas import DataFrame
else:
    # An extra, which calls are not checked against.
    DataFrame = Any

TABLE, CURVES, ABOUT = "table.csv", "curves.csv", "comparison.json"
_POINT = ("model", "clip", "method", "metric", "curve", "place", "value")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Attribution methods, judged.

    Attributes:
        table: A row for each model, clip, method and metric, see `Row`.
        metrics: What is known of each metric.
        left_out: Clips that were not explained to a model.
        curves: What metrics say beyond one number, such as the curve of a deletion: a row for each
            of its points, with the columns `model`, `clip`, `method`, `metric`, `curve`, `place`
            and `value`.
    """

    table: DataFrame
    metrics: tuple[MetricSummary, ...]
    left_out: tuple[LeftOut, ...]
    curves: DataFrame

    @staticmethod
    def of_rows(
        rows: Sequence[Row], metrics: Sequence[Metric], left_out: tuple[LeftOut, ...]
    ) -> Comparison:
        """From what was found."""
        known = tuple(
            MetricSummary(
                metric.name,
                metric.traits.question,
                metric.traits.family,
                metric.traits.higher_is_better,
            )
            for metric in metrics
        )
        columns = [entry.name for entry in fields(Row) if entry.name != "curves"]
        found = [[getattr(row, name) for name in columns] for row in rows]
        points = [
            (row.model, row.clip, row.method, row.metric, name, place, value)
            for row in rows
            for name, curve in row.curves.items()
            for place, value in enumerate(curve)
        ]
        pandas = _pandas()
        return Comparison(
            pandas.DataFrame(found, columns=columns),
            known,
            left_out,
            pandas.DataFrame(points, columns=list(_POINT)),
        )

    @property
    def methods(self) -> list[str]:
        """Their names, in the order of the table."""
        return list(dict.fromkeys(self.table["method"]))

    @property
    def failures(self) -> DataFrame:
        """The rows of methods and metrics that an error stopped."""
        return self.table[self.table["failed"].astype(bool)]

    def values(self, metric: str, method: str) -> list[np.ndarray]:
        """What a metric says of a method: an array of clips for each model, in the table's order.

        NaN where there is no value.

        Raises:
            OptionError: If there is no such metric or method.
        """
        self._require(metric, method)
        rows = self.table[(self.table["metric"] == metric) & (self.table["method"] == method)]
        return [
            group["value"].to_numpy(np.float64) for _, group in rows.groupby("model", sort=False)
        ]

    def ranking(self, metric: str, confidence: float = 0.95, seed: int = 0) -> list[Ranked]:
        """Methods by their mean, the best first, each with the interval over models and clips.

        Methods are compared on the same clips: those that have a value of each clip that any
        method has one of. One that lacks some (it fails, or is not for one of the models) follows
        at the end, with the mean over the clips that it has and no rank.

        Args:
            metric: Its name.
            confidence: Of the intervals, in (0, 1).
            seed: Of the bootstrap.

        Raises:
            OptionError: If there is no such metric, or neither direction of it is better.
            DataError: If no method has a value of each clip.
        """
        known = self._known(metric)
        if known.higher_is_better is None:
            raise OptionError(
                "a metric of which more, or less, is better", metric, "Look at its values instead."
            )
        whole, parts, shared = self._complete(metric)
        # That random numbers stay the same when the model changes is no merit of theirs.
        levels = tuple(CHANCE) if known.family in ("truth", "faithfulness") else ()
        options = (known.higher_is_better, levels, confidence, seed)
        found = rank(whole, *options, shared)
        for name, common in parts.items():
            own = next(one for one in rank(common, *options) if one.method == name)
            found.append(replace(own, mean_rank=math.nan))
        return found

    def differences(self, metric: str, confidence: float = 0.95, seed: int = 0) -> list[Difference]:
        """Each pair of methods: the mean difference, its interval, and how likely by chance.

        p-values are of a paired permutation test over clips, corrected for all pairs by Holm.

        Raises:
            OptionError: If there is no such metric.
            DataError: If no method has a value of each clip.
        """
        self._known(metric)
        whole, _, shared = self._complete(metric)
        return differences(whole, confidence, seed, shared)

    def critical_difference(self, metric: str, significance: float = 0.05) -> tuple[float, float]:
        """The difference of mean ranks that is no chance, after Nemenyi, and Friedman's p-value.

        Raises:
            OptionError: If there is no such metric.
            DataError: If no method has a value of each clip, or there are fewer than 3 methods.
        """
        known = self._known(metric)
        whole, _, shared = self._complete(metric)
        higher = known.higher_is_better is not False
        return critical_difference(whole, higher, significance, shared)

    def agreement(self) -> DataFrame:
        """Kendall's tau of each pair of metrics: do they order the methods alike?

        Metrics of which neither direction is better, or without values, are left out.
        """
        from scipy.stats import kendalltau  # noqa: PLC0415

        orders = {}
        for known in self.metrics:
            if known.higher_is_better is None or not self._has_values(known.name):
                continue
            means = {one.method: one.mean for one in self.ranking(known.name)}
            sign = 1 if known.higher_is_better else -1
            orders[known.name] = {name: sign * mean for name, mean in means.items()}
        found = _pandas().DataFrame(np.nan, index=list(orders), columns=list(orders))
        for one, other in itertools.product(orders, repeat=2):
            both = [name for name in orders[one] if name in orders[other]]
            pairs = [[orders[each][name] for name in both] for each in (one, other)]
            found.loc[one, other] = kendalltau(*pairs).statistic if len(both) > 1 else np.nan
        return found

    def summary(self) -> str:
        """The rankings in a few lines of text, with what failed and what was left out."""
        lines = []
        if self.table["model"].nunique() == 1:
            lines.append("one model: intervals are over its clips, and say nothing of other models")
        for known in self.metrics:
            lines.append(f"{known.name}: {known.question}")
            if not self._has_values(known.name):
                lines.append("  no value")
            elif known.higher_is_better is not None:
                lines += [f"  {one}" for one in self.ranking(known.name)]
        failed = self.failures
        if len(failed):
            lines.append(f"{len(failed)} of {len(self.table)} rows failed:")
            counts = failed.groupby(["method", "note"], sort=False).size()
            lines += [f"  {name}: {count} x {note}" for (name, note), count in counts.items()]
        if self.left_out:
            lines.append(f"{len(self.left_out)} clips were left out:")
            lines += [f"  {one.clip} of {one.model}: {one.reason}" for one in self.left_out[:5]]
        return "\n".join(lines)

    def save(self, folder: str | Path) -> Path:
        """Write `table.csv`, `curves.csv`, and what else is known as `comparison.json`.

        Returns:
            The folder.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_text(place / TABLE, self.table.to_csv(index=False))
        write_text(place / CURVES, self.curves.to_csv(index=False))
        about: dict[str, Any] = {
            "metrics": [asdict(one) for one in self.metrics],
            "left_out": [asdict(one) for one in self.left_out],
        }
        write_text(place / ABOUT, json.dumps(about, indent=1) + "\n")
        return place

    @staticmethod
    def load(folder: str | Path) -> Comparison:
        """What `save` wrote.

        Raises:
            ResultError: If the folder holds no comparison.
        """
        place = Path(folder)
        try:
            about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
            table = _pandas().read_csv(place / TABLE)
            table["note"] = table["note"].fillna("")
            curves = _pandas().read_csv(place / CURVES)
            metrics = tuple(MetricSummary(**one) for one in about["metrics"])
            left_out = tuple(LeftOut(**one) for one in about["left_out"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultError(
                f"a comparison in {place}",
                f"{type(error).__name__}: {error}"[:200],
                "Give the folder that Comparison.save or `temporal-attr compare --out` wrote.",
            ) from error
        return Comparison(table, metrics, left_out, curves)

    def _complete(
        self, metric: str
    ) -> tuple[dict[str, list[np.ndarray]], dict[str, dict[str, list[np.ndarray]]], bool]:
        """Methods that have all values, and each of the others with those on the clips it has.

        Last, whether all models have the same clips.
        """
        rows = self.table[self.table["metric"] == metric]
        wide = rows.pivot_table(
            index=["model", "clip"], columns="method", values="value", sort=False, dropna=False
        )
        wide = wide.dropna(axis=1, how="all").dropna(axis=0, how="all")
        whole = wide.dropna(axis=1, how="any")
        if whole.empty:
            raise DataError(
                f"a method that has a value of {metric} on each clip",
                "none",
                "Look at failures, and leave out clips or models on which methods fail.",
            )
        parts = {}
        for name in wide.columns.difference(whole.columns, sort=False):
            parts[name] = _by_model(wide[[*whole.columns, name]].dropna(axis=0, how="any"))
        clips = {tuple(group.index.get_level_values("clip")) for _, group in _models(whole)}
        return _by_model(whole), parts, len(clips) == 1

    def _has_values(self, metric: str) -> bool:
        return bool(self.table.loc[self.table["metric"] == metric, "value"].notna().any())

    def _known(self, metric: str) -> MetricSummary:
        for known in self.metrics:
            if known.name == metric:
                return known
        raise OptionError(
            f"one of the metrics {', '.join(known.name for known in self.metrics)}",
            repr(metric),
            "Choose one.",
        )

    def _require(self, metric: str, method: str) -> None:
        self._known(metric)
        if method not in self.methods:
            raise OptionError(
                f"one of the methods {', '.join(self.methods)}", repr(method), "Choose one."
            )


def _by_model(wide: DataFrame) -> dict[str, list[np.ndarray]]:
    """By method, an array of clips for each model."""
    return {
        name: [group[name].to_numpy(np.float64) for _, group in _models(wide)]
        for name in wide.columns
    }


def _models(wide: DataFrame) -> Any:  # noqa: ANN401 - pandas' groups
    return wide.groupby(level="model", sort=False)


def _pandas() -> Any:  # noqa: ANN401 - a module
    try:
        import pandas  # noqa: PLC0415
    except ImportError:
        raise OptionError(
            "pandas, which tables need", "none", "pip install 'temporal-attr[tables]'."
        ) from None
    return pandas
