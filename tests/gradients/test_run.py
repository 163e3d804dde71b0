"""The record of a run: what is counted, and what a method used inside another one adds to it."""

import threading

import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency

from temporal_attr import LRP, ContrastiveLRPTemporal, LateFusion, TemporalGradient
from temporal_attr._run import RunContext, started
from temporal_attr.attributions._nested import NestedMethod, as_method
from temporal_attr.gradients import halving, is_out_of_memory
from temporal_attr.models import VideoModel
from temporal_attr.relevance import Composite
from tests.helpers.families import head, image_encoder

CLIP = torch.randn(2, 6, 3, 16, 16, generator=torch.Generator().manual_seed(3))
TARGET = torch.tensor([1, 2])
FRAMES = 12


def late_fusion():
    return LateFusion(image_encoder(), head())


class Whole(VideoModel):
    """A model that is not framewise, with as many timesteps as frames."""

    layout = "batch time channel height width"

    def __init__(self):
        super().__init__()
        self.inner = late_fusion()

    @property
    def stages(self):
        return (torch.tanh, self.inner.features)

    def head(self, features):
        return self.inner.head(features)

    def frame_head(self, features):
        return self.inner.frame_head(features)


def passes(run):
    return run.forward_passes, run.backward_passes


@pytest.mark.parametrize(
    ("memory", "chunk", "alone", "with_influence"),
    [
        ("whole", None, (1, 1), (3, 2)),  # all frames as one chunk, encoded again with a graph
        ("framewise", 4, (2, 1), (4, 2)),  # timesteps that read different frames share a pass
        ("framewise", 1, (2, 1), (4, 2)),
    ],
)
def test_passes_of_a_framewise_model(memory, chunk, alone, with_influence):
    method = TemporalGradient(late_fusion(), memory=memory, chunk_size=chunk)
    assert passes(method.explain(CLIP, TARGET, influence=False).run) == alone
    assert passes(method.explain(CLIP, TARGET).run) == with_influence


@pytest.mark.parametrize(
    ("memory", "alone", "with_influence"),
    [("whole", (1, 1), (2, 7)), ("checkpoint", (2, 1), (9, 7)), ("offload", (1, 1), (2, 7))],
)
def test_passes_of_a_model_that_is_not(memory, alone, with_influence):
    method = TemporalGradient(Whole().eval(), memory=memory)
    assert passes(method.explain(CLIP, TARGET, influence=False).run) == alone
    # One backward pass more for each of six timesteps.
    assert passes(method.explain(CLIP, TARGET).run) == with_influence


@pytest.mark.usefixtures("without_trials")
def test_a_counting_model_agrees():
    """What went through the encoder, counted where it goes through."""
    model = late_fusion()
    seen = {"forward": 0, "backward": 0}

    def count(module, inputs, output):
        seen["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(
                lambda gradient: seen.update(backward=seen["backward"] + len(gradient))
            )

    model.encoder.register_forward_hook(count)
    for memory in ("whole", "framewise"):
        seen.update(forward=0, backward=0)
        run = TemporalGradient(model, memory=memory, chunk_size=5).explain(CLIP, TARGET).run
        assert (seen["forward"], seen["backward"]) == (
            run.forward_passes * FRAMES,
            run.backward_passes * FRAMES,
        )


def test_passes_of_relevance():
    composite = Composite(input=None)
    assert passes(LRP(late_fusion(), composite).explain(CLIP, TARGET).run) == (1, 1)
    found = ContrastiveLRPTemporal(late_fusion(), composite, rows_per_backward=4)
    run = found.explain(CLIP, TARGET).run
    assert passes(run) == (1, 6)
    assert (run.path, run.chunk_sizes) == ("whole", {"whole": 4})


def nested(method):
    run = RunContext()
    NestedMethod(method).attribute(CLIP, TARGET, run)
    return run.finished(FRAMES)


def test_a_nested_method_of_ours_adds_its_run():
    run = nested(TemporalGradient(late_fusion(), memory="framewise", chunk_size=4))
    assert passes(run) == (2, 1)
    assert (run.path, run.chunk_sizes) == ("framewise", {"framewise": 4})


def test_so_does_one_inside_a_method_of_captum():
    method = NoiseTunnel(TemporalGradient(late_fusion(), memory="framewise", chunk_size=4))
    run = RunContext()
    options = {"nt_samples": 3, "nt_samples_batch_size": 1, "stdevs": 0.1}
    NestedMethod(method, options=options).attribute(CLIP, TARGET, run)
    assert passes(run.finished(FRAMES)) == (6, 3)
    assert run.finished(FRAMES).path == "framewise"


def test_a_foreign_method_is_counted_at_the_model():
    assert passes(nested(Saliency(late_fusion()))) == (1, 1)
    run = RunContext()
    method = IntegratedGradients(late_fusion(), multiply_by_inputs=False)
    NestedMethod(method, options={"n_steps": 5}).attribute(CLIP, TARGET, run)
    assert passes(run.finished(FRAMES)) == (5, 5)


def test_what_cannot_be_counted_is_not_known():
    model = late_fusion()
    run = nested(Saliency(lambda clip: model.head(model.features(clip))))
    assert passes(run) == (None, None)
    assert "passes not known" in run.describe()


class AroundTheCall(Saliency):
    """A method that uses the parts of a wrapper, and never calls it."""

    def __init__(self, model):
        super().__init__(lambda clip: model.head(model.features(clip)))
        self.forward_func, self.parts = model, self.forward_func

    def attribute(self, inputs, target=None):
        total = self.parts(inputs).gather(1, target[:, None]).sum()
        return torch.autograd.grad(total, inputs)[0]


def test_a_method_that_goes_around_the_call_is_not_said_to_need_no_pass():
    assert passes(nested(AroundTheCall(late_fusion()))) == (None, None)


class Ensemble(VideoModel):
    """Two models behind one call."""

    layout = "batch time channel height width"

    def __init__(self):
        super().__init__()
        self.one, self.other = late_fusion(), late_fusion()

    @property
    def stages(self):
        return (lambda clip: torch.stack([self.one(clip), self.other(clip)], 1),)

    def head(self, features):
        return features.mean(1)

    def frame_head(self, features):
        raise AssertionError("not asked for")


def test_models_inside_a_model_are_part_of_its_pass():
    assert passes(nested(Saliency(Ensemble().eval()))) == (1, 1)


class FailsAtTheThird(Whole):
    """A model whose third backward pass runs out of memory."""

    def __init__(self):
        super().__init__()
        self.left = 3

    def frame_head(self, features):
        def fail(gradient):
            self.left -= 1
            if not self.left:
                raise torch.OutOfMemoryError("at the third timestep")

        steps = super().frame_head(features)
        logits = steps.logits.clone()
        if logits.requires_grad:
            logits.register_hook(fail)
        return type(steps)(logits, steps.weights)


def test_passes_of_an_attempt_that_failed_count_as_far_as_they_came():
    run = TemporalGradient(FailsAtTheThird().eval()).explain(CLIP, TARGET).run
    assert run.path == "whole, then checkpoint"
    assert run.tried == ("whole",)
    # The gradient; two timesteps of the first attempt; six of the second, each recomputed.
    assert passes(run) == (1 + 1 + 1 + 6, 1 + 2 + 6)


def test_lower_precision_of_a_part_is_the_run_s():
    run = nested(TemporalGradient(late_fusion(), memory="half"))
    assert (run.precision, run.path) == ("bfloat16", "half")
    assert "NOT full precision" in run.describe()


def test_the_fewest_at_a_time_are_kept():
    run = RunContext()
    for size in (16, 4, 8):
        run.took("framewise", size)
    run.took("whole")
    found = run.finished(1)
    assert found.chunk_sizes == {"framewise": 4}
    assert found.chunk_size == 4
    assert "path framewise (4 at a time), then whole," in found.describe()


def test_a_run_that_fails_still_counts_in_the_outer_one():
    model = late_fusion()
    outer = RunContext()

    def fails(clip):
        model(clip)
        raise ArithmeticError("in the middle")

    with pytest.raises(ArithmeticError, match="in the middle"), outer.counting():
        fails(CLIP)
    model(CLIP)  # outside, nothing is counted
    assert outer.finished(FRAMES).forward_passes == 1


def test_threads_do_not_count_each_other():
    found = {}

    def work(name, memory):
        run = RunContext()
        for _ in range(3):
            method = TemporalGradient(late_fusion(), memory=memory, chunk_size=2)
            NestedMethod(method).attribute(CLIP, TARGET, run)
        found[name] = run.finished(FRAMES)

    threads = [
        threading.Thread(target=work, args=pair)
        for pair in (("one", "whole"), ("other", "framewise"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert passes(found["one"]) == (3, 3)
    assert passes(found["other"]) == (6, 3)


def attempt(limit, seen):
    def run(size):
        seen.append(size)
        if size > limit:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return f"done with {size}"

    return run


def test_halving_goes_down_to_what_fits():
    run, seen = RunContext(), []
    assert halving(attempt(3, seen), 16, False, run, "framewise") == ("done with 2", 2)
    assert seen == [16, 8, 4, 2]
    assert run.finished(1).tried == tuple(f"framewise with {n} frames" for n in (16, 8, 4))


@pytest.mark.parametrize(("limit", "size", "fixed"), [(3, 16, True), (0, 1, False), (0, 2, False)])
def test_halving_ends(limit, size, fixed):
    with pytest.raises(torch.OutOfMemoryError):
        halving(attempt(limit, []), size, fixed, RunContext(), "framewise")


def test_halving_hides_no_other_error():
    seen = []

    def fails(size):
        seen.append(size)
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        halving(fails, 16, False, RunContext(), "framewise")
    assert seen == [16]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("shape '[2]' is invalid"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_out_of_memory_is(error, expected):
    assert is_out_of_memory(error) is expected


def test_what_is_neither_model_nor_method():
    with pytest.raises(ValueError, match="a model or an attribution method, got int"):
        as_method(3)
    method = Saliency(late_fusion())
    assert as_method(method) is method
    assert isinstance(as_method(late_fusion()), TemporalGradient)


def test_a_bar_only_where_it_is_asked_for(capsys):
    for show in (True, False):
        run = RunContext(show_progress=show)
        bar = run.progress(3, "frames")
        bar.delay = 0
        with bar:
            for _ in range(3):
                bar.update()
        assert ("frames" in capsys.readouterr().err) is show


def test_a_run_outside_any_other_is_merged_nowhere():
    with started() as run:
        run.ran(forward=6)
        with started() as inner:
            inner.ran(forward=6)
    # Inside a method's own run, what it calls is not counted twice.
    assert run.finished(6).forward_passes == 1
