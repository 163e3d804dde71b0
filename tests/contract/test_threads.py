"""Several threads at a time: the numbers and pictures of one, and nothing left behind."""

import gc
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import GradientShap
from torch.nn.modules import module as torch_module

from temporal_attr import LRP, Blocks, FrameMaskingTSR, TemporalGradient, load_clip, views
from temporal_attr._seeding import seeded
from temporal_attr.clips import Clip, write_video
from temporal_attr.models import load_model
from temporal_attr.zoo import build_model
from tests.helpers.methods import METHODS as EVERY

THREADS = 4
pytestmark = pytest.mark.usefixtures("often", "one_thread")

METHODS = [method for method in EVERY if not method.variant]


@pytest.fixture
def often():
    """Threads take turns much more often than by default, or short calls would not meet."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-3)
    yield
    sys.setswitchinterval(before)


def in_threads(*calls):
    """What calls give that run at the same time, the first ones of all at the same moment."""
    barrier = threading.Barrier(len(calls))

    def started(call):
        barrier.wait(timeout=60)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [found.result() for found in [pool.submit(started, call) for call in calls]]


def rotated(entries, by):
    entries = list(entries)
    return entries[by:] + entries[:by]


def attributions(model, order, clip):
    """What every method attributes, one after another."""
    found = {}
    for method in order:
        found[method.name] = method.build(model).attribute(clip, target=2)
    return found


def hooks(model):
    """How many hooks there are, of the process and of the model."""
    everywhere = [
        value for name, value in vars(torch_module).items()
        if name.startswith("_global_") and isinstance(value, dict)
    ]  # fmt: skip
    assert len(everywhere) > 3
    own = [
        value
        for part in model.modules()
        for name, value in vars(part).items()
        if name.endswith("_hooks")
    ]
    return sum(map(len, everywhere)), sum(map(len, own))


def attending():
    """A framewise model with attention, which all methods can explain."""
    sizes = {"widths": (4, 8), "features": 8, "heads": 2, "depth": 1}
    return build_model("temporal-transformer", 4, frames=3, **sizes)


def test_all_methods_in_four_threads_give_the_numbers_of_one():
    model = attending()
    clips = [torch.rand(1, 3, 3, 16, 16) for _ in range(2)] * 2
    alone = [attributions(model, METHODS, clip) for clip in clips[:2]] * 2
    before = hooks(model)
    # Each at another method first, and so beside every other one.
    calls = [
        lambda place=place: attributions(model, rotated(METHODS, 3 * place), clips[place])
        for place in range(THREADS)
    ]
    for found, expected in zip(in_threads(*calls), alone, strict=True):
        for name, values in expected.items():
            assert torch.equal(found[name].nan_to_num(), values.nan_to_num()), name
            assert values.nan_to_num().any()
    assert hooks(model) == before


def test_counting_operations_leaves_the_modules_of_other_threads_alone():
    # PyTorch's own counter hooks every module of the process while it counts.
    model = build_model("gru", 4, widths=(4, 8))
    clip = torch.rand(1, 3, 3, 16, 16)
    seen = []

    def look(module, given, output):
        seen.append(len(torch_module._global_forward_hooks))

    handle = model.encoder.register_forward_hook(look)
    tsr = FrameMaskingTSR(TemporalGradient(model), "two", Blocks(8, 8))
    found = tsr.explain(clip, 2)
    handle.remove()
    assert "by frame" in found.run.path
    assert set(seen) == {0}


def drawn(seed):
    """What depends on the global random streams: Captum's draws, and weights by seed."""
    # Its gradient differs along the way from zeros to the clip, and so from draw to draw.
    model, clip = build_model("gru", 4, widths=(4,)), torch.ones(1, 4, 3, 8, 8)
    base = GradientShap(model)
    options = {"seed": seed, "method_arguments": {"baselines": torch.zeros_like(clip)}}
    shap = FrameMaskingTSR(base, **options).attribute(clip, target=1)
    weights = build_model("gru", 3, seed=seed, widths=(4,)).state_dict()
    other = load_model("tests.helpers.factories:small_recurrent", seed=seed).state_dict()
    staged = build_model("inflated-resnet", 4, widths=(4, 8))
    again = TemporalGradient(staged, memory="checkpoint").attribute(clip, target=1)
    with seeded(seed):
        numbers = torch.rand(4), torch.from_numpy(np.random.rand(4))
    return [shap, again, *weights.values(), *other.values(), *numbers]


def test_what_is_drawn_by_seed_in_four_threads_is_what_one_draws():
    alone = [drawn(seed) for seed in range(THREADS)]
    state = torch.get_rng_state()
    calls = [lambda seed=seed: drawn(seed) for seed in range(THREADS)]
    for found, expected in zip(in_threads(*calls), alone, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(alone[0][0], alone[1][0])


def pictures(result, clip):
    """The first pictures of a result, as bytes."""
    found = {}
    for name, draw in list(views.pictures(result, clip).items())[:2]:
        buffer = BytesIO()
        draw().savefig(buffer, format="png", dpi=40)
        found[name] = buffer.getvalue()
    return found


def test_pictures_in_four_threads_are_those_of_one():
    model = build_model("gru", 4, widths=(4, 8))
    clip = Clip.from_tensor(torch.rand(1, 2, 3, 16, 16))
    made = [method.explain(clip.tensor, 1) for method in (TemporalGradient(model), LRP(model))]
    alone = [pictures(result, clip) for result in made]
    assert len({value for one in alone for value in one.values()}) == sum(map(len, alone))
    assert in_threads(*[lambda one=one: pictures(one, clip) for one in made * 2]) == alone * 2


def test_videos_in_four_threads_are_those_of_one(grey_video, tmp_path, capfd):
    frames = [np.full((32, 32, 3), level, np.uint8) for level in range(0, 240, 30)]

    def read_and_write(place):
        path = write_video(frames, tmp_path / f"{place}.webm", fps=4)
        return load_clip(grey_video, 5 + place % 2).tensor, load_clip(path, len(frames)).tensor

    alone = [read_and_write(place) for place in range(2)]
    found = in_threads(*[lambda place=place: read_and_write(place) for place in range(THREADS)])
    for place, tensors in enumerate(found):
        assert all(map(torch.equal, tensors, alone[place % 2]))
    # Standard error is still there, and still the same.
    os.write(2, b"heard")
    assert capfd.readouterr().err.endswith("heard")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's list of open files")
def test_threads_leave_nothing_behind():
    model = attending()
    clip = Clip.from_tensor(torch.rand(1, 3, 3, 16, 16))

    def work():
        # Matplotlib keeps fonts for every thread, so these draw nothing.
        attributions(model, METHODS[:5:2], clip.tensor)

    def files():
        return len(list(Path("/proc/self/fd").iterdir()))

    def size():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    in_threads(*[work] * THREADS)
    before = threading.active_count(), files(), size()
    for _ in range(2):
        in_threads(*[work] * THREADS)
    assert (threading.active_count(), files()) == before[:2]
    assert size() - before[2] < 40
