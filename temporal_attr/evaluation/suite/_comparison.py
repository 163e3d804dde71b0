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
from temporal_attr.attributions._tables import require_pandas
from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation.suite._chance import CHANCE
from temporal_attr.evaluation.suite._crossed import Crossed
from temporal_attr.evaluation.suite._frames import read_csv
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
        complete: Whether the run came to its end, and was not stopped before.
    """

    table: DataFrame
    metrics: tuple[MetricSummary, ...]
    left_out: tuple[LeftOut, ...]
    curves: DataFrame
    complete: bool = True

    @staticmethod
    def of_rows(
        rows: Sequence[Row],
        metrics: Sequence[Metric],
        left_out: tuple[LeftOut, ...],
        complete: bool = True,
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
        pandas = require_pandas("comparisons")
        return Comparison(
            pandas.DataFrame(found, columns=columns),
            known,
            left_out,
            pandas.DataFrame(points, columns=list(_POINT)),
            complete,
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
        whole, parts = self._complete(metric)
        # That random numbers stay the same when the model changes is no merit of theirs.
        levels = tuple(CHANCE) if known.family in ("truth", "faithfulness") else ()
        options = (known.higher_is_better, levels, confidence, seed)
        found = rank(whole, *options)
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
        return differences(self._complete(metric)[0], confidence, seed)

    def critical_difference(self, metric: str, significance: float = 0.05) -> tuple[float, float]:
        """The difference of mean ranks that is no chance, after Nemenyi, and Friedman's p-value.

        Raises:
            OptionError: If there is no such metric.
            DataError: If no method has a value of each clip, or there are fewer than 3 methods.
        """
        known = self._known(metric)
        whole, _ = self._complete(metric)
        return critical_difference(whole, known.higher_is_better is not False, significance)

    def agreement(self) -> DataFrame:
        """Kendall's tau of each pair of metrics: do they order the methods alike?

        Metrics of which neither direction is better, or without values, are left out.
        """
        from scipy.stats import kendalltau  # noqa: PLC0415

        orders = {}
        for known in self.metrics:
            if known.higher_is_better is None or not self._has_values(known.name):
                continue
            # Means over other clips are no places in the same order.
            means = {
                one.method: one.mean
                for one in self.ranking(known.name)
                if not math.isnan(one.mean_rank)
            }
            sign = 1 if known.higher_is_better else -1
            orders[known.name] = {name: sign * mean for name, mean in means.items()}
        found = require_pandas("comparisons").DataFrame(
            np.nan, index=list(orders), columns=list(orders)
        )
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
        lines += self._without_values()
        failed = self.failures
        if len(failed):
            lines.append(f"{len(failed)} of {len(self.table)} rows failed:")
            counts = failed.groupby(["method", "note"], sort=False).size()
            lines += [f"  {name}: {count} x {note}" for (name, note), count in counts.items()]
        if self.left_out:
            lines.append(f"{len(self.left_out)} clips were left out:")
            lines += [f"  {one.clip} of {one.model}: {one.reason}" for one in self.left_out[:5]]
            more = len(self.left_out) - 5
            lines += [f"  and {more} more, see left_out"] if more > 0 else []
        if not self.complete:
            lines.append("the run was stopped before its end")
        return "\n".join(lines)

    def _without_values(self) -> list[str]:
        """Methods that a metric says nothing of, though nothing failed, and why."""
        rows = self.table[self.table["value"].isna() & ~self.table["failed"].astype(bool)]
        counts = rows.groupby(["metric", "method", "note"], sort=False).size()
        return [
            f"no value of {metric} for {method} on {count} clip(s): {note[:120]}"
            for (metric, method, note), count in counts.items()
        ]

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
            "complete": self.complete,
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
            table = read_csv(place / TABLE)
            curves = read_csv(place / CURVES)
            metrics = tuple(MetricSummary(**one) for one in about["metrics"])
            left_out = tuple(LeftOut(**one) for one in about["left_out"])
            complete = bool(about["complete"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ResultError(
                f"a comparison in {place}",
                f"{type(error).__name__}: {error}"[:200],
                "Give the folder that Comparison.save or `temporal-attr compare --out` wrote.",
            ) from error
        return Comparison(table, metrics, left_out, curves, complete)

    def _complete(self, metric: str) -> tuple[dict[str, Crossed], dict[str, dict[str, Crossed]]]:
        """Methods that have all values, and each of the others with those on the clips it has.

        Where none has all, the clips are those of the method that has most.
        """
        rows = self.table[self.table["metric"] == metric]
        wide = rows.pivot_table(
            index=["model", "clip"], columns="method", values="value", sort=False, dropna=False
        )
        wide = wide.dropna(axis=1, how="all").dropna(axis=0, how="all")
        if wide.empty:
            raise DataError(f"a value of {metric}", "none", "Look at failures, and at the notes.")
        most = wide[wide.notna().sum().idxmax()]
        whole = wide[most.notna()].dropna(axis=1, how="any")
        parts = {}
        for name in wide.columns.difference(whole.columns, sort=False):
            common = wide[[*whole.columns, name]].dropna(axis=0, how="any")
            if len(common):
                parts[name] = _crossed(common)
        return _crossed(whole), parts

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


def _crossed(wide: DataFrame) -> dict[str, Crossed]:
    """By method `(models, clips)`."""
    return {name: wide[name].unstack("clip").to_numpy(np.float64) for name in wide.columns}
