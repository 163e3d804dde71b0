"""Pytorchvideo's networks with one pathway, its transformers, and copies of their build."""

import copy
import inspect
from dataclasses import dataclass, field
from unittest import mock

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from temporal_attr import (
    ClipError,
    ContrastiveLRPTemporal,
    ModelError,
    SlowFast,
    TemporalGradient,
    UnsupportedModelError,
    wrap,
)
from temporal_attr.relevance import Composite
from tests.helpers.blocks import CLASSES, Blocks, Stages, Swish, one_pathway, two_pathways
from tests.helpers.checks import assert_near, assert_refused
from tests.helpers.families import vivid

# Checks of shapes in every small function would take ten times as long as the functions.
pytestmark = pytest.mark.usefixtures("as_user")


def created(module, function, **options):
    """One of pytorchvideo's, with few channels."""

    def build():
        known = pytest.importorskip(f"pytorchvideo.models.{module}")
        create = getattr(known, f"create_{function}")
        depths = getattr(known, "_MODEL_STAGE_DEPTH", {})
        classes = {"model_num_class": CLASSES, "head_num_classes": CLASSES}
        taken = inspect.signature(create).parameters
        named = {name: one for name, one in classes.items() if name in taken}
        # A residual block a stage, where the depths are a table.
        with mock.patch.dict(depths, {50: (2, 1, 1, 1)}):
            return create(**named, **options)

    return build


MVIT = {
    "spatial_size": (32, 16),
    "temporal_size": 8,
    "depth": 2,
    "patch_embed_dim": 8,
    "num_heads": 2,
    "embed_dim_mul": [[1, 2.0]],
    "atten_head_mul": [[1, 2.0]],
    "pool_q_stride_size": [[1, 1, 2, 2]],
    "pool_kv_stride_adaptive": [1, 2, 2],
    "pool_kvq_kernel": [3, 3, 3],
}


def mvit(**options):
    return created("vision_transformers", "multiscale_vision_transformers", **{**MVIT, **options})


@dataclass(frozen=True)
class Build:
    """A network of one pathway, and what its wrapper should be."""

    make: object
    shape: tuple[int, ...]
    steps: int
    exactness: str = "linear"
    activation: str | None = None
    frames: int | None = None
    weights: list = field(default_factory=list)


SLOW = {"stem_dim_out": 4, "stem_conv_kernel_size": (1, 7, 7)}
NETS = {
    "fork": Build(lambda: one_pathway((4, 4, 4)), (2, 8, 3, 16, 16), 4, frames=8),
    "fork_windows": Build(
        one_pathway, (2, 10, 3, 24, 18), 5, frames=6,
        weights=[1 / 9, 2 / 9, 3 / 9, 2 / 9, 1 / 9],
    ),
    "fork_adaptive": Build(
        lambda: one_pathway(None, nn.Sigmoid()), (2, 7, 3, 16, 16), 4, activation="sigmoid"
    ),
    "fork_swish": Build(
        lambda: one_pathway((3, 4, 4), nn.Softmax(1), Swish), (2, 8, 3, 16, 16), 4,
        activation="softmax", frames=6, weights=[1 / 6, 2 / 6, 2 / 6, 1 / 6],
    ),
    "fork_projected": Build(
        lambda: one_pathway((4, 4, 4), None, Swish, projected=True), (2, 8, 3, 16, 16), 4,
        "frozen", frames=8,
    ),
    "slow": Build(
        created("resnet", "resnet", head_pool_kernel_size=(3, 1, 1), **SLOW),
        (2, 4, 3, 32, 32), 4, frames=3, weights=[1 / 6, 2 / 6, 2 / 6, 1 / 6],
    ),
    "c2d": Build(
        created(
            "resnet", "resnet", head_pool_kernel_size=(2, 1, 1), stage1_pool=nn.MaxPool3d,
            stage_conv_a_kernel_size=((1, 1, 1),) * 4, **SLOW,
        ),
        (2, 4, 3, 32, 32), 2, frames=4,
    ),
    "csn": Build(
        created(
            "csn", "csn", stem_dim_out=8, stem_pool=nn.MaxPool3d, head_pool_kernel_size=(2, 1, 1)
        ),
        (2, 16, 3, 32, 32), 2, frames=16,
    ),
    "r2plus1d": Build(
        created(
            "r2plus1d", "r2plus1d", stem_dim_out=4, head_pool_kernel_size=(2, 1, 1),
            stage_temporal_stride=(1, 1, 1, 2),
        ),
        (2, 4, 3, 32, 32), 2, activation="softmax", frames=4,
    ),
    "x3d": Build(
        created(
            "x3d", "x3d", input_clip_length=4, input_crop_size=32, depth_factor=0.5,
            width_factor=0.5, head_dim_out=16,
        ),
        (2, 4, 3, 32, 32), 4, "frozen", "softmax", frames=4,
    ),
}  # fmt: skip
TRANSFORMERS = {
    "mvit": Build(mvit(), (2, 8, 3, 32, 16), 4, "frozen", frames=8),
    "mvit_pool_first": Build(mvit(pool_first=True), (2, 8, 3, 32, 16), 4, "frozen", frames=8),
    "mvit_max": Build(
        mvit(pooling_mode="max", head_activation=nn.Softmax), (2, 8, 3, 32, 16), 4, "frozen",
        "softmax", frames=8,
    ),
    "mvit_no_class": Build(
        mvit(cls_embed_on=False, head_activation=nn.Sigmoid), (2, 8, 3, 32, 16), 4,
        activation="sigmoid", frames=8,
    ),
}  # fmt: skip
ALL = NETS | TRANSFORMERS
each_net = pytest.mark.parametrize("name", NETS)
each = pytest.mark.parametrize("name", ALL)


def built(name):
    """A network whose outputs vary, in float64, and its clip."""
    case = ALL[name]
    network, clip = case.make(), torch.randn(case.shape)
    if name in TRANSFORMERS:
        for entry in network.parameters():
            nn.init.normal_(entry, std=0.3)
    vivid(network, clip.transpose(1, 2))
    return network.double(), clip.double()


def last(network):
    return network.head if hasattr(network, "head") else network.blocks[-1]


@torch.no_grad()
def reference(network, volume):
    """Logits and weights of each timestep of the last map, by loops over windows and timesteps."""
    head = network.blocks[-1]
    for block in network.blocks[:-1]:
        volume = block(volume)
    projected = hasattr(head.pool, "pre_conv")
    pool = head.pool.pool if projected else head.pool
    if projected:
        volume = head.pool.pre_act(head.pool.pre_norm(head.pool.pre_conv(volume)))
    sides = volume.shape[2:]
    fixed = isinstance(pool, nn.AvgPool3d)
    kernel = pool.kernel_size if fixed else sides
    times, rows, columns = (
        [range(start, start + size) for start in range(side - size + 1)]
        for side, size in zip(sides, kernel, strict=True)
    )
    logits, weights = [], []
    for step in range(sides[0]):
        frame = volume[:, :, step]
        of_windows = []
        for y in rows:
            for x in columns:
                mean = frame[:, :, y][..., x].mean((2, 3))
                if projected:
                    whole = volume[:, :, :, y][..., x].mean((2, 3, 4))
                    convolution = head.pool.post_conv.weight.flatten(1)
                    mean = (mean @ convolution.T) * (whole @ convolution.T > 0)
                of_windows.append(mean @ head.proj.weight.T + head.proj.bias)
        logits.append(sum(of_windows) / len(of_windows))
        weights.append(sum(step in window for window in times) / (len(times) * kernel[0]))
    return torch.stack(logits, 1), torch.tensor(weights, dtype=volume.dtype)


@each
def test_recognised_and_equal_to_the_network_and_its_timesteps_to_a_slow_reference(name):
    network, clip = built(name)
    wrapper, case = wrap(network), ALL[name]
    assert (wrapper.exactness, wrapper.activation) == (case.exactness, case.activation)
    assert wrapper.clip_frames == case.frames
    ending = last(network).activation
    last(network).activation = None
    expected = network(clip.transpose(1, 2))
    last(network).activation = ending
    assert_near(wrapper(clip), expected)
    assert expected.std(0).min() > 1e-3 * expected.std()
    steps = wrapper.frame_logits(clip)
    assert steps.logits.shape == (2, case.steps, CLASSES)
    assert wrapper.frames_per_step == round(case.shape[1] / case.steps)
    assert_near(steps.clip_logits(), expected)
    assert steps.logits.std(1).min() > 1e-6 * expected.std()
    if name in NETS:
        logits, weights = reference(network, clip.transpose(1, 2))
        assert_near(steps.logits, logits)
        assert_near(steps.weights, weights)
    if case.weights:
        assert_near(steps.weights, torch.tensor(case.weights, dtype=torch.float64))
    assert_rows_are_logits(wrapper, clip[:1], steps.logits[:1, :, 1])


def assert_rows_are_logits(wrapper, clip, logits):
    """Relevance of each timestep adds up to its logit, and reaches the frames."""
    rules = Composite(input=None)
    found = ContrastiveLRPTemporal(wrapper, rules, contrastive=False).explain(clip, target=1)
    assert found.row_error.max() < 1e-9
    assert (found.frame_matrix.abs().sum(2) > 0).all()
    assert_near(found.matrix.sum(2) + found.sink_relevance, logits, 1e-9)


def test_timesteps_without_a_class_token_are_what_the_head_says_of_their_tokens():
    network, clip = built("mvit_no_class")
    steps = wrap(network).frame_logits(clip).logits
    kept = []
    network.norm_embed.register_forward_hook(lambda module, args, output: kept.append(output))
    network(clip.transpose(1, 2))
    tokens = kept[0]
    each_step = tokens.shape[1] // 4
    for step in range(4):
        own = tokens[:, step * each_step : (step + 1) * each_step]
        assert_near(steps[:, step], network.head.proj(own).mean(1))


@pytest.mark.parametrize("name", ["fork_windows", "fork_swish", "fork_projected", "mvit"])
def test_batch_is_its_examples(name):
    network, clip = built(name)
    wrapper = wrap(network)
    steps = wrapper.frame_logits(clip).logits
    for place in range(2):
        assert_near(wrapper.frame_logits(clip[place : place + 1]).logits[0], steps[place])


class Products(TorchFunctionMode):
    """Notes the operands of matrix products of two tensors."""

    def __init__(self):
        super().__init__()
        self.operands = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func.__name__ in ("matmul", "__matmul__"):
            self.operands.append(args)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["mvit", "mvit_pool_first", "mvit_max"])
def test_timesteps_of_a_class_token_are_what_it_reads_of_them(name):
    network, clip = built(name)
    block = network.blocks[-1]
    # With nothing but linear layers after the last attention, what it reads adds up by itself.
    network.norm_embed = nn.Identity()
    nn.init.zeros_(block.mlp.fc2.weight)
    nn.init.zeros_(block.mlp.fc2.bias)
    steps = wrap(network).frame_logits(clip)
    with Products() as products:
        network(clip.transpose(1, 2))
    weights, values = products.operands[-1]
    places = (weights.shape[-1] - 1) // 4
    parts = []
    for step in range(4):
        own = slice(1 + step * places, 1 + (step + 1) * places)
        read = (weights[:, :, :1, own] @ values[:, :, own]).squeeze(2).flatten(1)
        parts.append(read @ block.attn.proj.weight.T @ network.head.proj.weight.T)
    expected = torch.stack(parts, 1)
    assert_near((steps.logits - steps.rest[:, None]) / 4, expected)
    assert expected.std(1).min() > 1e-4 * expected.std()


@pytest.mark.parametrize("name", ["fork_swish", "x3d"])
def test_a_swish_written_by_hand_can_be_differentiated_twice(name):
    network, clip = built(name)
    plain = copy.deepcopy(network)
    plain.blocks[-1].activation = None
    for part in plain.modules():
        for place, own in part.named_children():
            if type(own).__name__ == "Swish":
                setattr(part, place, nn.SiLU())
    wrapper, leaf = wrap(network), clip[:1].requires_grad_()
    assert len(wrapper.network.substitutes) > 1
    found, expected = (
        twice(logits[0, 1], leaf) for logits in (wrapper(leaf), plain(leaf.transpose(1, 2)))
    )
    assert_near(found, expected)
    assert expected.abs().max() > 0


def twice(scalar, leaf):
    """The gradient of a gradient's squared length."""
    (once,) = torch.autograd.grad(scalar, leaf, create_graph=True)
    return torch.autograd.grad(once.square().sum(), leaf)[0]


class BentSwish(nn.Module):
    """Of the name, and another function."""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


def test_what_is_only_called_swish_runs_as_it_is():
    network = vivid(one_pathway((4, 4, 4), None, BentSwish), torch.randn(2, 3, 8, 16, 16)).double()
    clip = torch.randn(2, 8, 3, 16, 16, dtype=torch.float64)
    wrapper = wrap(network)
    assert not wrapper.network.substitutes
    assert_near(wrapper(clip), network(clip.transpose(1, 2)))


@pytest.mark.parametrize("name", ["fork_swish", "mvit_max"])
def test_the_network_is_as_it_was(name):
    network, clip = built(name)
    state, output = copy.deepcopy(network.state_dict()), network(clip.transpose(1, 2))
    parts = [(path, type(part), part.training) for path, part in network.named_modules()]
    wrapper, kept = wrap(network), clip.clone()
    TemporalGradient(wrapper).explain(clip, target=1)
    assert torch.equal(clip, kept)
    assert parts == [(path, type(part), part.training) for path, part in network.named_modules()]
    assert all(torch.equal(state[key], now) for key, now in network.state_dict().items())
    assert torch.equal(network(clip.transpose(1, 2)), output)
    assert not any(part._forward_hooks for part in network.modules())
    assert all(entry.grad is None for entry in network.parameters())


@pytest.mark.parametrize("name", ["fork_windows", "slow"])
def test_stages_recompute_to_the_same_gradient(name):
    network, clip = built(name)
    wrapper = wrap(network)
    whole = TemporalGradient(wrapper, memory="whole").attribute(clip, target=1)
    assert len(wrapper.stages) > 2
    assert_near(TemporalGradient(wrapper, memory="checkpoint").attribute(clip, target=1), whole)


@pytest.mark.parametrize(
    ("name", "frames", "size", "text"),
    [
        ("fork", 5, 16, "at least 7 frames of at least 13 x 13 pixels.*got 5 frames of 16 x 16"),
        ("fork", 8, 8, "at least 7 frames of at least 13 x 13 pixels.*got 8 frames of 8 x 8"),
        ("slow", 2, 32, "at least 3 frames.*got 2 frames"),
        ("mvit", 4, 32, "8 frames of 32 x 16, for which .* has positions, got 4 x 32 x 32"),
    ],
)
def test_sizes_that_do_not_fit_are_named_before_a_layer_runs(name, frames, size, text):
    network, _ = built(name)
    wrapper, ran = wrap(network), []
    for part in network.modules():
        part.register_forward_pre_hook(lambda module, args: ran.append(module))
    wrong = torch.zeros(1, frames, 3, size, size, dtype=torch.float64)
    assert_refused(ClipError, text, wrapper, wrong)
    assert_refused(ClipError, text, wrapper.frame_logits, wrong)
    assert not ran


def test_the_preset_is_the_hubs_at_the_size_that_the_head_pools():
    hub = pytest.importorskip("pytorchvideo.models.hub")
    for name, frames, resize, crop in (
        ("slow_r50", 8, 256, 224),
        ("c2d_r50", 8, 256, 224),
        ("x3d_s", 13, 182, 160),
        ("mvit_base_16x4", 16, 256, 224),
    ):
        wrapper = wrap(getattr(hub, name)(pretrained=False).eval())
        assert wrapper.clip_frames == frames
        assert (wrapper.preprocessing.resize, wrapper.preprocessing.crop) == (resize, (crop, crop))
        assert wrapper.normalization.mean == (0.45,) * 3
        assert wrapper.normalization.std == (0.225,) * 3
    greys = one_pathway()
    greys.blocks[0][0] = nn.Conv3d(1, 4, 3, (1, 2, 2), 1)
    assert wrap(greys.eval()).channels == 1


def test_two_pathways_become_slowfast():
    wrapper = wrap(
        two_pathways(pools=(nn.AvgPool3d((2, 2, 3), 1), nn.AvgPool3d((4, 2, 3), 1))).eval()
    )
    assert isinstance(wrapper, SlowFast)
    assert wrapper.clip_frames == 4
    assert wrapper.preprocessing.crop == (8, 12)
    wrapper = wrap(Stages().eval())
    assert isinstance(wrapper, SlowFast)
    assert wrapper.clip_frames is None
    assert wrapper.preprocessing.crop == (224, 224)


class Boxes(nn.Module):
    """A head that takes boxes."""

    def __init__(self):
        super().__init__()
        self.roi_layer = nn.Identity()


def test_what_is_no_classifier_of_clips_is_refused_by_name():
    boxes = Blocks(nn.Conv3d(3, 4, 3), Boxes())
    assert_refused(
        UnsupportedModelError, "of whole clips, got Blocks, which classifies boxes", wrap, boxes
    )
    network = one_pathway()
    network.blocks[-1].output_pool = None
    assert_refused(UnsupportedModelError, "no output_pool and gives a map of logits", wrap, network)


def test_an_activation_that_gives_no_probabilities_stays():
    network = vivid(one_pathway((4, 4, 4), nn.Tanh()), torch.randn(2, 3, 8, 16, 16)).double()
    clip = torch.randn(2, 8, 3, 16, 16, dtype=torch.float64)
    wrapper = wrap(network)
    assert (wrapper.exactness, wrapper.activation) == ("frozen", None)
    assert_near(wrapper(clip), network(clip.transpose(1, 2)))
    assert_near(wrapper.frame_logits(clip).clip_logits(), wrapper(clip))


def test_the_bare_network_is_refused_with_what_to_do():
    network = created("slowfast", "slowfast", stem_dim_outs=(8, 2), model_depth=18,
                      slowfast_channel_reduction_ratio=(4,))()  # fmt: skip
    assert_refused(
        ModelError, r"takes a list of two clips.*wrap\(model\)", TemporalGradient, network
    )
