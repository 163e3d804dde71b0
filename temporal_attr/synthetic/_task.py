"""What all planted tasks share: settings, seeds, rendering, and the truth that comes with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8

from temporal_attr._errors import ClipError, OptionError
from temporal_attr._require import LONGEST, WIDEST, require_count, require_range, require_within
from temporal_attr.clips import Clip, Preprocessing, write_video
from temporal_attr.synthetic._draw import Layer, background, compose


@dataclass(frozen=True, eq=False)
class PlantedVideo:
    """A video, and the truth about what decides its class.

    Attributes:
        frames: RGB bytes.
        label: The class.
        class_names: What the classes are called; `class_names[label]` is this video's.
        deciding_frames: Frames in which the cue can be seen.
        region: Pixels that show the cue; all false in frames that do not decide.
        pairs: For tasks whose cue lies between frames, the nearest pairs of frames that together
            tell the class, symmetric (pairs farther apart may tell it too); None where single
            frames tell it, or no one pair does.
        cues: The class that each cue supports, by the cue's name; where a cue is unreliable
            (task `Mixed`) that need not be the label.
        task: The task's name.
        name: Task, seed and index, for titles.

    Example:
        >>> from temporal_attr.synthetic import Order
        >>> video = Order(frames=12, size=32, distance=5).sample(0)
        >>> video.class_names[video.label], video.deciding_frames.nonzero()[0].tolist()
        ('cross then disc', [3, 4, 8, 9])
    """

    frames: UInt8[np.ndarray, "time height width channel"]
    label: int
    class_names: tuple[str, ...]
    deciding_frames: Bool[np.ndarray, " time"]
    region: Bool[np.ndarray, "time height width"]
    pairs: Bool[np.ndarray, "time time"] | None
    cues: dict[str, int]
    task: str
    name: str

    def clip(self, preprocessing: Preprocessing | None = None, fps: float = 8.0) -> Clip:
        """The video as a model sees it; `preprocessing` is usually `model.preprocessing`.

        Pictures of the truth lie on it pixel for pixel where the preprocessing does not resize.
        """
        preprocess = Preprocessing() if preprocessing is None else preprocessing
        frames = torch.from_numpy(self.frames).permute(0, 3, 1, 2)
        tensor = preprocess(frames)[None]
        return Clip.from_tensor(tensor, fps, preprocess.normalization, self.name)

    def write(self, path: str | Path, fps: float = 8.0) -> Path:
        """Write the video as VP9 in WebM, which is lossy; `load_clip` reads it."""
        return write_video(list(self.frames), path, fps)


@dataclass(frozen=True)
class Plan:
    """What one video shows: layers, bottom first, and where the cue is."""

    layers: list[Layer]
    cue: Bool[np.ndarray, "time height width"]
    deciding_frames: Bool[np.ndarray, " time"]
    pairs: Bool[np.ndarray, "time time"] | None = None
    cues: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Videos without end whose classes differ by one planted cue only.

    Background, noise, brightness, colours, size and place of what is shown vary from video to
    video, and are drawn without regard to the class: `sample(i, label=a)` and
    `sample(i, label=b)` are the same scene with another cue.

    Args:
        frames: Length of a video.
        size: Height and width in pixels, or one number for both.
        cue_size: Smallest and largest size of what is shown, as a share of the short side.
        noise: Standard deviation of the noise of each pixel, in grey levels of 0 to 255.

    Example:
        >>> from temporal_attr.synthetic import Motion
        >>> video = Motion(frames=8).sample(0)
        >>> tuple(video.clip().tensor.shape), video.label == Motion(frames=8).sample(0).label
        ((1, 8, 3, 48, 48), True)
    """

    name: ClassVar[str]
    shortest: ClassVar[int] = 1

    frames: int = 16
    size: int | tuple[int, int] = 48
    cue_size: tuple[float, float] = (0.3, 0.45)
    noise: float = 4.0

    def __post_init__(self) -> None:
        require_count("frames", self.frames, self.shortest, LONGEST)
        if len(self.shape) != 2:
            raise OptionError("size as one number or (height, width)", str(self.size), "Try 48.")
        for side in self.shape:
            require_count("size", side, 16, WIDEST)
        require_range("cue_size", self.cue_size, 4 / min(self.shape), 1)
        require_within("noise", self.noise, 0, 128)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.size if isinstance(self.size, tuple) else (self.size, self.size)

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """What each class is called."""

    @abstractmethod
    def _plan(self, random: np.random.Generator, label: int) -> Plan:
        """Draw a scene; what is drawn from `random`, and how much, must not depend on the label."""

    def sample(
        self,
        index: int,
        seed: int = 0,
        label: int | None = None,
        scenery: UInt8[np.ndarray, "time height width channel"] | None = None,
    ) -> PlantedVideo:
        """One video; the same for the same arguments.

        Args:
            index: Which of the videos of this seed.
            seed: Videos of different seeds are independent: take one to train and one to test.
            label: The class; by default random, all equally likely.
            scenery: RGB bytes of what is behind, such as real footage; by default coloured clouds
                that stand still.

        Raises:
            OptionError: If index or seed is negative or takes more than 32 bits, or there is no
                such class.
            ClipError: If the scenery is not of the task's frames and size.
        """
        # In 32 bits, so that no seed and index together make those of another video.
        require_count("index", index, 0, 2**32 - 1)
        require_count("seed", seed, 0, 2**32 - 1)
        random = np.random.default_rng((seed, index))
        drawn = int(random.integers(len(self.class_names)))
        label = drawn if label is None else label
        require_count("label", label, 0, len(self.class_names) - 1)
        # Drawn in any case, so that what is planted is the same before any scenery.
        clouds = background(random, self.shape)
        behind = np.repeat(clouds[None], self.frames, 0) if scenery is None else self._fit(scenery)
        plan = self._plan(random, label)
        picture = compose(behind, plan.layers) * random.uniform(0.8, 1.0)
        picture += self.noise * random.standard_normal(picture.shape, np.float32)
        return PlantedVideo(
            frames=picture.clip(0, 255).round().astype(np.uint8),
            label=label,
            class_names=self.class_names,
            deciding_frames=plan.deciding_frames,
            region=plan.cue & plan.deciding_frames[:, None, None],
            pairs=plan.pairs,
            cues=plan.cues or {self.name: label},
            task=self.name,
            name=f"{self.name} (seed {seed}, video {index})",
        )

    def _fit(
        self, scenery: UInt8[np.ndarray, "time height width channel"]
    ) -> Float[np.ndarray, "time height width channel"]:
        """The scenery, if it is of the task's frames and size."""
        wanted = (self.frames, *self.shape, 3)
        if scenery.shape != wanted:
            raise ClipError(
                f"a scenery of shape {wanted}, as the task's videos have",
                f"shape {scenery.shape}",
                "Choose as many frames, and resize them; or make a task of other frames and size.",
            )
        return scenery.astype(np.float32)

    def _radius(self, random: np.random.Generator) -> float:
        return float(random.uniform(*self.cue_size)) * min(self.shape) / 2

    def _anywhere(self, random: np.random.Generator) -> tuple[float, float]:
        height, width = self.shape
        return float(random.uniform(0, height)), float(random.uniform(0, width))

    def _inside(self, random: np.random.Generator, radius: float) -> tuple[float, float]:
        height, width = self.shape
        down = random.uniform(radius, max(radius, height - 1 - radius))
        return float(down), float(random.uniform(radius, max(radius, width - 1 - radius)))
