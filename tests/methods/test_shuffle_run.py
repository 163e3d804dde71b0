"""What `run` says of a shuffle probe, beside a model that counts, and where memory runs out."""

import pytest
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from torch import nn

import temporal_attr._run
from temporal_attr import (
    LRP,
    FrameMaskingTSR,
    FrameRecurrent,
    HalfPrecisionWarning,
    LateFusion,
    OptionError,
    ShuffleProbe,
    TemporalGradient,
)
from temporal_attr.attributions.shuffle_probe import _by_frame
from temporal_attr.clips import IDENTITY, BlockShuffle
from temporal_attr.gradients import _memory_ladder
from temporal_attr.models import VideoModel
from temporal_attr.relevance import Box, Composite
from temporal_attr.zoo import build_model

pytestmark = pytest.mark.usefixtures("without_trials")

CLASSES, FRAMES = 3, 4
BY_CLIP = ("by clip, then whole", "by clip")


def clips(batch=2, frames=FRAMES, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, frames, 3, 4, 4, generator=generator, dtype=torch.float64).to(dtype)


def out_of_memory():
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 EiB.")


@pytest.mark.parametrize("method", [ShuffleProbe, FrameMaskingTSR])
def test_arguments_that_the_method_does_not_take_are_refused_when_made(method):
    model = nn.Sequential(nn.Flatten(), nn.Linear(FRAMES * 48, CLASSES)).double()
    for inside in (model, Saliency(model), IntegratedGradients(model)):
        with pytest.raises(OptionError, match="method_arguments among those of .*, got n_step"):
            method(inside, method_arguments={"n_step": 3})
        with pytest.raises(OptionError, match="got target"):
            method(inside, method_arguments={"target": 1})
    tunnel = NoiseTunnel(Saliency(model))
    for given in ({"abs": False}, {"nt_samples": 2, "abs": False}):
        assert method(tunnel, method_arguments=given).method_arguments == given
    names = "nt_samples, .*, abs, got n_step, chunk"
    with pytest.raises(OptionError, match=f"among those of Noise Tunnel: .*{names}"):
        method(tunnel, method_arguments={"n_step": 3, "abs": False, "chunk": 1})


class Counter(nn.Module):
    """A layer that counts frames forward and back, and has memory for so many, or for the graphs
    of so many, at a time."""

    def __init__(self, limit=10**9, graphs=10**9):
        super().__init__()
        self.limit, self.graphs = limit, graphs
        self.forwards = self.backwards = self.most = 0

    def enter(self, frames):
        if frames > self.limit or (torch.is_grad_enabled() and frames > self.graphs):
            raise out_of_memory()
        self.forwards += frames
        self.most = max(self.most, frames)

    def leave(self, output, frames):
        if output.requires_grad:
            output.register_hook(lambda _: self.back(frames))
        return output

    def back(self, frames):
        self.backwards += frames


class Encoder(Counter):
    """Features of frames."""

    def __init__(self, **limits):
        super().__init__(**limits)
        self.layer = nn.Linear(48, 5)

    def forward(self, frames):
        self.enter(len(frames))
        return self.leave(torch.tanh(self.layer(frames.flatten(1))), len(frames))


class Clips(VideoModel):
    """A wrapper that is not framewise: it reads neighbouring frames together."""

    layout = "batch time channel height width"

    def __init__(self, **limits):
        super().__init__()
        self.counter = Counter(**limits)
        self.look = nn.Linear(96, 5)
        self.classify = nn.Linear(5, CLASSES)

    @property
    def stages(self):
        return (self.first, self.second)

    def first(self, clip):
        count = clip.shape[0] * clip.shape[1]
        self.counter.enter(count)
        frames = clip.flatten(2)
        pairs = torch.cat([frames[:, 1:], frames[:, :-1]], 2)
        return self.counter.leave(torch.tanh(self.look(pairs)), count)

    def second(self, features):
        places = torch.arange(1, features.shape[1] + 1, dtype=features.dtype)
        return features * places[:, None]

    def head(self, features):
        return self.classify(torch.tanh(features.sum(1)))

    def frame_head(self, features):
        raise NotImplementedError


def seeded(build, **limits):
    torch.manual_seed(1)
    return build(**limits).double().eval()


def by_clip(**limits):
    model = seeded(Clips, **limits)
    return model, model.counter


def recurrent(**limits):
    def build(**limits):
        lstm = nn.LSTM(5, 4, batch_first=True)
        return FrameRecurrent(Encoder(**limits), lstm, nn.Linear(4, CLASSES))

    model = seeded(build, **limits)
    return model, model.encoder


def blind(**limits):
    model = seeded(lambda **limits: LateFusion(Encoder(**limits), nn.Linear(5, CLASSES)), **limits)
    return model, model.encoder


def assert_counted(run, counter, frames):
    """What the record says is what the model saw."""
    assert counter.forwards > 0
    assert run.forward_passes == counter.forwards / frames
    assert run.backward_passes == counter.backwards / frames


def assert_same(found, expected, tolerance=1e-12):
    """All tensors are those of the other; batches of other sizes round otherwise."""
    assert found.tensors().keys() == expected.tensors().keys()
    for name, values in found.tensors().items():
        other = expected.tensors()[name]
        torch.testing.assert_close(
            values, other, rtol=tolerance, atol=tolerance, equal_nan=True, msg=name
        )


# The count of passes.


@pytest.mark.parametrize("chunk", [None, 1, 3, 6])
@pytest.mark.parametrize(("build", "orders"), [(recurrent, 5), (blind, 5), (recurrent, 23)])
def test_by_frame(build, orders, chunk, monkeypatch):
    monkeypatch.setattr(_by_frame, "HEADS", 12)  # 23 orders of two clips take four groups
    model, counter = build()
    probe = ShuffleProbe(model, shuffles=orders, chunk_size=chunk)
    run = probe.explain(clips(), 1, flow=None).run
    assert_counted(run, counter, 2 * FRAMES)
    assert (run.path, run.tried, run.precision, run.seed) == ("by frame", (), "full", 0)
    assert run.chunk_sizes == {"by frame": chunk or 16}
    assert counter.most == min(chunk or 16, 2 * FRAMES)
    if build is recurrent and orders == 5 and chunk is None:
        # Each frame once, and once for the repeated frame; a backward pass for every order.
        assert (run.forward_passes, run.backward_passes) == (2, orders + 2)


@pytest.mark.parametrize(("chunk", "together"), [(None, 4), (1, 1), (4, 1), (9, 2), (100, 25)])
def test_by_clip(chunk, together):
    model, counter = by_clip()
    run = ShuffleProbe(model, shuffles=5, chunk_size=chunk).explain(clips(), 1, flow=None).run
    assert_counted(run, counter, 2 * FRAMES)
    # In order and 5 times shuffled, and the repeated frame.
    assert (run.forward_passes, run.backward_passes) == (7, 7)
    assert (run.path, run.chunk_sizes) == (BY_CLIP[0], {"by clip": together * FRAMES})
    assert counter.most == min(together, 12) * FRAMES


def test_by_clip_with_arguments_takes_the_whole_batch():
    model, counter = by_clip()
    probe = ShuffleProbe(lambda clip, gain: model(clip * gain), shuffles=5, chunk_size=1)
    run = probe.explain(clips(3), 1, torch.ones(3, 1, 1, 1, 1).double(), flow=None).run
    assert_counted(run, counter, 3 * FRAMES)
    assert run.chunk_size == counter.most == 3 * FRAMES


METHODS = {
    # Logits, then what the method does; in order and 5 times shuffled, repeated frame, once more.
    "saliency": (Saliency, 16, 8),
    "input times gradient": (InputXGradient, 16, 8),
    "gradient of the wrapped": (lambda model: TemporalGradient(model, "loss"), 14, 7),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_methods_that_are_made_already(name, build):
    make, forward, backward = METHODS[name]
    model, counter = build()
    probe = ShuffleProbe(make(model), shuffles=5, reduction=lambda a: a.abs().sum((2, 3, 4)))
    run = probe.explain(clips(), 1, flow=None).run
    assert_counted(run, counter, 2 * FRAMES)
    assert (run.forward_passes, run.backward_passes) == (forward, backward)
    inner = ", then whole" if "wrapped" in name else ""
    assert run.path == f"by clip{inner}"
    assert run.chunk_sizes == {"by clip": 16}


def test_the_steps_of_integrated_gradients_are_counted():
    model, counter = by_clip()
    probe = ShuffleProbe(IntegratedGradients(model), 3, method_arguments={"n_steps": 7})
    run = probe.explain(clips(), 1, flow=None).run
    assert_counted(run, counter, 2 * FRAMES)
    # Of 4 orders, the repeated frame and the clip once more: the logits, and 7 steps.
    assert (run.forward_passes, run.backward_passes) == (6 * 8, 6 * 7)


def test_relevance_is_counted():
    model, counter = recurrent()
    probe = ShuffleProbe(LRP(model, Composite(input=Box(0.0, 1.0))), shuffles=3)
    run = probe.explain(clips(), 1, flow=None).run
    assert run.forward_passes == counter.forwards / (2 * FRAMES)
    assert run.backward_passes == 6


def test_passes_of_a_foreign_method_on_a_function_are_not_known():
    model, _ = by_clip()
    probe = ShuffleProbe(Saliency(lambda clip: model.head(model.features(clip))), shuffles=3)
    run = probe.explain(clips(), 1, flow=None).run
    assert run.forward_passes is None
    assert run.backward_passes is None
    assert "passes not known" in run.describe()


@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_segments_are_counted(build):
    model, counter = build()
    probe = ShuffleProbe(model, shuffles=5, segment=4)
    found = probe.explain(clips(2, 8), 1, flow=None, segments=True)
    assert_counted(found.run, counter, 2 * 8)
    alone, once = build()
    ShuffleProbe(alone, shuffles=5).explain(clips(2, 8), 1, flow=None)
    part, of_segment = build()
    ShuffleProbe(part, shuffles=5).explain(clips(2, 4), 1, flow=None)
    assert counter.forwards == once.forwards + 3 * of_segment.forwards
    assert counter.backwards == once.backwards + 3 * of_segment.backwards


@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_curves_are_counted(build):
    model, counter = build()
    shufflings = [BlockShuffle(1), BlockShuffle(2)]
    run = ShuffleProbe(model, shuffles=3).curve(clips(2, 6), 1, shufflings=shufflings).run
    assert_counted(run, counter, 2 * 6)
    # In order, and 3 orders of each length.
    assert run.backward_passes == 7
    assert run.seed == 0


@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_attribute_computes_what_it_returns(build):
    model, counter = build()
    ShuffleProbe(model, shuffles=5).attribute(clips(), 1)
    # No repeated frame, and nothing twice.
    assert counter.backwards == 6 * 2 * FRAMES
    assert counter.forwards == (6 if build is by_clip else 1) * 2 * FRAMES


# Memory that runs out.


def function_of(model):
    """The model as a function, whose stages are not known."""

    def function(clip):
        return model(clip)

    return function


@pytest.mark.parametrize(
    ("limit", "tried", "left"),
    [
        (100, (), 4),
        (12, ("by clip with 4 clips",), 2),
        (7, ("by clip with 4 clips", "by clip with 2 clips"), 1),
    ],
)
def test_fewer_clips_go_at_a_time(limit, tried, left):
    model, counter = by_clip(limit=limit)
    found = ShuffleProbe(model, shuffles=5).explain(clips(), 1, flow=None)
    assert (found.run.tried, found.run.chunk_sizes) == (tried, {"by clip": left * FRAMES})
    assert (found.run.path, found.run.precision) == (BY_CLIP[0], "full")
    assert counter.most == left * FRAMES
    # What did not come to an end is neither there nor counted.
    assert_counted(found.run, counter, 2 * FRAMES)
    assert found.run.forward_passes == 7
    assert_same(found, ShuffleProbe(by_clip()[0], shuffles=5).explain(clips(), 1, flow=None))
    chunked = ShuffleProbe(by_clip()[0], shuffles=5, chunk_size=left * FRAMES)
    assert_same(found, chunked.explain(clips(), 1, flow=None), tolerance=0)


class RunsOutOnce:
    """A model that has less memory from the third call on."""

    def __init__(self, model):
        self.model, self.calls = model, 0

    def __call__(self, clip):
        self.calls += 1
        if self.calls > 2 and len(clip) > 2:
            raise out_of_memory()
        return self.model(clip)


def test_what_is_done_is_kept_where_memory_runs_out_later():
    model, counter = by_clip()
    limited = RunsOutOnce(model)
    found = ShuffleProbe(limited, shuffles=9).explain(clips(), 1, flow=None)
    # Two chunks of four, one in vain, six of two; the repeated frame of both clips.
    assert limited.calls == 2 + 1 + 6 + 1
    assert (found.run.tried, found.run.chunk_size) == (("by clip with 4 clips",), 8)
    assert_counted(found.run, counter, 2 * FRAMES)
    assert_same(found, ShuffleProbe(by_clip()[0], shuffles=9).explain(clips(), 1, flow=None))


@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_a_foreign_method_gets_fewer_clips(build):
    model, counter = build(limit=9)
    found = ShuffleProbe(Saliency(model), shuffles=5).explain(clips(), 1, flow=None)
    assert found.run.path == "by clip"
    assert (found.run.tried, found.run.chunk_size) == (("by clip with 4 clips",), 8)
    assert_counted(found.run, counter, 2 * FRAMES)
    unlimited = ShuffleProbe(Saliency(build()[0]), shuffles=5).explain(clips(), 1, flow=None)
    assert_same(found, unlimited)


def frames_of(attribution):
    return attribution.abs().sum((2, 3, 4))


def test_a_gradient_inside_takes_another_path():
    """The clips fit without a graph; with one, no more than three frames do."""
    model, counter = recurrent(graphs=3)
    probe = ShuffleProbe(TemporalGradient(model), shuffles=5, reduction=frames_of)
    found = probe.explain(clips(), 1, flow=None)
    inner = tuple(f"framewise with {size} frames" for size in (16, 8, 4))
    assert found.run.tried == ("whole", *inner)
    assert found.run.path == "by clip, then framewise"
    assert found.run.chunk_sizes == {"by clip": 16, "framewise": 2}
    assert found.run.precision == "full"
    assert_counted(found.run, counter, 2 * FRAMES)
    unlimited = ShuffleProbe(TemporalGradient(recurrent()[0]), shuffles=5, reduction=frames_of)
    assert_same(found, unlimited.explain(clips(), 1, flow=None))


def test_a_gradient_inside_that_has_no_other_path_gets_fewer_clips():
    model, counter = by_clip(limit=5)
    function = TemporalGradient(function_of(model))
    found = ShuffleProbe(function, shuffles=5, reduction=frames_of).explain(clips(), 1, flow=None)
    assert found.run.tried == ("by clip with 4 clips", "by clip with 2 clips")
    assert (found.run.path, found.run.chunk_sizes) == (BY_CLIP[0], {"by clip": 4})
    assert_counted(found.run, counter, 2 * FRAMES)
    unlimited = ShuffleProbe(by_clip()[0], shuffles=5, reduction="l1")
    assert_same(found, unlimited.explain(clips(), 1, flow=None))


@pytest.mark.parametrize(
    ("limit", "tried", "size"),
    [
        (100, (), 16),
        (7, ("by frame with 16 frames", "by frame with 8 frames"), 4),
        (1, tuple(f"by frame with {size} frames" for size in (16, 8, 4, 2)), 1),
    ],
)
@pytest.mark.parametrize("build", [recurrent, blind])
def test_fewer_frames_go_at_a_time(build, limit, tried, size):
    model, counter = build(limit=limit)
    found = ShuffleProbe(model, shuffles=5).explain(clips(), 1, flow=None)
    assert (found.run.tried, found.run.chunk_sizes) == (tried, {"by frame": size})
    assert (found.run.path, found.run.precision) == ("by frame", "full")
    assert_counted(found.run, counter, 2 * FRAMES)
    unlimited = ShuffleProbe(build()[0], shuffles=5).explain(clips(), 1, flow=None)
    assert_same(found, unlimited)
    chunked = ShuffleProbe(build()[0], shuffles=5, chunk_size=size)
    if size > 1:  # one frame at a time also runs fewer heads at a time
        assert_same(found, chunked.explain(clips(), 1, flow=None), tolerance=1e-14)


def test_memory_that_runs_out_in_a_backward_pass_or_in_heads(monkeypatch):
    model, counter = recurrent()
    heads = []

    def head(features):
        if len(features) > 20:
            raise out_of_memory()
        heads.append(len(features))
        return plain(features)

    plain = model.head
    monkeypatch.setattr(model, "head", head)
    found = ShuffleProbe(model, shuffles=15).explain(clips(4), 1, flow=None)
    # 16 orders of four clips at a time, then 8, then 4; the features are encoded again each time.
    assert found.run.tried == ("by frame with 16 frames", "by frame with 8 frames")
    assert max(heads) == 16
    assert_counted(found.run, counter, 4 * FRAMES)
    unlimited = ShuffleProbe(recurrent()[0], shuffles=15).explain(clips(4), 1, flow=None)
    assert_same(found, unlimited)


@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_a_chunk_size_that_was_asked_for_is_kept(build):
    with pytest.raises(torch.OutOfMemoryError):
        ShuffleProbe(build(limit=5)[0], shuffles=5, chunk_size=8).attribute(clips(), 1)


@pytest.mark.parametrize("build", [by_clip, recurrent])
def test_another_error_is_raised_as_it_is(build, monkeypatch):
    model, _ = build()

    def fail(*_):
        raise ArithmeticError("in the middle")

    monkeypatch.setattr(model, "head", fail)
    with pytest.raises(ArithmeticError, match="in the middle"):
        ShuffleProbe(model, shuffles=5).attribute(clips(), 1)


def no_whole_graph(monkeypatch):
    def whole(query, clips, chunk_size, run):
        raise out_of_memory()

    monkeypatch.setattr(_memory_ladder, "whole", whole)


def test_a_single_clip_goes_down_the_ladder(monkeypatch):
    expected = ShuffleProbe(by_clip()[0], shuffles=5).explain(clips(), 1, flow=None)
    no_whole_graph(monkeypatch)
    model, counter = by_clip()
    found = ShuffleProbe(model, shuffles=5).explain(clips(), 1, flow=None)
    # Fewer clips first, which cost nothing; then stages are run again in the backward pass.
    assert found.run.tried == ("by clip with 4 clips", "by clip with 2 clips", "whole")
    assert found.run.path == "by clip, then checkpoint"
    assert (found.run.chunk_sizes, found.run.precision) == ({"by clip": 4}, "full")
    assert found.run.forward_passes == counter.forwards / (2 * FRAMES) == 14
    assert found.run.backward_passes == 7
    assert_same(found, expected)


def test_half_precision_comes_last_and_is_said(monkeypatch):
    model = seeded(Clips).float()
    expected = ShuffleProbe(model, shuffles=5).explain(clips(dtype=torch.float32), 1, flow=None)
    no_whole_graph(monkeypatch)
    probe = ShuffleProbe(TemporalGradient(function_of(model)), shuffles=5, chunk_size=8)
    with pytest.warns(HalfPrecisionWarning, match="bfloat16"):
        found = probe.explain(clips(dtype=torch.float32), 1, flow=None)
    assert (found.run.path, found.run.precision) == ("by clip, then half", "bfloat16")
    assert found.run.tried == ("whole",)
    assert "NOT full precision" in found.summary()
    # Eight bits of a fraction.
    torch.testing.assert_close(found.ordered_scores, expected.ordered_scores, rtol=0.1, atol=0)
    assert not torch.equal(found.ordered_scores, expected.ordered_scores)


# Bars.


class Bar:
    """What a bar was told."""

    def __init__(self, seen, total, desc, disable, delay):
        self.title, self.total, self.hidden, self.done = desc, total, disable, 0
        assert delay == 2
        seen.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        assert self.done == self.total, self.title

    def update(self, done=1):
        self.done += done


@pytest.mark.parametrize(
    ("build", "title", "total"), [(by_clip, "shuffled clips", 12), (recurrent, "frames", 1)]
)
@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.usefixtures("as_user")
def test_progress(build, title, total, shown, monkeypatch):
    bars = []
    monkeypatch.setattr(temporal_attr._run, "tqdm", lambda **given: Bar(bars, **given))
    probe = ShuffleProbe(build()[0], shuffles=5, segment=4, normalization=IDENTITY)
    probe.attribute(clips(), 1, show_progress=shown)
    own = [bar for bar in bars if bar.title == title]
    assert [(bar.total, bar.hidden) for bar in own] == [(total, not shown)]
    bars.clear()
    probe.explain(clips(2, 8), 1, show_progress=shown, flow=None, segments=True)
    assert [bar.total for bar in bars if bar.title == "segments"] == [3]
    # Those of the segments would lie over theirs.
    visible = [bar.title for bar in bars if not bar.hidden and bar.title != "gradients"]
    assert visible == (["segments", title, title] if shown else [])


# Names of classes.


def test_names_of_classes_are_carried():
    model = build_model("tam2d", CLASSES, widths=(4, 8))
    model.class_names = ("run", "walk", "jump")
    probe = ShuffleProbe(model, shuffles=3)
    clip = torch.rand(1, 6, 3, 16, 16)
    assert probe.explain(clip, 2, flow=None).class_names == ("run", "walk", "jump")
    assert probe.curve(clip, 2).summary().startswith("clip 0: target jump (2)\n")
    assert probe.curve(clip, 2).class_names == ("run", "walk", "jump")
