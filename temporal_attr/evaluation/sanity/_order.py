"""Does an explanation change when the model can no longer see the order of frames?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from temporal_attr._require import require_count
from temporal_attr._targets import resolve_target
from temporal_attr.evaluation._again import Again, logits_of_clip
from temporal_attr.evaluation._case import Case, ScoresOf
from temporal_attr.evaluation._metric import Metric, MetricTraits, Score
from temporal_attr.evaluation._similarity import (
    Similarity,
    mean_similarity,
    require_similarity,
    similarity,
)
from temporal_attr.evaluation.sanity._order_blind import order_blind, random_orders
from temporal_attr.models import FramewiseModel


@dataclass(frozen=True)
class ShuffledTwin(Metric):
    """How alike the explanations of the model and of one that is blind to order are.

    The twin is the mean of the model over random orders of the frames, see `order_blind`. If the
    model uses order, an explanation of what it does must differ from that of its twin. If the model
    uses none, they are the same: so look at the note, which has the target's logit of both, or
    compare methods for one model. The value is in [-1, 1]. Methods that read a layer refuse the
    twin, unless the model is a `FramewiseModel`: each order goes through the layer by itself.

    Args:
        of: What is scored.
        orders: In how many orders the twin sees the clip.
        similarity: How explanations are compared; see `similarity`.

    Example:
        >>> ShuffledTwin(orders=4).name
        'shuffled-twin-frames(orders=4)'
    """

    traits: ClassVar[MetricTraits] = MetricTraits(
        slug="shuffled-twin",
        question="How much of it is left when the model can no longer see the order of frames?",
        family="sanity",
        needs=("method", "model"),
        higher_is_better=None,
        lowest=-1.0,
        highest=1.0,
        cost="1 A + (orders + 1) F, A of all orders",
        source="",
    )

    of: ScoresOf = "frames"
    orders: int = 8
    similarity: Similarity = "rank"

    def __post_init__(self) -> None:
        require_similarity(self.of, self.similarity)
        require_count("orders", self.orders, 1)

    def score(self, case: Case) -> Score:
        """Judge one explanation."""
        again = Again(case, self.require_explain(case), self.of)
        twin = order_blind(case.model, self.orders, case.seed)
        logits = [logits_of_clip(model, case.clip) for model in (case.model, twin)]
        target = int(resolve_target(case.target, logits[0][None]))
        seeing, blind = (float(one[target]) for one in logits)
        found = similarity(case.scores(self.of), again.scores(model=twin), self.similarity)
        # Of a framewise model only the head sees several orders.
        drawn = len(random_orders(case.clip.shape[1], self.orders, case.seed))
        passes = 1 if isinstance(case.model, FramewiseModel) else drawn
        note = f"the target's logit is {seeing:.4g}, and {blind:.4g} without order"
        return mean_similarity([found], forward_passes=1 + passes, note=note)
