"""Video transformers, recognised by `wrap`, against the bare networks."""

import copy
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
import torchvision
import transformers
from torch import nn

from temporal_attr import (
    ClipError,
    FrameLogits,
    FrameLogitsError,
    LateFusion,
    ModelError,
    TemporalGradient,
    wrap,
)
from temporal_attr._errors import UnsupportedModelError
from temporal_attr.clips import Preprocessing
from temporal_attr.models import require_visible_attention
from tests.helpers.checks import assert_near, assert_near_by_spread, assert_refused
from tests.helpers.families import CLASSES, family
from tests.helpers.transformer_families import (
    TRANSFORMERS,
    lively,
    mvit,
    swin3d,
    timesformer,
    videomae,
    videoprism,
    vivit,
    vjepa2,
)
from tests.references.frozen import contributions

pytestmark = pytest.mark.usefixtures("one_thread")

ONE_OF_EACH_KIND = ("videomae", "vivit", "timesformer", "vjepa2", "videoprism", "swin3d", "mvit_v2")
on_every_family = pytest.mark.parametrize("case", TRANSFORMERS, ids=lambda case: case.name)


def double(case):
    """A wrapper, its bare model and a clip, in double precision."""
    wrapper, bare = case.build()
    return wrapper.double(), bare, case.clip(torch.float64)


@on_every_family
def test_forward_is_the_bare_model_to_the_bit_and_timesteps_add_up_to_it(case):
    wrapper, bare, clip = double(case)
    with torch.no_grad():
        logits, expected, other = wrapper(clip), bare(clip), bare(1.7 * clip.flip(1) + 0.3)
        staged, steps = wrapper.head(wrapper.features(clip)), wrapper.frame_logits(clip)
    assert (expected - other).abs().max() > 1e-2 * expected.std()
    if hasattr(wrapper, "model"):
        assert torch.equal(logits, expected)
    # The same layers in the same order; frames that go through one by one are summed in another.
    assert_near_by_spread(logits, expected, 1e-12)
    assert_near_by_spread(staged, expected, 1e-12)
    assert wrapper.exactness == case.exactness
    assert steps.logits.shape == (clip.shape[0], case.steps, CLASSES)
    torch.testing.assert_close(steps.weights, torch.full((case.steps,), 1 / case.steps).double())
    # Tens of roundings of double precision; softmax in single precision is copied where it is so.
    assert_near_by_spread(steps.clip_logits(), expected, 1e-12)
    # Weights that are wrong are only seen where the steps differ.
    assert (steps.logits[:, 0] - steps.logits[:, 1]).abs().max() > 1e-3 * steps.logits.std()
    assert abs(case.steps - clip.shape[1] / wrapper.frames_per_step) < 1


@pytest.mark.parametrize(
    "case",
    [family(name) for name in ONE_OF_EACH_KIND],
    ids=lambda case: case.name,
)
def test_a_batch_is_its_clips_one_by_one_and_gradients_reach_every_frame(case):
    wrapper, _, clip = double(case)
    method = TemporalGradient(wrapper)
    whole = method.explain(clip, target=2)
    for place in range(2):
        single = method.explain(clip[place : place + 1], target=2)
        assert_near(whole.attribution[place], single.attribution[0], 1e-11)
        assert_near(whole.influence[place], single.influence[0], 1e-11)
    assert (whole.frame_scores > 0).all()
    assert whole.influence.shape == (2, case.steps, clip.shape[1])
    with torch.no_grad():
        steps, single = wrapper.frame_logits(clip), wrapper.frame_logits(clip[1:])
    assert_near(steps.logits[1:], single.logits, 1e-12)


def test_the_share_of_the_rest():
    steps = FrameLogits(
        torch.tensor([[[1.0], [5.0]]]), torch.tensor([0.5, 0.5]), torch.tensor([[-1.0]])
    )
    assert steps.rest_share().item() == pytest.approx(0.2)
    assert FrameLogits(steps.logits, steps.weights).rest_share() is None


def by_step(step, steps, leading=0, minor=False, places=4):
    """1 for the tokens of a timestep, and for those of none; `(1, token, 1)`."""
    times = torch.arange(steps)
    times = times.repeat(places) if minor else times.repeat_interleave(places)
    kept = torch.cat([torch.ones(leading), (times == (-1 if step is None else step)).float()])
    return kept.double()[None, :, None]


def read_by_attention(layer, steps, leading=0, minor=False):
    """A linear layer that makes values."""
    return layer, lambda output, step: output * by_step(step, steps, leading, minor)


def joint_values(network):
    """The last third of TimeSformer's queries, keys and values."""

    def keep(output, step):
        query, key, value = output.chunk(3, -1)
        return torch.cat([query, key, value * by_step(step, 8, 1, minor=True)], -1)

    return network.timesformer.encoder.layer[-1].attention.attention.qkv, keep


def divided_reads(network):
    """What the class token reads of each frame by itself."""

    def keep(output, step):
        kept = torch.tensor([float(frame == step) for frame in range(8)] * 2).double()
        read = output[0].clone()
        read[:, 0] *= kept[:, None]
        return (read,)

    return network.timesformer.encoder.layer[-1].attention, keep


def pooled_values(network):
    """The values of MViT's last block, which are pooled first."""
    return network.blocks[-1].attn.pool_v, lambda output, step: (
        output[0] * by_step(step, 4, 1, places=16),
        output[1],
    )


def last_tokens(network):
    """The tokens that VideoMAE averages."""

    def keep(output, step):
        return type(output)(last_hidden_state=output.last_hidden_state * by_step(step, 4))

    return network.videomae, keep


WHAT_IS_READ = {
    "videomae": last_tokens,
    "videomae_token": lambda m: read_by_attention(
        m.videomae.encoder.layer[-1].attention.attention.value, 4
    ),
    "vivit": lambda m: read_by_attention(m.vivit.layers[-1].attention.v_proj, 4, 1),
    "vjepa2": lambda m: read_by_attention(m.pooler.cross_attention_layer.cross_attn.v_proj, 4),
    "videoprism": lambda m: read_by_attention(m.head.v_proj, 8),
    "timesformer": divided_reads,
    "timesformer_joint": joint_values,
    "mvit_v1": pooled_values,
    "mvit_v2": pooled_values,
    "mvit_residual_with_class": pooled_values,
}


@pytest.mark.parametrize("name", WHAT_IS_READ)
def test_timesteps_contribute_what_the_network_with_held_factors_says(name):
    wrapper, bare, clip = double(family(name))
    if hasattr(wrapper.model, "set_attn_implementation"):
        wrapper.model.set_attn_implementation("eager")
    part, keep = WHAT_IS_READ[name](wrapper.model)
    with torch.no_grad():
        rest, added = contributions(bare, clip, part, keep, family(name).steps)
        found = wrapper.frame_logits(clip)
    assert added.std(1).min() > 1e-4 * found.logits.std()
    # The same sums in another order, some of them over softmaxes in single precision.
    assert_near(found.rest, rest, 1e-12)
    assert_near(found.logits, rest[:, None] + family(name).steps * added, 1e-12)


def test_timesteps_of_swin3d_are_what_the_classifier_says_of_their_tokens():
    wrapper, _, clip = double(family("swin3d"))
    network = wrapper.model
    tokens = []
    with torch.no_grad():
        handle = network.norm.register_forward_hook(lambda *call: tokens.append(call[-1]))
        network(clip.transpose(1, 2))
        handle.remove()
        expected = torch.stack([network.head(step.mean((1, 2))) for step in tokens[0].unbind(1)], 1)
        found = wrapper.frame_logits(clip)
    assert_near(found.logits, expected)
    assert found.rest is None


def test_a_classifier_with_activations_makes_contributions():
    network = swin3d()
    network.head = lively(nn.Sequential(nn.Linear(16, 9), nn.GELU(), nn.Linear(9, CLASSES)))
    wrapper = wrap(network).double()
    assert wrapper.exactness == "frozen"
    clip = family("swin3d").clip(torch.float64)
    with torch.no_grad():
        steps, expected = wrapper.frame_logits(clip), network(clip.transpose(1, 2))
    assert_near_by_spread(steps.clip_logits(), expected, 1e-12)
    network.head = nn.Sequential(nn.Linear(16, 9), nn.Softmax(-1)).double().eval()
    assert_refused(FrameLogitsError, "linear layers, layer norms", wrap(network).frame_logits, clip)


def test_odd_frames_of_swin3d_make_half_a_timestep():
    wrapper = wrap(swin3d((1, 1)))
    assert wrapper.frame_logits(torch.rand(1, 5, 3, 16, 16)).logits.shape == (1, 3, CLASSES)


# What would run, with other results.


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("make", "shape", "says"),
    [
        (timesformer, (1, 4, 3, 32, 32), "8 frames of 32 x 32, as the configuration of Times"),
        (timesformer, (1, 8, 3, 16, 16), "8 frames of 32 x 32"),
        (vjepa2, (1, 7, 3, 32, 32), "a multiple of 2 frames of 32 x 32"),
        (vjepa2, (1, 1, 3, 32, 32), "a multiple of 2 frames"),
        (vjepa2, (1, 8, 3, 16, 64), "a multiple of 2 frames of 32 x 32"),
        (videomae, (1, 6, 3, 32, 32), "8 frames of 32 x 32"),
        (vivit, (1, 8, 3, 32, 48), "8 frames of 32 x 32"),
        (videoprism, (1, 9, 3, 32, 32), "8 frames of 32 x 32"),
        (mvit, (1, 4, 3, 32, 32), "8 frames of 32 x 32, for which MViT has positions"),
        (mvit, (1, 8, 3, 48, 32), "8 frames of 32 x 32"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_clips_that_positions_were_not_made_for_are_refused(make, shape, says):
    wrapper = wrap(make())
    for call in (wrapper, wrapper.frame_logits):
        assert_refused(ClipError, says, call, torch.rand(shape))


@pytest.mark.usefixtures("as_user")
def test_frames_that_a_space_only_timesformer_has_no_positions_for_are_refused():
    wrapper = wrap(timesformer("space_only"))
    assert_refused(ClipError, "frames of 32 x 32", wrapper, torch.rand(1, 8, 3, 16, 16))


def test_space_only_timesformers_take_any_number_of_frames():
    wrapper = wrap(timesformer("space_only"))
    assert wrapper.frame_logits(torch.rand(1, 3, 3, 32, 32)).logits.shape == (1, 3, CLASSES)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("VideoMAEModel", "VideoMAEForVideoClassification"),
        ("VideoMAEForPreTraining", "VideoMAEForVideoClassification"),
        ("TimesformerModel", "TimesformerForVideoClassification"),
    ],
)
def test_models_of_features_are_refused_with_the_class_that_classifies(kind, says):
    make = {"Vi": videomae, "Ti": timesformer}[kind[:2]]
    network = getattr(transformers, kind)(copy.deepcopy(make().config))
    error = assert_refused(UnsupportedModelError, "features, no logits", wrap, network)
    assert kind in error.got
    assert says in error.remedy


@pytest.mark.usefixtures("as_user")
def test_a_bare_transformer_is_refused_by_methods_with_how_to_wrap_it():
    says = "bare network VideoMAEForVideoClassification, which returns an object"
    clip = torch.rand(1, 8, 3, 32, 32)
    assert_refused(ModelError, says, lambda: TemporalGradient(videomae()).attribute(clip, target=0))


@pytest.mark.parametrize("name", ["videomae", "vivit", "timesformer", "vjepa2", "videoprism"])
def test_wrapping_and_running_leave_a_shared_configuration_alone(name):
    wrapper, _ = family(name).build()
    network, clip = wrapper.model, family(name).clip()
    before = (copy.deepcopy(network.config.to_dict()), network.config._attn_implementation)
    other = type(network)(network.config)
    TemporalGradient(wrap(network)).explain(clip, target=1)
    assert (network.config.to_dict(), network.config._attn_implementation) == before
    assert other.config is network.config


@pytest.mark.usefixtures("as_user")
def test_attention_that_cannot_be_seen_into_is_named():
    for visible in ("eager", "sdpa"):
        require_visible_attention(wrap(videomae(visible)))
    for hidden in ("flash_attention_2", "flex_attention"):
        wrapper = wrap(videomae())
        wrapper.model.config._attn_implementation = hidden
        says = f"VideoMAEForVideoClassification.* with attn_implementation='{hidden}'"
        error = assert_refused(ModelError, says, require_visible_attention, wrapper)
        assert 'attn_implementation="eager"' in error.remedy

    class MemEffAttention(nn.Linear):
        pass

    own = LateFusion(nn.Sequential(MemEffAttention(2, 2)))
    assert_refused(
        ModelError, "encoder.0 .MemEffAttention., a kernel", require_visible_attention, own
    )


def test_names_and_activation_are_those_of_the_configuration():
    names = ["walk", "run", "jump", "sit", "lie"]
    network = videomae(id2label=dict(enumerate(names)), problem_type="multi_label_classification")
    wrapper = wrap(network)
    assert wrapper.class_names == tuple(names)
    assert wrapper.activation == "sigmoid"
    assert wrap(network, class_names=names[::-1]).class_names == tuple(names[::-1])
    assert wrap(videomae()).class_names == ()
    assert wrap(videomae()).activation is None


def test_outputs_that_are_tuples_are_unwrapped():
    wrapper, bare = family("timesformer").build()
    clip = family("timesformer").clip()
    with torch.no_grad():
        expected = bare(clip)
        wrapper.model.config.return_dict = False
        assert isinstance(wrapper.model(clip), tuple)
        assert torch.equal(wrapper(clip), expected)
        assert_near(wrapper.frame_logits(clip).clip_logits(), expected, 1e-5)


class Packs(nn.Module):
    """A network per frame that packs its logits."""

    def __init__(self, pack):
        super().__init__()
        self.linear = nn.Linear(3, CLASSES)
        self.pack = pack

    def forward(self, frames):
        return self.pack(self.linear(frames.mean((2, 3))))


@pytest.mark.parametrize(
    "pack",
    [
        lambda logits: {"logits": logits, "features": logits[:1]},
        lambda logits: {"scores": logits},
        lambda logits: (logits,),
        lambda logits: [logits],
        lambda logits: SimpleNamespace(logits=logits, aux_logits=None),
        lambda logits: namedtuple("Output", "logits aux_logits")(logits, 2 * logits),
    ],
    ids=["dict", "dict_of_one", "tuple", "list", "object", "named_tuple"],
)
def test_logits_are_found_in_what_a_network_returns(pack):
    network, frames = Packs(pack).eval(), torch.rand(2, 4, 3, 8, 8)
    expected = network.linear(frames.mean((3, 4))).mean(1)
    torch.testing.assert_close(LateFusion(network)(frames), expected)


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize(
    ("pack", "says"),
    [
        (lambda logits: (logits, logits), "alone in a tuple or dict, got tuple of 2"),
        (lambda logits: {"a": logits, "b": logits}, "got dict with a, b"),
        (lambda logits: {"last_hidden_state": logits}, "features, without a classifier"),
        (lambda logits: None, "got NoneType"),
    ],
    ids=["two", "dict_of_two", "features", "nothing"],
)
def test_outputs_without_logits_are_refused(pack, says):
    wrapper = LateFusion(Packs(pack).eval())
    assert_refused(ModelError, says, wrapper, torch.rand(2, 4, 3, 8, 8))


def test_a_forward_that_does_more_than_its_parts_is_refused():
    class Doubled(transformers.VideoMAEForVideoClassification):
        def forward(self, pixel_values=None, **options):
            output = super().forward(pixel_values, **options)
            output.logits = 2 * output.logits
            return output

    wrapper = wrap(lively(Doubled(videomae().config)))
    clip = family("videomae").clip()
    with pytest.raises(ModelError, match="parts whose output differs") as caught:
        wrapper.frame_logits(clip)
    assert "subclass VideoModel" in caught.value.remedy


def test_preprocessing_of_torchvisions_transformers_is_that_of_their_weights():
    for name in ("swin3d_t", "mvit_v1_b", "mvit_v2_s"):
        with torch.device("meta"):
            found = wrap(getattr(torchvision.models.video, name)()).preprocessing
        preset = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        assert found == Preprocessing.from_torchvision(preset), name


@pytest.mark.usefixtures("as_user")
def test_a_version_of_the_library_with_other_parts_is_named():
    network = vivit()
    network.vivit.encoder = nn.Module()
    network.vivit.encoder.layer = network.vivit.layers
    del network.vivit.layers
    says = "parts that it has in transformers 5.24, got another layout .*layers"
    error = assert_refused(UnsupportedModelError, says, wrap, network)
    assert "Update transformers" in error.remedy
