"""What is removed from a case's clip: its frames, or features of its pixels, by their scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from temporal_attr._errors import OptionError
from temporal_attr._told import told
from temporal_attr._typing import Logits
from temporal_attr.attributions._nested import known_normalization
from temporal_attr.attributions._objective_values import check_pixel_baselines, pixel_baseline
from temporal_attr.evaluation._case import Case
from temporal_attr.evaluation._metric import Metric
from temporal_attr.evaluation.faithfulness._predicted import (
    CasePredictions,
    RisingObjective,
    scores_that_fit,
)
from temporal_attr.perturbations import (
    AbsentFrames,
    ComposedClips,
    FeatureMask,
    FrameBaselines,
    as_feature_mask,
    check_frame_baselines,
    masked_compositions,
)

Features: TypeAlias = Literal["frames"] | FeatureMask
"""What is removed: whole frames, or what a feature mask numbers in the clip.

A number that comes in several frames is one feature, as for all methods of the whole clip: so
`Blocks` and `Pixels` last from the first frame to the last. `Tubes` with as many parts as the clip
has frames, rows and columns are its single pixels.
"""

Present: TypeAlias = Bool[Tensor, "clips features"]
"""Which features each perturbed clip has, on the CPU."""

_CELLS = 2**22
"""Clips times features of which the perturbed frames are listed at a time."""


class FeatureClips(ABC):
    """A case's clip with some of its features only: what the model predicts of it.

    What was asked for once is not asked for again.

    Args:
        case: The clip, its model and its explanation.
        baselines: What replaces what is absent.

    Attributes:
        predictions: Asks the model.
        means: `(features,)`, the score of each; of a feature of pixels the mean over them, so that
            a large one is no better for being large.
        sums: The same, with the sum.
    """

    means: Float[np.ndarray, "features"]
    sums: Float[np.ndarray, "features"]

    def __init__(self, case: Case, baselines: FrameBaselines) -> None:
        self.predictions = CasePredictions(case)
        self.baselines = baselines
        self._known: dict[bytes, Tensor] = {}

    @property
    def count(self) -> int:
        """How many features there are."""
        return len(self.means)

    def logits(self, present: Present) -> Logits:
        """The logits of the clip with these features, in float64 on the CPU."""
        keys = [row.tobytes() for row in np.packbits(present.numpy(), axis=1)]
        places = {key: row for row, key in enumerate(keys) if key not in self._known}
        rows = torch.tensor(list(places.values()), dtype=torch.long)
        for part in rows.split(max(1, _CELLS // self.count)) if len(rows) else ():
            for own, composed in self._composed(present[part]):
                found = self.predictions.logits(composed)
                for row, logits in zip(own.tolist(), found, strict=True):
                    self._known[keys[int(part[row])]] = logits
        return torch.stack([self._known[key] for key in keys])

    def values(self, present: Present, objective: RisingObjective) -> Float[np.ndarray, "clips"]:
        """The objective of the clip with these features."""
        return self.predictions.objective(self.logits(present), objective)

    def whole(self, objective: RisingObjective) -> float:
        """The objective of the clip as it is."""
        return float(self.predictions.objective(self.predictions.whole, objective)[0])

    def _keep_whole(self) -> None:
        whole = np.packbits(np.ones((1, self.count), dtype=bool), axis=1)
        self._known[whole[0].tobytes()] = self.predictions.whole[0]

    @abstractmethod
    def _composed(self, present: Present) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        """The perturbed clips, in groups, each with its rows."""


class FrameClips(FeatureClips):
    """The same, where the features are frames.

    Args:
        case: As for `FeatureClips`.
        baselines: What replaces an absent frame.
    """

    def __init__(self, case: Case, baselines: FrameBaselines) -> None:
        self.means = self.sums = scores_that_fit(case, "frames")
        super().__init__(case, baselines)
        self._keep_whole()
        self._absent = AbsentFrames(self.predictions.clip, baselines)
        if baselines == "removal":
            self.predictions.require_length(1, 'baselines="removal"')

    def _composed(self, present: Present) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        for rows, composed in self._absent.without(present.to(self._absent.clip.device), 0):
            yield rows.cpu(), composed


class PlaceClips(FeatureClips):
    """The same, where the features are numbered in the pixels of the clip.

    Args:
        case: As for `FeatureClips`.
        features: Numbers them.
        baselines: What each value becomes where it is removed.
    """

    def __init__(self, case: Case, features: FeatureMask, baselines: FrameBaselines) -> None:
        scores = torch.from_numpy(scores_that_fit(case, "pixels")).flatten()
        super().__init__(case, baselines)
        clip = self.predictions.clip
        normalization = known_normalization(case.model, None)
        features.require_pixels(normalization)
        labels = features.labels(clip, normalization)
        # Numbers can have gaps.
        self._labels = torch.unique(labels, return_inverse=True)[1]
        assert baselines != "removal"
        self._baseline = pixel_baseline(clip, baselines)
        places = self._labels.flatten().cpu()
        sums = torch.bincount(places, weights=scores)
        self.sums = sums.numpy()
        self.means = (sums / torch.bincount(places)).numpy()
        self._keep_whole()

    def _composed(self, present: Present) -> Iterator[tuple[Int[Tensor, "rows"], ComposedClips]]:
        clip = self.predictions.clip
        rows = torch.zeros(len(present), dtype=torch.long, device=clip.device)
        given = present.to(clip.device)
        composed = masked_compositions(clip, self._baseline, self._labels, given, rows)
        yield torch.arange(len(present)), composed


_SHARED: ContextVar[dict[Hashable, FeatureClips] | None] = ContextVar("shared_clips", default=None)


@contextmanager
def shared_clips() -> Iterator[None]:
    """Let metrics of one case share what the model predicts of perturbed clips.

    Inside, a perturbed clip that two metrics of the same `Case` ask for goes through the model
    once, and counts for the one that asks first. The model must stay as it is. What was predicted
    is forgotten at the end.

    Example:
        >>> from temporal_attr.evaluation._case import Case, Explanation
        >>> from temporal_attr.evaluation.faithfulness import Deletion, LeaveOneOut
        >>> model = lambda clip: clip.mean((2, 3, 4))
        >>> case = Case(model, torch.rand(1, 4, 3, 2, 2), 1, Explanation(torch.arange(4.0)))
        >>> with shared_clips():
        ...     [metric.score(case).forward_passes for metric in (Deletion(), Deletion())]
        [5.0, 0.0]
    """
    token = _SHARED.set({})
    try:
        yield
    finally:
        _SHARED.reset(token)


def _hashes(value: Hashable) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def feature_clips(case: Case, features: Features, baselines: FrameBaselines) -> FeatureClips:
    """A case's clip with some of its features, new or as other metrics of the case left it.

    Raises:
        DataError: If the explanation has no scores of such features, or of a clip of other sizes.
        ClipError: And the others, as for `CasePredictions`.
    """
    shared = _SHARED.get()
    # A mask of the user's own need not be hashable, nor is a tensor; the metric holds it meanwhile.
    removed = features if isinstance(features, Hashable) and _hashes(features) else id(features)
    key = (case, removed, id(baselines) if isinstance(baselines, Tensor) else baselines)
    if shared is not None and key in shared:
        return shared[key]
    if features == "frames":
        found: FeatureClips = FrameClips(case, baselines)
    else:
        found = PlaceClips(case, features, baselines)
    if shared is not None:
        shared[key] = found
    return found


@dataclass(frozen=True)
class FeatureMetric(Metric):
    """Base of metrics that remove features of a clip and ask the model again.

    Attributes:
        features: What is removed; see `Features`. The score of a frame is the explanation's own,
            that of a feature of pixels the mean over its pixels.
        baselines: What replaces it; None for `"neighbour"` of frames, and for `"blur"` of others.
        objective: What the model is asked for.

    Raises:
        OptionError: If these are no features or baselines.
    """

    features: Features = "frames"
    baselines: FrameBaselines | None = None
    objective: RisingObjective = "probability"

    def __post_init__(self) -> None:
        if self.features != "frames":
            as_feature_mask(self.features)
        if self.baselines is not None:
            frames = self.features == "frames"
            (check_frame_baselines if frames else check_pixel_baselines)(self.baselines)
        require_one_of("objective", self.objective, get_args(RisingObjective))

    def clips(self, case: Case) -> FeatureClips:
        """The case's clip with some of its features."""
        return feature_clips(case, self.features, self._replacing)

    @property
    def _replacing(self) -> FrameBaselines:
        if self.baselines is not None:
            return self.baselines
        return "neighbour" if self.features == "frames" else "blur"


def require_one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    """Raise unless an option is one of some names.

    Raises:
        OptionError: With the names.
    """
    if value not in known:
        names = ", ".join(f'"{one}"' for one in known)
        raise OptionError(f"{name} to be {names}", told(value), "Choose one of them.")


def falling_by_chance(
    scores: Float[np.ndarray, "features"], seed: int
) -> Int[np.ndarray, "features"]:
    """The features by falling score; the order of those with equal scores is drawn.

    For scores with the other sign it is the order of rising scores, with the same draw.

    Example:
        >>> falling_by_chance(np.array([1.0, 3.0, 2.0]), seed=0)
        array([1, 2, 0])
    """
    drawn = np.random.default_rng(seed).permutation(len(scores))
    found: np.ndarray = drawn[np.argsort(-scores[drawn], kind="stable")]
    return found


def ties_note(scores: Float[np.ndarray, "features"]) -> str:
    """What a reader should know where nothing tells features apart."""
    if len(scores) > 1 and np.ptp(scores) == 0:
        return "all scores are equal: their order is drawn"
    return ""
