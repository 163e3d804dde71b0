"""What a call will cost, before it is paid."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from temporal_attr._require import require_within
from temporal_attr._run import RunContext
from temporal_attr._typing import Logits
from temporal_attr.gradients import isolated_autograd, mended, native_recurrence
from temporal_attr.gradients._query import no_gradient
from temporal_attr.models import model_logits

Call: TypeAlias = Literal["explain", "attribute"]
"""Which of a method's calls the cost is asked of."""

Certainty: TypeAlias = Literal["exact", "at most", "about"]
"""How far counted passes can be relied on."""


@dataclass(frozen=True)
class Estimate:
    """What a call of a method will cost: the passes it makes, and how long it takes.

    A pass is counted as in `Run`: every explained frame once through the model, or its encoder.
    Memory is taken to suffice for what is tried first; what runs out is done again.

    Attributes:
        method: The name of the method's class.
        call: `"explain"` or `"attribute"`.
        forward_passes: What `run.forward_passes` will be; None if the model cannot be counted.
        backward_passes: What `run.backward_passes` will be; None likewise.
        certainty: `"exact"`; `"at most"`, where passes depend on what is found on the way; or
            `"about"`, where they can also be somewhat more.
        frames: How many frames are explained, over all clips.
        seconds: About how long it takes, of wall-clock time, on this machine as busy as it is now.
        timed: What was run on these clips to tell.
        graph_bytes: What the graph of one pass over these clips holds for its backward pass, in
            bytes, beside the model's own tensors; None if that was not measured. A path that works
            in chunks holds the share of a chunk.

    Example:
        >>> import torch
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> method, clip = TemporalGradient(model), torch.rand(1, 4, 3, 16, 16)
        >>> estimate = method.estimate(clip, target=0)
        >>> estimate.forward_passes, estimate.backward_passes, estimate.certainty
        (2.0, 5.0, 'exact')
        >>> run = method.explain(clip, target=0).run
        >>> run.forward_passes, run.backward_passes
        (2.0, 5.0)
    """

    method: str
    call: Call
    forward_passes: float | None
    backward_passes: float | None
    certainty: Certainty
    frames: int
    seconds: float
    timed: str
    graph_bytes: int | None = None

    def __post_init__(self) -> None:
        require_within("seconds", self.seconds, 0)

    @property
    def forward_frames(self) -> int | None:
        """Frames that will go forward through the model, or through its encoder."""
        return None if self.forward_passes is None else round(self.forward_passes * self.frames)

    @property
    def backward_frames(self) -> int | None:
        """Frames that will go back through it."""
        return None if self.backward_passes is None else round(self.backward_passes * self.frames)

    def summary(self) -> str:
        """The estimate in a few lines of text.

        Example:
            >>> print(Estimate("LRP", "explain", 2.0, 1.0, "exact", 16, 75.0, "a pass").summary())
            LRP.explain: 2 forward and 1 backward pass(es), about 1 min 15 s
              32 frames forward, 16 frames back
              seconds from timing a pass on these clips
        """
        lines = [f"{self.method}.{self.call}: {self._passes()}, about {_duration(self.seconds)}"]
        if self.forward_frames is not None:
            lines.append(
                f"  {self.forward_frames} frames forward, {self.backward_frames} frames back"
            )
        lines.append(f"  seconds from timing {self.timed} on these clips")
        if self.graph_bytes is not None:
            lines.append(f"  the graph of a pass over these clips holds {_size(self.graph_bytes)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Estimate({self.summary().splitlines()[0]})"

    def _passes(self) -> str:
        if self.forward_passes is None or self.backward_passes is None:
            return "passes not known (a model that cannot be counted)"
        bound = "" if self.certainty == "exact" else f"{self.certainty} "
        return (
            f"{bound}{self.forward_passes:.4g} forward and {self.backward_passes:.4g} backward "
            "pass(es)"
        )


@dataclass(frozen=True)
class Work:
    """What a call will do.

    Attributes:
        plan: Has counted the passes.
        seconds: How long they take.
        timed: What was run to tell.
        certainty: Of the passes.
        graph_bytes: Of one pass; None if it was not measured.
    """

    plan: RunContext
    seconds: float
    timed: str
    certainty: Certainty = "exact"
    graph_bytes: int | None = None

    def estimate(self, method: str, call: Call, frames: int) -> Estimate:
        """The estimate that it makes, of so many explained frames."""
        counted = self.plan.finished(frames)
        return Estimate(
            method,
            call,
            counted.forward_passes,
            counted.backward_passes,
            self.certainty,
            frames,
            self.seconds,
            self.timed,
            self.graph_bytes,
        )


@dataclass(frozen=True)
class TimedPasses:
    """One forward pass without a graph, and one with it and back.

    Attributes:
        logits: Of the clips.
        forward: Seconds of a forward pass.
        backward: Seconds of a backward pass.
        graph_bytes: What the graph held.
    """

    logits: Logits
    forward: float
    backward: float
    graph_bytes: int

    def seconds(self, plan: RunContext, frames: int) -> float:
        """How long so many passes take."""
        counted = plan.finished(frames)
        assert counted.forward_passes is not None
        assert counted.backward_passes is not None
        return self.forward * counted.forward_passes + self.backward * counted.backward_passes


TIMED = "one forward pass, and one forward and back,"
"""What `timed_passes` runs."""


def timed_passes(
    model: Callable[..., Any], clips: tuple[Tensor, ...], arguments: tuple[Any, ...]
) -> TimedPasses:
    """Time a model on clips."""
    with isolated_autograd(clips) as own, native_recurrence(own[0].is_cuda):
        with torch.no_grad(), stopwatch(own[0]) as forward:
            logits = model_logits(model, tuple(clip.clone() for clip in own), arguments)
        leaves = tuple(clip.detach().requires_grad_() for clip in own)
        inputs = tuple(leaf.clone() for leaf in leaves)
        with stopwatch(own[0]) as both, graph_size(model) as held:
            output = mended(model_logits(model, inputs, arguments))
            if not output.requires_grad:
                raise no_gradient()
            torch.autograd.grad(output.sum(), leaves, allow_unused=True)
    return TimedPasses(
        logits.detach(), forward.seconds, max(0.0, both.seconds - forward.seconds), held.bytes
    )


class Stopwatch:
    """Seconds, once it has stopped.

    Example:
        >>> Stopwatch().seconds
        0.0
    """

    seconds = 0.0


@contextmanager
def stopwatch(on: Tensor) -> Iterator[Stopwatch]:
    """Time what runs inside, on the device of a tensor."""
    watch = Stopwatch()
    _finish(on)
    start = time.perf_counter()
    yield watch
    _finish(on)
    watch.seconds = time.perf_counter() - start


def _finish(on: Tensor) -> None:
    """Wait for what a card has not done yet."""
    if on.is_cuda:
        torch.cuda.synchronize(on.device)


class GraphSize:
    """Bytes that a graph holds, each storage once."""

    def __init__(self) -> None:
        self._storages: dict[int, int] = {}

    @property
    def bytes(self) -> int:
        """Their sum."""
        return sum(self._storages.values())

    def add(self, tensor: Tensor) -> None:
        """Count what a tensor keeps."""
        storage = tensor.untyped_storage()
        self._storages[storage.data_ptr()] = storage.nbytes()


@contextmanager
def graph_size(model: Callable[..., Any]) -> Iterator[GraphSize]:
    """Measure what graphs that are made inside hold, beside the tensors of the model itself."""
    size = GraphSize()
    own: set[int] = set()
    if isinstance(model, nn.Module):
        tensors = (*model.parameters(), *model.buffers())
        own = {tensor.untyped_storage().data_ptr() for tensor in tensors}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.layout is torch.strided and tensor.untyped_storage().data_ptr() not in own:
            size.add(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield size


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _size(count: float) -> str:
    for unit in ("bytes", "KB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
