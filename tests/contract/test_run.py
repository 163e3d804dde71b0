"""What every method says of its run, against what a model that counts has seen."""

import inspect
import re

import pytest
import torch
import tqdm.std
from torch._C import _functorch as functorch

from temporal_attr.models import Trial, require_as_assumed
from tests.helpers.families import family
from tests.helpers.methods import METHODS

on_one_model = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)


class Counter:
    """Counts frames at a module that every frame goes through, forward and backward."""

    def __init__(self, module, frames_of):
        self.forward = self.backward = 0
        module.register_forward_hook(self.count)
        self.frames_of = frames_of

    def count(self, module, inputs, output):
        frames = self.frames_of(output)
        self.forward += frames
        if output.requires_grad:
            output.register_hook(self.gone_back(frames))

    def gone_back(self, frames):
        def count(gradient):
            self.backward += frames * rows_of(gradient)

        return count


def rows_of(gradient):
    """How many gradients go back together: vmap hides that axis from a hook."""
    rows = 1
    while functorch.is_batchedtensor(gradient):
        whole = functorch.get_unwrapped(gradient)
        rows *= whole.shape[functorch.maybe_get_bdim(gradient)]
        gradient = whole
    return rows


def framewise(name):
    """A framewise model, which is counted at its encoder."""
    wrapper, _ = family(name).build()
    tried(wrapper.double())
    return wrapper, Counter(wrapper.encoder, len)


def tried(wrapper):
    """A model is tried once, whoever asks first; that is no part of a run."""
    clip = family("gru_mean").clip(torch.float64)
    require_as_assumed(Trial(wrapper, (clip,)))
    wrapper.frame_logits(clip)


def convolutional(name):
    """A model of whole clips, counted at its first layer, where time is still whole."""
    wrapper, _ = family(name).build()
    tried(wrapper.double())
    return wrapper, Counter(wrapper.stages[0], lambda output: len(output) * output.shape[2])


def counted_at_the_end(model):
    """A counter at the last layer of a convolutional model, as no graph is kept before a map."""
    frames = family("gru_mean").clip().shape[1]
    return Counter(model.model.fc, lambda output: len(output) * frames)


@pytest.mark.usefixtures("without_trials")
@pytest.mark.parametrize("chunk", [None, 5])
@pytest.mark.parametrize("build", [framewise, convolutional])
@on_one_model
def test_passes_are_what_a_counting_model_counts(method, build, chunk):
    if build is convolutional and (method.framewise_only or method.models):
        pytest.skip("needs another model")
    model, counter = build(method.model if build is framewise else "conv3d_windows")
    clip = family("gru_mean").clip(torch.float64)
    made = method.build(model, chunk)
    if method.finds_layers:
        made.explain(clip, target=[1, 2])
        counter = counted_at_the_end(model) if build is convolutional else counter
        counter.forward = counter.backward = 0
    run = made.explain(clip, target=[1, 2]).run
    frames = clip.shape[0] * clip.shape[1]
    assert counter.forward >= frames
    assert run.forward_passes == pytest.approx(counter.forward / frames, abs=1e-12)
    assert run.backward_passes == pytest.approx(counter.backward / frames, abs=1e-12)


@pytest.fixture
def delays(monkeypatch):
    """The delays that bars were asked to have; they appear at once all the same."""
    asked, plain = [], tqdm.std.tqdm.__init__

    def at_once(self, *arguments, **options):
        if not options.get("disable"):
            asked.append(options.get("delay"))
        plain(self, *arguments, **{**options, "delay": 0, "mininterval": 0})

    monkeypatch.setattr(tqdm.std.tqdm, "__init__", at_once)
    return asked


@on_one_model
def test_a_bar_is_shown_where_it_is_asked_for(method, delays, capsys):
    wrapper, clip = family(method.model).build()[0], family("gru_mean").clip()
    instance = method.build(wrapper, 4)
    if "show_progress" not in inspect.signature(instance.explain).parameters:
        pytest.skip("one pass forward and one back, which no bar can divide")
    instance.explain(clip, target=1)
    assert (capsys.readouterr().err, delays) == ("", [])
    run = instance.explain(clip, target=1, show_progress=True).run
    shown = capsys.readouterr().err
    if run.chunk_size is None:
        assert (run.path, shown) == ("whole", "")
        return
    # A bar that runs to its end, with a word for what is counted, on anything over two seconds.
    assert re.search(r"[a-z]+: 100%\|█+\| (\d+)/\1 \[", shown), shown
    assert set(delays) == {2}
