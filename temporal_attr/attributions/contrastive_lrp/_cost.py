"""What the relevance of all timesteps will take."""

from __future__ import annotations

import torch

from temporal_attr._run import RunContext
from temporal_attr.attributions._estimate import Work, graph_size, stopwatch
from temporal_attr.attributions._relevance import traces_once_known
from temporal_attr.attributions.contrastive_lrp._compute import (
    Rows,
    TimestepRequest,
    propagate_rows,
    together_of,
    traced_steps,
)
from temporal_attr.gradients import isolated_autograd


def timestep_work(request: TimestepRequest) -> Work:
    """What `timestep_relevance` takes: told from its trace, and one backward pass of some rows."""
    frames, first = request.clip.shape[0] * request.clip.shape[1], RunContext()
    with isolated_autograd((request.clip,)) as (clip,), graph_size(request.model) as held:
        with stopwatch(clip) as forward:
            steps = traced_steps(request, clip, first)
        count = steps.logits.shape[1]
        rows = torch.arange(min(together_of(request, clip), count), device=clip.device)
        room = Rows.empty(steps.logits, clip.shape[1], clip.detach(), ())
        with stopwatch(clip) as backward:
            propagate_rows(steps, rows, request.contrastive, room)
    # After one pass of the whole batch, each of its clips has one of its own where there are sinks.
    again = 1 if steps.trace.has_sinks and len(clip) > 1 else 0
    traces, plan = traces_once_known(request.model, 1) + again, RunContext()
    plan.ran(forward=traces * frames, backward=count * frames)
    tried = first.finished(frames).forward_passes or 1
    seconds = forward.seconds / tried * traces + backward.seconds * count / len(rows)
    timed = f"a pass forward, and {len(rows)} of {count} timesteps back, by these rules"
    return Work(plan, seconds, timed, graph_bytes=held.bytes)
