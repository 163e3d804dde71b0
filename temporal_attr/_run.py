"""How a run went: what it took, what ran out of memory before, and how often the model ran."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from importlib.metadata import version
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from temporal_attr._errors import ResultError

Precision: TypeAlias = Literal["full", "bfloat16"]

_THEN = ", then "
"""Between the paths of a run that took several."""


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("temporal-attr", "torch", "captum")}


@dataclass(frozen=True)
class Run:
    """How a run went, with what the methods that it used inside did.

    A pass is counted in frames: the number of frames that went through the model, or through its
    encoder, over the number of frames that were explained. So a batch that goes through the model
    once is 1 pass, whether in one piece or frame by frame; what a head over time reads again from
    features that are there is not counted. Passes of an attempt that ran out of memory count as far
    as they came to an end. What a model is tried on when a method first meets it, once a model, is
    no part of a run (`temporal_attr.models.require_as_assumed` says what that takes).

    Attributes:
        path: The path that was taken, such as a memory path of `TemporalGradient`; where several
            were, in the order in which they were first taken.
        tried: What ran out of memory before.
        precision: `"full"` for that of the clip, or `"bfloat16"` if any part ran in it.
        forward_passes: How many times the explained clips went forward; None if another library's
            method ran a model that cannot be counted (a plain function or module).
        backward_passes: How many times a gradient or relevance went back through the model; None
            likewise.
        chunk_sizes: For each path that works in chunks, how many frames, perturbed clips or
            timesteps went through at a time: the fewest, where memory ran short on the way.
        seconds: Wall-clock time.
        seed: The seed of the method's own random numbers; None if it draws none.
        versions: Of this library, torch and captum.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("inflated-resnet", classes=4, widths=(4, 8))
        >>> run = TemporalGradient(model).explain(torch.rand(1, 4, 3, 16, 16), 0).run
        >>> run.path, run.forward_passes, run.backward_passes  # the gradient, then 4 timesteps
        ('whole', 2.0, 5.0)
    """

    path: str
    tried: tuple[str, ...]
    precision: Precision
    forward_passes: float | None
    backward_passes: float | None
    chunk_sizes: dict[str, int]
    seconds: float
    seed: int | None = None
    versions: dict[str, str] = field(default_factory=_versions)

    def __post_init__(self) -> None:
        # One is read from a file too, which anybody may have written.
        for name, fits in _FIELDS.items():
            value = getattr(self, name)
            if not fits(value):
                raise ResultError(
                    f"a run whose {name} is {_SAID[name]}",
                    f"{value!r:.60}",
                    "The record was changed: copy it again, or explain again.",
                )

    @property
    def chunk_size(self) -> int | None:
        """The smallest of `chunk_sizes`; None where no path works in chunks."""
        return min(self.chunk_sizes.values(), default=None)

    def describe(self) -> str:
        """One line of text."""
        tried = f" (out of memory before: {', '.join(self.tried)})" if self.tried else ""
        half = "" if self.precision == "full" else f", in {self.precision}: NOT full precision"
        return f"{self._passes()}, path {self._path()}{tried}{half}, {self.seconds:.1f} s"

    def _path(self) -> str:
        names = self.path.split(_THEN)
        sizes = {name: f" ({size} at a time)" for name, size in self.chunk_sizes.items()}
        return _THEN.join(f"{name}{sizes.get(name, '')}" for name in names)

    def _passes(self) -> str:
        if self.forward_passes is None or self.backward_passes is None:
            return "passes not known (a model that cannot be counted)"
        forward, backward = self.forward_passes, self.backward_passes
        return f"{forward:.4g} forward and {backward:.4g} backward pass(es)"


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _maps_text_to(fits: Callable[[object], bool], value: object) -> bool:
    return isinstance(value, dict) and all(
        _is_text(name) and fits(entry) for name, entry in value.items()
    )


_FIELDS: dict[str, Callable[[Any], bool]] = {
    "path": _is_text,
    "tried": lambda value: isinstance(value, (tuple, list)) and all(map(_is_text, value)),
    "precision": lambda value: _is_text(value) and value in get_args(Precision),
    "forward_passes": lambda value: value is None or _is_number(value),
    "backward_passes": lambda value: value is None or _is_number(value),
    "chunk_sizes": lambda value: _maps_text_to(_is_whole, value),
    "seconds": _is_number,
    "seed": lambda value: value is None or _is_whole(value),
    "versions": lambda value: _maps_text_to(_is_text, value),
}
"""What each field of a run can hold."""

_SAID = {
    "path": "text",
    "tried": "a tuple of text",
    "precision": '"full" or "bfloat16"',
    "forward_passes": "a number or None",
    "backward_passes": "a number or None",
    "chunk_sizes": "a whole number for each path",
    "seconds": "a number",
    "seed": "a whole number or None",
    "versions": "text for each library",
}


class RunContext:
    """What a run was asked for, and what it has done so far.

    Each call of a method opens one with `started` and hands it down to all that runs the model. A
    method that is used inside another opens its own, and merges it into the outer one when it ends.

    Args:
        show_progress: Whether bars are shown, on anything over two seconds.
        seed: Of the method's own random numbers.

    Example:
        >>> run = RunContext()
        >>> run.took("framewise", chunk_size=8)
        >>> run.ran(forward=16, backward=8)
        >>> record = run.finished(frames=8)
        >>> record.path, record.chunk_size, record.forward_passes, record.backward_passes
        ('framewise', 8, 2.0, 1.0)
    """

    def __init__(self, show_progress: bool = False, seed: int | None = None) -> None:
        self.show_progress = show_progress
        self.seed = seed
        self._start = time.perf_counter()
        self._paths: dict[str, None] = {}
        self._tried: dict[str, None] = {}
        self._precision: Precision = "full"
        self._chunk_sizes: dict[str, int] = {}
        self._forward = self._backward = 0
        self._uncounted = False

    def took(self, path: str, chunk_size: int | None = None, precision: Precision = "full") -> None:
        """Note the path that a part was computed by."""
        self._paths[path] = None
        if precision != "full":
            self._precision = precision
        if chunk_size is not None:
            self._chunk_sizes[path] = min(chunk_size, self._chunk_sizes.get(path, chunk_size))

    def ran_out(self, attempt: str) -> None:
        """Note what ran out of memory."""
        self._tried[attempt] = None

    def ran(self, forward: int = 0, backward: int = 0) -> None:
        """Count frames that went through the model, forward or back."""
        self._forward += forward
        self._backward += backward

    def progress(self, total: int, description: str, show: bool = True) -> tqdm:
        """A bar, if one is wanted; it appears on anything over two seconds."""
        hidden = not (self.show_progress and show)
        return tqdm(total=total, desc=description, disable=hidden, delay=2)

    def merge(
        self, part: RunContext, path: str | None = None, precision: Precision = "full"
    ) -> None:
        """Take over what a part of the run did.

        Args:
            part: Of a method used inside, or of a path.
            path: What the part's paths are called here; by default what they are called there.
            precision: What the part was computed in, where it does not know itself.
        """
        for name in part._paths:
            lower = precision if part._precision == "full" else part._precision
            self.took(path or name, part._chunk_sizes.get(name), lower)
        self._tried |= part._tried
        self.ran(part._forward, part._backward)
        self._uncounted = self._uncounted or part._uncounted

    def repeat(self, part: RunContext, times: float) -> None:
        """Count what a part did so many times over; a share of it, if the part was of more clips.

        Example:
            >>> part, run = RunContext(), RunContext()
            >>> part.ran(forward=8, backward=4)
            >>> run.repeat(part, 2.5)
            >>> run.finished(frames=4).forward_passes
            5.0
        """
        self.ran(round(part._forward * times), round(part._backward * times))
        self._uncounted = self._uncounted or part._uncounted

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what a method of any library does with the model inside.

        A `VideoModel` that is called counts itself, and a method of this library counts whatever
        the model. Where neither was seen, the passes are not known.
        """
        token = _counting.set(self)
        before = self._forward
        try:
            yield
        finally:
            _counting.reset(token)
            # No method does without the model: it was run where nothing counts.
            if self._forward == before:
                self._uncounted = True

    def finished(self, frames: int) -> Run:
        """The record.

        Args:
            frames: How many frames were explained, over all clips.
        """
        return Run(
            path=_THEN.join(self._paths),
            tried=tuple(self._tried),
            precision=self._precision,
            forward_passes=None if self._uncounted else self._forward / frames,
            backward_passes=None if self._uncounted else self._backward / frames,
            chunk_sizes=dict(self._chunk_sizes),
            seconds=time.perf_counter() - self._start,
            seed=self.seed,
        )


_counting: ContextVar[RunContext | None] = ContextVar("_counting", default=None)


@contextmanager
def started(show_progress: bool = False, seed: int | None = None) -> Iterator[RunContext]:
    """A run, which is merged into the one that it is a part of, if there is one.

    Example:
        >>> with started() as run:
        ...     run.ran(forward=8)
        >>> run.finished(frames=8).forward_passes
        1.0
    """
    outer = _counting.get()
    run = RunContext(show_progress, seed)
    # What runs inside is counted by this run, and reaches the outer one with it.
    token = _counting.set(None)
    try:
        yield run
    finally:
        _counting.reset(token)
        if outer is not None:
            outer.merge(run)


def counted(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    """Run a model on clips, and count that where a run asks for it."""
    run = None if torch.compiler.is_compiling() else _counting.get()
    if run is None:
        return forward(*args, **kwargs)
    # What a model calls inside is part of its pass.
    token = _counting.set(None)
    try:
        output = forward(*args, **kwargs)
    finally:
        _counting.reset(token)
    clip = next(entry for entry in (*args, *kwargs.values()) if isinstance(entry, Tensor))
    frames = clip.shape[0] * clip.shape[1]
    run.ran(forward=frames)
    if isinstance(output, Tensor) and output.requires_grad:
        output.register_hook(lambda _: run.ran(backward=frames))
    return output
