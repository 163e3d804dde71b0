"""All metrics, family by family. A new metric adds its line here."""

from temporal_attr.evaluation._metric import Metric

METRICS: tuple[type[Metric], ...] = ()
"""Every metric of the library, by which the suite, the docs and the tests know them."""
