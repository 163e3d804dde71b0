"""Temporary: the old names, until shuffle_probe and frame_masking_tsr use `gradients` and `_run`."""

import math
from dataclasses import dataclass
from typing import Any

from temporal_attr._run import Run, RunContext
from temporal_attr.gradients import (
    DEFAULT_CHUNK,
    GradientQuery,
    Memory,
    encode_frames,
    frame_graph,
    gradients_of,
    is_out_of_memory,
)
from temporal_attr.gradients._query import no_gradient as cut_graph


@dataclass(frozen=True)
class Answer:
    gradients: tuple
    output: Any
    path: str
    evaluations: int
    tried: tuple = ()
    precision: str = "full"
    chunk_size: int | None = None


class Question(GradientQuery):
    def __init__(
        self,
        model,
        rows,
        by_step=False,
        keep=lambda gradient: gradient,
        arguments=(),
        show_progress=False,
    ):
        super().__init__(model, rows, by_step, keep, arguments)

    @property
    def rows(self):
        return self.scalars


def ask(question, clips, memory="auto", chunk_size=None):
    run = RunContext()
    found = gradients_of(question, clips, run, memory, chunk_size)
    r = run.finished(clips[0].shape[0] * clips[0].shape[1])
    return Answer(
        found.of_clips,
        found.output,
        r.path,
        math.ceil(r.forward_passes),
        r.tried,
        r.precision,
        r.chunk_size,
    )


def old_run(memory, tried, precision, evaluations, chunk_size, seconds, seed=None):
    return Run(
        memory,
        tried,
        precision,
        float(evaluations),
        0.0,
        {memory: chunk_size} if chunk_size else {},
        seconds,
        seed,
    )


def predict_clips(method, clips, arguments=()):
    from temporal_attr.attributions._nested import NestedMethod

    return NestedMethod(method, arguments).logits(clips, RunContext())


def attribute_clips(method, clips, target, arguments=(), options=None):
    from temporal_attr.attributions._nested import NestedMethod

    return NestedMethod(method, arguments, options or {}).attribute(clips, target, RunContext())
