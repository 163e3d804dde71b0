"""The shapes of the library, each named once.

Axes: `batch` clips, `time` input frames, `channel`, `height`, `width` (the canonical clip is
`(batch, time, channel, height, width)`, RGB); `steps` a model's own timesteps (at most `time`),
`rows` some of them;
`classes`; `frames` a stack of frames from any clips, in which no frame knows its neighbours.

The names are checked at run time by jaxtyping's import hook in the test suite, and cost nothing
otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from jaxtyping import Float, Int, UInt8
from torch import Tensor

ClipTensor: TypeAlias = Float[Tensor, "batch time channel height width"]
"""A batch of clips, in the values of the model's own preprocessing."""

PathwayTensor: TypeAlias = Float[Tensor, "batch _ _ _ _"]
"""One of several clips of a batch, each with frames and sizes of its own (SlowFast)."""

Frames: TypeAlias = Float[Tensor, "frames channel height width"]
"""Single frames, of one clip or of many."""

RawFrames: TypeAlias = UInt8[Tensor, "frames channel _ _"] | Float[Tensor, "frames channel _ _"]
"""Frames before preprocessing: bytes 0 to 255, or floats 0 to 1."""

Features: TypeAlias = Float[Tensor, "batch ..."]
"""What a model knows before its readout; for a framewise model `(batch, time, ...)`."""

Logits: TypeAlias = Float[Tensor, "batch classes"]
"""One number a class: what a model returns, before an `Activation` makes probabilities of it."""

StepLogits: TypeAlias = Float[Tensor, "batch steps classes"]
"""One row of logits for each of a model's timesteps."""

StepWeights: TypeAlias = Float[Tensor, "steps"]
"""How much each timestep counts in the clip's logits; they sum to 1."""

StepScores: TypeAlias = Float[Tensor, "batch steps"]
"""One number for each of a model's timesteps."""

StepMatrix: TypeAlias = Float[Tensor, "batch steps steps"]
"""One number for each pair of timesteps: the one that predicts (row), and the one that is read."""

Target: TypeAlias = Int[Tensor, "batch"]
"""One class for each example."""

FrameScores: TypeAlias = Float[Tensor, "batch time"]
"""One number for each input frame."""

ShuffledScores: TypeAlias = Float[Tensor, "batch shuffles time"]
"""One number for each input frame of each shuffled clip; a column is a frame, wherever it stood."""

ShuffledLogits: TypeAlias = Float[Tensor, "batch shuffles classes"]
"""The logits of each shuffled clip."""

Orders: TypeAlias = Int[Tensor, "orders time"]
"""Orders of frames: entry p of a row is the frame shown at place p."""

LayerValues: TypeAlias = Float[Tensor, "batch feature steps rows columns"]
"""What a layer gives, or its gradient, with its channels before time, height and width."""

LayerMap: TypeAlias = Float[Tensor, "batch steps rows columns"]
"""One number for each place and time of a layer."""

Influence: TypeAlias = Float[Tensor, "batch rows time"]
"""One number for each pair of predicting timestep (row) and input frame (column).

The rows may be some of the timesteps only."""

TokenScores: TypeAlias = Float[Tensor, "batch token_time token_height token_width"]
"""One number for each token of a clip, on the grid of the patches that tokens are made of."""

TokenAttention: TypeAlias = Float[Tensor, "batch layer query_time key_time"]
"""What tokens of one time give to those of another, for each layer with attention."""

PerExample: TypeAlias = Float[Tensor, "batch"]
"""One number for each example."""

TargetLike: TypeAlias = int | tuple[int, ...] | list[int] | list[tuple[int, ...]] | Tensor | None
"""Captum's forms of a target."""

ClipOrPathways: TypeAlias = ClipTensor | tuple[PathwayTensor, ...]
"""What a method takes and, where it is input-shaped, gives back."""

Forward: TypeAlias = Callable[..., Any]
"""A function that maps clips to logits, as Captum's `forward_func`."""
