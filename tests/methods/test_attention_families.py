"""Attention rollout of models of libraries, against the attention weights that they give out."""

import pytest
import torch

from temporal_attr import AttentionRollout, GradientAttention
from temporal_attr.attributions import AttentionResult
from tests.helpers.checks import assert_near
from tests.helpers.families import family
from tests.references import attention_rollout as reference

pytestmark = [pytest.mark.usefixtures("as_user"), pytest.mark.simulation]

TUBES = {
    "videomae_eager": (2, 16, 16),
    "vivit_eager": (2, 16, 16),
    "timesformer_joint": (1, 16, 16),
}


def in_double(name):
    """The wrapper, its network and its clip; softmax in single precision, where that is fixed."""
    wrapper, _ = family(name).build()
    return wrapper.double(), getattr(wrapper, "model", None), family(name).clip(torch.float64)


@pytest.mark.parametrize("name", TUBES)
def test_joint_attention_is_the_product_of_what_the_model_gives_out(name):
    wrapper, network, clip = in_double(name)
    found = AttentionRollout(wrapper).explain(clip, target=1)
    given = network(clip, output_attentions=True).attentions
    for example in range(len(clip)):
        matrix = reference.rollout([layer[example].mean(0) for layer in given])
        tokens = name != "videomae_eager"
        row = matrix[0] if tokens else matrix.mean(0)
        if name == "timesformer_joint":
            # Its tokens are in the order of patches, and of frames for each.
            row = torch.cat([row[:1], row[1:].unflatten(0, (4, 8)).T.flatten()])
        expected = reference.on_pixels(row, clip.shape[1:], TUBES[name], class_token=tokens)
        # The library computes softmax in single precision.
        assert_near(found.attribution[example], expected, 1e-6)


def test_divided_attention_is_the_product_of_what_timesformer_gives_out():
    wrapper, network, clip = in_double("timesformer")
    seen = []
    for name, part in network.named_modules():
        if name.endswith("attn_drop"):
            part.register_forward_hook(lambda part, given, output: seen.append(given[0].detach()))
    network(clip[:1])
    frames, patches = clip.shape[1], 4
    matrices = []
    for temporal, spatial in zip(seen[::2], seen[1::2], strict=True):
        matrices += reference.divided_layers(
            list(temporal.mean(1)), list(spatial.mean(1)), frames, patches, skip=0.5, branch=0.5
        )
    assert len(matrices) == 4
    expected = reference.on_pixels(
        reference.product(matrices)[0], clip.shape[1:], (1, 16, 16), class_token=True
    )
    assert_near(AttentionRollout(wrapper).attribute(clip[:1], target=0)[0], expected, 1e-12)


@pytest.mark.parametrize(
    "name",
    ["timesformer", "vjepa2", "videoprism", "swin3d", "mvit_v1", "mvit_v2", "torchvision_vit"],
)
@pytest.mark.parametrize("kind", [AttentionRollout, GradientAttention])
def test_every_family_of_attention_is_composed(name, kind):
    wrapper, _, clip = in_double(name)
    result = kind(wrapper).explain(clip, target=[1, 2])
    assert isinstance(result, AttentionResult)
    assert (result.attribution >= 0).all()
    assert result.attribution.flatten(1).any(1).all()
    if kind is AttentionRollout:
        assert (result.on_clip <= 1 + 1e-6).all()
    single = kind(wrapper).explain(clip[1:], target=2)
    assert_near(single.attribution[0], result.attribution[1], 1e-12)
    assert_near(single.temporal_attention[0], result.temporal_attention[1], 1e-12)


@pytest.mark.parametrize("name", ["vjepa2_eager", "videoprism", "videomae"])
def test_where_no_class_token_takes_a_part_all_mass_lies_on_the_clip(name):
    wrapper, _, clip = in_double(name)
    result = AttentionRollout(wrapper).explain(clip, target=0)
    assert_near(result.on_clip, torch.ones(len(clip)).double(), 1e-6)
    assert_near(result.temporal_attention.sum(3), torch.ones(()).double().expand_as(
        result.temporal_attention[..., 0]), 1e-6)  # fmt: skip


def test_what_is_left_out_of_the_attention_over_time_is_named():
    wrapper, _, clip = in_double("vjepa2")
    result = AttentionRollout(wrapper).explain(clip, target=0)
    assert result.left_out == ("model.pooler.cross_attention_layer.cross_attn",)
    assert len(result.layers) == result.temporal_attention.shape[1] == 3
