"""Gradients of a model's outputs with respect to its clip, in as much memory as there is.

A *row* is one number for each example; the gradient of each row is asked for. Every path (a rung
of the ladder) computes the same numbers, except the last, which computes them in half precision
and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from tqdm import tqdm

from temporal_attr._errors import ModelError, OptionError
from temporal_attr.attributions._graph import own_graph
from temporal_attr.attributions._recurrence import native_recurrence
from temporal_attr.models import FrameLogits, FramewiseModel, VideoModel, check_logits

Memory: TypeAlias = Literal["auto", "whole", "framewise", "checkpoint", "offload", "half"]

DEFAULT_CHUNK = 16


Output: TypeAlias = Tensor | FrameLogits
"""What a model says of clips: logits `(batch, classes)`, or those of its timesteps."""


@dataclass(frozen=True)
class Question:
    """What is asked of a model: rows of numbers, and what to keep of their gradients.

    Attributes:
        model: A wrapper, or any function of clips.
        rows: The model's output to `(batch, rows)`; an example's rows depend on that example only.
        by_step: Whether that output is `frame_logits` rather than the clip's logits.
        keep: Applied to the gradient `(..., channel, height, width)` of each frame on its own.
        arguments: Handed to the model after the clips.
        show_progress: Show a bar on anything over two seconds.
    """

    model: Callable[..., Any]
    rows: Callable[[Any], Tensor]
    by_step: bool = False
    keep: Callable[[Tensor], Tensor] = lambda gradient: gradient
    arguments: tuple[Any, ...] = ()
    show_progress: bool = False

    @property
    def wrapper(self) -> VideoModel:
        """The model, where the path is open to wrappers only."""
        assert isinstance(self.model, VideoModel)
        return self.model

    def of_clips(self, clips: tuple[Tensor, ...]) -> Output:
        """The model's output for whole clips."""
        with native_recurrence(clips[0].is_cuda):
            if self.by_step:
                return self.wrapper.frame_logits(clips[0])
            return check_logits(self.model(*clips, *self.arguments), clips[0].shape[0])

    def of_features(self, features: Tensor) -> Output:
        """The model's output for features of a wrapper's clips."""
        with native_recurrence(features.is_cuda):
            if self.by_step:
                return self.wrapper.frame_head(features)
            return check_logits(self.wrapper.head(features), features.shape[0])


@dataclass(frozen=True)
class Answer:
    """Gradients `(rows, batch, time, ...)` for each clip, and how they were found."""

    gradients: tuple[Tensor, ...]
    output: Output
    path: str
    evaluations: int
    tried: tuple[str, ...] = ()
    precision: str = "full"
    chunk_size: int | None = None


def ask(
    question: Question,
    clips: tuple[Tensor, ...],
    memory: Memory = "auto",
    chunk_size: int | None = None,
) -> Answer:
    """Gradients by the named path, or with `"auto"` by the first that memory allows.

    Only running out of memory moves on to the next path; any other error is raised.

    Raises:
        OptionError: If the named path does not exist or the model does not have it.
    """
    with own_graph(clips) as own:
        paths = _available(question, own)
        if memory != "auto":
            return _path(paths, memory, question)(question, own, chunk_size)
        tried: list[str] = []
        if not own[0].is_cuda:
            del paths["offload"]  # the tensors are in the CPU's memory already
        for name, path in paths.items():
            try:
                answer = path(question, own, chunk_size)
            except Exception as error:
                if not is_out_of_memory(error) or name == list(paths)[-1]:
                    raise
            else:
                return replace(answer, tried=(*tried, *answer.tried))
            tried.append(name)
            torch.cuda.empty_cache()
    raise AssertionError("the last path raises")


Path: TypeAlias = Callable[[Question, tuple[Tensor, ...], "int | None"], Answer]


def _available(question: Question, clips: tuple[Tensor, ...]) -> dict[str, Path]:
    paths: dict[str, Path] = {"whole": _whole}
    model = question.model
    if isinstance(model, FramewiseModel) and len(clips) == 1:
        paths["framewise"] = _framewise
    elif isinstance(model, VideoModel) and len(model.stages) > 1:
        paths["checkpoint"] = _checkpoint
    paths["offload"] = _offload
    if clips[0].dtype != torch.float64:  # autocast leaves doubles as they are
        paths["half"] = _half
    return paths


def _path(paths: dict[str, Path], name: str, question: Question) -> Path:
    if name not in paths:
        options = ", ".join(f'"{option}"' for option in ("auto", *paths))
        raise OptionError(
            f"memory to be {options} for this {type(question.model).__name__}",
            repr(name),
            'The path "framewise" needs a FramewiseModel, and "checkpoint" a model with stages.',
        )
    return paths[name]


def _whole(question: Question, clips: tuple[Tensor, ...], chunk_size: int | None) -> Answer:
    if question.by_step and isinstance(question.model, FramewiseModel):
        # All frames as one chunk: timesteps that read different frames share a backward pass.
        frames = clips[0].shape[0] * clips[0].shape[1]
        answer = _framewise_chunks(question, clips[0], frames)
        return replace(answer, path="whole", chunk_size=None)
    return _differentiate(question, clips, question.of_clips, "whole")


def _checkpoint(question: Question, clips: tuple[Tensor, ...], chunk_size: int | None) -> Answer:
    """Keep the stages' borders only, and run each stage again on the way back."""
    on_cuda = clips[0].is_cuda

    def again(stage: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        def run(x: Tensor) -> Tensor:
            with native_recurrence(on_cuda):
                # A copy: what is kept for the second run must survive a stage that works in place.
                return stage(x.clone())

        result: Tensor = checkpoint(run, x, use_reentrant=False)
        return result

    def output(leaves: tuple[Tensor, ...]) -> Output:
        return question.of_features(question.wrapper.features(leaves[0], run=again))

    return _differentiate(question, clips, output, "checkpoint")


def _offload(question: Question, clips: tuple[Tensor, ...], chunk_size: int | None) -> Answer:
    """Keep what the way back needs in the CPU's memory."""
    with torch.autograd.graph.save_on_cpu(pin_memory=clips[0].is_cuda):
        return _differentiate(question, clips, question.of_clips, "offload")


def _half(question: Question, clips: tuple[Tensor, ...], chunk_size: int | None) -> Answer:
    """The path that needs least, in bfloat16, whose range is that of float32."""
    paths = _available(question, clips)
    leanest = next(name for name in ("framewise", "checkpoint", "offload") if name in paths)
    with torch.autocast(clips[0].device.type, torch.bfloat16):
        answer = paths[leanest](question, clips, chunk_size)
    return replace(answer, path="half", precision="bfloat16")


def _differentiate(
    question: Question,
    clips: tuple[Tensor, ...],
    output_of: Callable[[tuple[Tensor, ...]], Output],
    path: str,
) -> Answer:
    leaves = tuple(clip.detach().requires_grad_() for clip in clips)
    # Copies, so that a model that works in place neither trips over a leaf nor reaches the user's
    # clip.
    output = output_of(tuple(leaf.clone() for leaf in leaves))
    rows = question.rows(output)
    kept = [
        tuple(question.keep(gradient) for gradient in gradients)
        for gradients in _row_gradients(rows, leaves, question.show_progress)
    ]
    stacked = tuple(torch.stack(parts) for parts in zip(*kept, strict=True))
    return Answer(stacked, _detached(output, clips[0].dtype), path, evaluations=1)


def _row_gradients(
    rows: Tensor, leaves: tuple[Tensor, ...], show_progress: bool
) -> Iterator[tuple[Tensor, ...]]:
    if not rows.requires_grad:
        raise cut_graph()
    last = rows.shape[1] - 1
    bar = tqdm(range(last + 1), "gradients", disable=not show_progress or not last, delay=2)
    reached = False
    for row in bar:
        total = rows[:, row].sum()
        found = torch.autograd.grad(total, leaves, retain_graph=row < last, allow_unused=True)
        reached = reached or any(gradient is not None for gradient in found)
        # An input that a row does not read has gradient zero; but some row must read some input,
        # or the graph was cut on the way.
        if row == last and not reached:
            raise cut_graph()
        yield tuple(
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(leaves, found, strict=True)
        )


def cut_graph() -> ModelError:
    """The error of a model whose output does not lead back to the clip."""
    return ModelError(
        "an output that depends on the clip through differentiable operations",
        "one that carries no gradient",
        "Remove detach(), no_grad() or conversion to numpy from the model's forward.",
    )


def _detached(output: Output, dtype: torch.dtype) -> Output:
    if isinstance(output, Tensor):
        return output.detach().to(dtype)
    return FrameLogits(output.logits.detach().to(dtype), output.weights.detach().to(dtype))


def _framewise(question: Question, clips: tuple[Tensor, ...], chunk_size: int | None) -> Answer:
    """Features first, then the gradient through the encoder for one chunk of frames at a time.

    Without a chunk size, chunks shrink until one fits.
    """
    size = chunk_size or DEFAULT_CHUNK
    tried: list[str] = []
    while True:
        try:
            answer = _framewise_chunks(question, clips[0], size)
        except Exception as error:
            if chunk_size is not None or size == 1 or not is_out_of_memory(error):
                raise
        else:
            return replace(answer, tried=tuple(tried))
        tried.append(f"framewise with {size} frames")
        size //= 2
        torch.cuda.empty_cache()


def _framewise_chunks(question: Question, clip: Tensor, size: int) -> Answer:
    model = question.model
    assert isinstance(model, FramewiseModel)
    chunks = model.to_layout(clip).split(size)
    with torch.no_grad():
        encoded = [encode_frames(model, chunk.clone()) for chunk in chunks]
    leaves = tuple(features.detach().requires_grad_() for features in encoded)
    output = question.of_features(torch.cat(leaves).unflatten(0, clip.shape[:2]))
    at_features = _chunk_gradients(question.rows(output), leaves)
    # Filled in place: a list of parts and their concatenation would hold everything twice.
    gradients: Tensor | None = None
    bar = tqdm(chunks, "frames", disable=not question.show_progress or len(chunks) == 1, delay=2)
    for index, chunk in enumerate(bar):
        part = _through_encoder(question, chunk, next(at_features))
        if gradients is None:
            frames = clip.shape[0] * clip.shape[1]
            gradients = part.new_empty(len(part), frames, *part.shape[2:])
        gradients[:, index * size : index * size + len(chunk)] = part
    assert gradients is not None
    whole = gradients.unflatten(1, clip.shape[:2])
    output = _detached(output, clip.dtype)
    return Answer((whole,), output, "framewise", evaluations=2, chunk_size=size)


def _chunk_gradients(rows: Tensor, leaves: tuple[Tensor, ...]) -> Iterator[list[Tensor]]:
    """For each chunk of features, the gradient of every row.

    One row is differentiated for all chunks at once. Several are differentiated chunk by chunk,
    because all rows for all frames would outgrow the graph that this path avoids.
    """
    if rows.shape[1] == 1:
        ((*found,),) = _row_gradients(rows, leaves, False)
        yield from ([gradient] for gradient in found)
        return
    if not rows.requires_grad:
        raise cut_graph()
    reached = False
    for place, leaf in enumerate(leaves):
        found = [
            torch.autograd.grad(rows[:, row].sum(), leaf, retain_graph=True, allow_unused=True)[0]
            for row in range(rows.shape[1])
        ]
        reached = reached or any(gradient is not None for gradient in found)
        if place == len(leaves) - 1 and not reached:
            raise cut_graph()
        yield [torch.zeros_like(leaf) if gradient is None else gradient for gradient in found]


def _through_encoder(question: Question, chunk: Tensor, at_features: list[Tensor]) -> Tensor:
    """Kept gradients `(rows, frames, ...)` of one chunk from those at its features.

    No frame sees another, so rows that read different frames share a backward pass: what comes
    out at a frame belongs to the one row that reads it.
    """
    model = question.model
    assert isinstance(model, FramewiseModel)
    leaf, encoded = frame_graph(model, chunk)
    reads = torch.stack([gradient.flatten(1).any(1) for gradient in at_features])
    kept = question.keep(torch.zeros_like(leaf))
    kept = kept.expand(len(at_features), *kept.shape).clone()
    groups = _disjoint(reads)
    for place, group in enumerate(groups):
        total = torch.stack([at_features[row] for row in group]).sum(0)
        more = place < len(groups) - 1
        (pulled,) = torch.autograd.grad(encoded, leaf, total, retain_graph=more)
        pulled = question.keep(pulled)
        for row in group:
            kept[row, reads[row]] = pulled[reads[row]]
    return kept


def _disjoint(reads: Tensor) -> list[list[int]]:
    """Rows in groups whose rows read no frame in common; rows that read nothing are in none."""
    groups: list[tuple[list[int], Tensor]] = []
    for row, frames in enumerate(reads):
        if not frames.any():
            continue
        for rows, taken in groups:
            if not (frames & taken).any():
                rows.append(row)
                taken.logical_or_(frames)
                break
        else:
            groups.append(([row], frames.clone()))
    return [rows for rows, _ in groups]


def encode_frames(model: FramewiseModel, frames: Tensor) -> Tensor:
    """Features of frames, with recurrence that can be differentiated."""
    with native_recurrence(frames.is_cuda):
        return model.encode(frames)


def frame_graph(model: FramewiseModel, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Frames as a leaf, and their features with the graph from it."""
    leaf = frames.detach().requires_grad_()
    encoded = encode_frames(model, leaf.clone())
    if not encoded.requires_grad:
        raise cut_graph()
    return leaf, encoded


_OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",
    "status_alloc_failed",  # cuBLAS and cuDNN
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _OUT_OF_MEMORY_TEXTS)
