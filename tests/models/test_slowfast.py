"""Networks of two pathways, of pytorchvideo and of its build, on one clip."""

import copy
import pickle

import pytest
import torch
from torch import nn

from temporal_attr import (
    ClipError,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    ModelError,
    OptionError,
    SlowFast,
    TemporalGradient,
    UnsupportedModelError,
)
from temporal_attr.models import check_wrapper
from temporal_attr.relevance import Box, Composite
from tests.helpers.blocks import CLASSES, Lateral, Pathways, Stages, two_pathways
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import vivid

WINDOWS = (nn.AvgPool3d((2, 2, 3), 1), nn.AvgPool3d((6, 2, 3), 1))
"""Poolings whose windows overlap: 3 of each pathway in time for 8 frames of alpha 2."""


def pytorchvideo_slowfast(**options):
    models = pytest.importorskip("pytorchvideo.models")
    return models.create_slowfast(
        model_depth=18,
        model_num_class=CLASSES,
        slowfast_channel_reduction_ratio=(4,),
        stem_dim_outs=(8, 2),
        head_pool_kernel_sizes=((2, 1, 2), (8, 1, 2)),
        **options,
    )


BUILDS = {
    "own": (two_pathways, 2, (2, 8, 3, 16, 16)),
    "own_windows": (lambda: two_pathways(pools=WINDOWS), 2, (2, 8, 3, 16, 16)),
    "own_softmax": (lambda: two_pathways(activation=nn.Softmax(1)), 2, (2, 8, 3, 16, 16)),
    "own_alpha_3": (lambda: two_pathways(alpha=3), 3, (2, 9, 3, 16, 16)),
    "stages": (Stages, 2, (2, 8, 3, 16, 16)),
    "stages_sigmoid": (lambda: Stages(4, nn.Sigmoid()), 4, (2, 8, 3, 16, 16)),
    "pytorchvideo": (pytorchvideo_slowfast, 4, (2, 8, 3, 32, 64)),
    "pytorchvideo_sigmoid": (
        lambda: pytorchvideo_slowfast(head_activation=nn.Sigmoid),
        4,
        (2, 8, 3, 32, 64),
    ),
}
# Checks of shapes in every small function would take ten times as long as the functions.
pytestmark = pytest.mark.usefixtures("as_user")

each_build = pytest.mark.parametrize("name", BUILDS)


def slow_places(frames, alpha):
    """Which frames are slow, by rational arithmetic: evenly spread, rounded down."""
    count = frames // alpha
    return [place * (frames - 1) // max(1, count - 1) for place in range(count)]


def built(name):
    """A network whose outputs vary, its clip, and both of its pathways by hand, in float64."""
    make, alpha, shape = BUILDS[name]
    network, clip = make(), torch.randn(shape)
    slow = clip[:, slow_places(shape[1], alpha)]
    vivid(network, [slow.transpose(1, 2), clip.transpose(1, 2)])
    return network.double(), clip.double(), slow.double()


def given(slow, fast):
    return [slow.transpose(1, 2).clone(), fast.transpose(1, 2).clone()]


def windows(side, kernel):
    return [range(start, start + kernel) for start in range(side - kernel + 1)]


def read(volume, pool):
    """The mean of each timestep over windows in space, and its weight over windows in time."""
    sides = volume.shape[2:]
    kernel = sides if isinstance(pool, nn.AdaptiveAvgPool3d) else pool.kernel_size
    times, rows, columns = (windows(side, size) for side, size in zip(sides, kernel, strict=True))
    steps, weights = [], []
    for step in range(sides[0]):
        means = [
            volume[:, :, step][:, :, y][:, :, :, x].mean((2, 3)) for y in rows for x in columns
        ]
        steps.append(sum(means) / len(means))
        weights.append(sum(step in window for window in times) / (len(times) * kernel[0]))
    return torch.stack(steps, 1), torch.tensor(weights, dtype=volume.dtype)


@torch.no_grad()
def reference(network, clip, slow):
    """Logits and weights of each fast timestep, from the modules, one timestep at a time."""
    maps = given(slow, clip)
    if isinstance(network, Stages):
        maps = network.s2(network.s1_fuse(network.s1(maps)))
        pools = (network.head.pathway0_avgpool, network.head.pathway1_avgpool)
        proj = network.head.projection
    else:
        for block in network.blocks[:-2]:
            maps = block(maps)
        pools, proj = network.blocks[-2].pool, network.blocks[-1].proj
    (looked, looks), (followed, follows) = (
        read(one, pool) for one, pool in zip(maps, pools, strict=True)
    )
    own = looked.shape[2]
    logits = []
    for step in range(clip.shape[1]):
        of_step = followed[:, step] @ proj.weight[:, own:].T + proj.bias
        frames = slow_places(clip.shape[1], clip.shape[1] // looked.shape[1])
        if step in frames:
            place = frames.index(step)
            of_slow = looked[:, place] @ proj.weight[:, :own].T
            of_step = of_step + of_slow * looks[place] / follows[step]
        logits.append(of_step)
    return torch.stack(logits, 1), follows


@each_build
def test_forward_is_the_network_without_its_last_activation(name):
    network, clip, slow = built(name)
    wrapper = SlowFast(network)
    head = network.head if isinstance(network, Stages) else network.blocks[-1]
    place = "act" if isinstance(network, Stages) else "activation"
    ending = getattr(head, place)
    setattr(head, place, nn.Identity())
    expected = network(given(slow, clip))
    setattr(head, place, ending)
    assert_near(wrapper(clip), expected)
    assert wrapper.activation == {nn.Softmax: "softmax", nn.Sigmoid: "sigmoid"}.get(type(ending))
    assert expected.std(0).min() > 1e-3 * expected.std()


@each_build
def test_timesteps_are_those_of_a_slow_reference(name):
    network, clip, slow = built(name)
    wrapper = SlowFast(network)
    steps = wrapper.frame_logits(clip)
    logits, weights = reference(network, clip, slow)
    assert_near(steps.logits, logits)
    assert_near(steps.weights, weights)
    assert_near(steps.clip_logits(), wrapper(clip))
    assert logits.std(1).min() > 1e-3 * logits.std()
    assert wrapper.exactness == "linear"
    assert wrapper.alpha == wrapper.merged_steps == BUILDS[name][1]


def test_the_networks_own_logits_and_input_are_as_they_were():
    network, clip, _ = built("own_softmax")
    before = copy.deepcopy(network.state_dict())
    kept, flags = clip.clone(), [part.training for part in network.modules()]
    wrapper = SlowFast(network)
    wrapper(clip)
    wrapper.frame_logits(clip)
    assert torch.equal(clip, kept)
    assert flags == [part.training for part in network.modules()]
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())
    assert set(wrapper.state_dict()) == {f"model.{name}" for name in before}
    again = pickle.loads(pickle.dumps(wrapper))
    assert torch.equal(again(clip), wrapper(clip))


@pytest.mark.parametrize("name", ["own_windows", "stages", "pytorchvideo"])
def test_batch_is_its_examples(name):
    network, clip, _ = built(name)
    wrapper = SlowFast(network)
    steps = wrapper.frame_logits(clip).logits
    for place in range(2):
        assert_near(wrapper.frame_logits(clip[place : place + 1]).logits[0], steps[place])


@pytest.mark.parametrize("name", ["own", "own_alpha_3", "pytorchvideo"])
def test_attributions_of_pathways_add_up_to_the_clips(name):
    network, clip, slow = built(name)
    wrapper = SlowFast(network)
    pathways = wrapper.pathways(clip)
    assert torch.equal(pathways[0], slow)
    assert torch.equal(pathways[1], clip)
    whole = TemporalGradient(wrapper).attribute(clip, target=1)
    of_slow, of_fast = TemporalGradient(wrapper.of_pathways).attribute(pathways, target=1)
    places = torch.tensor(slow_places(clip.shape[1], BUILDS[name][1]))
    assert_near(whole, of_fast.index_add(1, places, of_slow))
    assert of_slow.abs().max() > 0.01 * of_fast.abs().max() > 0
    # By hand: the gradient of the network at each of its inputs.
    leaves = [one.clone().requires_grad_() for one in given(slow, clip)]
    logits = network(list(leaves))
    by_hand = torch.autograd.grad(logits[:, 1].sum(), leaves)
    assert_near(of_slow, by_hand[0].transpose(1, 2))


def test_masking_takes_both_pathways_too():
    network, clip, _ = built("own")
    wrapper = SlowFast(network)
    found = FrameMaskingTSR(TemporalGradient(wrapper)).attribute(clip, target=1)
    assert found.shape == clip.shape
    assert found.abs().amax((2, 3, 4)).min() > 0


COMPOSITES = {
    "paper": Composite(input=Box(low=-9.0, high=9.0)),
    "no_input_rule": Composite(input=None),
}


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("own", "paper"),
        ("own_windows", "paper"),
        ("own_windows", "no_input_rule"),
        ("stages", "no_input_rule"),
        ("pytorchvideo", "no_input_rule"),
    ],
)
def test_relevance_of_timesteps_is_conserved_and_merged_in_blocks(name, rules):
    network, clip, _ = built(name)
    wrapper, alpha = SlowFast(network), BUILDS[name][1]
    method = ContrastiveLRPTemporal(wrapper, COMPOSITES[rules], contrastive=False)
    merged = method.explain(clip[:1], target=1)
    wrapper.merged_steps = 1
    whole = method.explain(clip[:1], target=1)
    assert whole.row_error.max() < 1e-9
    steps, blocks = whole.matrix.shape[1], merged.matrix.shape[1]
    assert (steps, blocks) == (clip.shape[1], clip.shape[1] // alpha)
    for row in range(blocks):
        for column in range(blocks):
            part = whole.matrix[0, row * alpha : (row + 1) * alpha]
            expected = part[:, column * alpha : (column + 1) * alpha].sum()
            assert_near(merged.matrix[0, row, column], expected, 1e-9)
    assert_near((merged.step_logits * merged.step_weights).sum(1), merged.logits[:, 1])


def test_frames_by_stride_are_those_of_the_slow_pathway():
    network, clip, _ = built("own")
    wrapper = SlowFast(network, sampling="stride")
    assert wrapper.slow_frames(8).tolist() == [0, 2, 4, 6]
    assert SlowFast(network).slow_frames(8).tolist() == [0, 2, 4, 7]

    def by_hand(clip):
        return network(given(clip[:, ::2], clip))

    assert check_wrapper(wrapper, by_hand, clip) < 1e-12
    steps = wrapper.frame_logits(clip).logits
    without = SlowFast(network).frame_logits(clip).logits
    assert not torch.allclose(steps[:, 6], without[:, 6])


def test_the_hub_samples_as_pytorchvideo_says():
    wrapper = SlowFast(two_pathways(alpha=4))
    assert wrapper.slow_frames(32).tolist() == [0, 4, 8, 13, 17, 22, 26, 31]


@pytest.mark.parametrize(
    ("name", "frames", "size", "text"),
    [
        ("own", 7, 16, "a multiple of 2 frames .alpha, .*got 7"),
        # Poolings of 2 and 6 timesteps fit together for 4 of twice as many, and for no others.
        ("own_windows", 10, 16, "expected 8 frames of at least 9 x 9 pixels.*got 10 frames"),
        ("own_windows", 8, 4, "expected 8 frames of at least 9 x 9 pixels.*got 8 frames of 4 x 4"),
        ("own_windows", 4, 16, "expected 8 frames"),
        ("pytorchvideo", 12, 64, "expected 8 frames of at least 33 x 33.*got 12 frames"),
    ],
)
def test_sizes_that_do_not_fit_are_named(name, frames, size, text):
    network, clip, _ = built(name)
    wrapper = SlowFast(network)
    wrong = torch.zeros(1, frames, 3, size, size, dtype=torch.float64)
    assert_refused(ClipError, text, wrapper, wrong)
    assert_refused(ClipError, text, wrapper.pathways, wrong)
    wrapper(clip)


def test_alpha_is_read_and_never_guessed():
    network = two_pathways(alpha=3)
    assert SlowFast(network, alpha=3).alpha == 3
    assert_refused(
        OptionError, "alpha=3, the stride of the lateral.*got 4", SlowFast, network, alpha=4
    )
    for place in (0, 1):
        network.blocks[place].multipathway_fusion = nn.Identity()
    assert_refused(OptionError, "alpha.*no lateral convolution", SlowFast, network)
    assert SlowFast(network, alpha=5).alpha == 5
    odd = two_pathways(alpha=2)
    odd.blocks[1].multipathway_fusion = Lateral(3, 4)
    assert_refused(UnsupportedModelError, "one temporal stride, got strides 2, 4", SlowFast, odd)


def test_other_networks_are_refused_by_name():
    assert_refused(
        UnsupportedModelError, "of two pathways: with blocks.*got Linear", SlowFast,
        nn.Linear(2, 2),
    )  # fmt: skip
    network = two_pathways(activation=nn.ReLU())
    assert_refused(UnsupportedModelError, r"got one with ReLU\(\) after it", SlowFast, network)
    network = two_pathways()
    network.blocks[-1].proj = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))
    assert_refused(UnsupportedModelError, "a linear layer and a mean", SlowFast, network)


def test_pathways_with_strides_of_their_own_are_refused():
    network = two_pathways()
    network.blocks[1] = Pathways(
        nn.Conv3d(6, 5, 1, stride=(2, 1, 1)), nn.Conv3d(2, 3, 1), nn.Identity()
    )
    with pytest.raises(ModelError, match="got 8 and 2 timesteps after their last blocks"):
        SlowFast(network.eval()).frame_logits(torch.rand(1, 8, 3, 16, 16))
