"""Class activation maps, against references from their definitions and closed forms."""

import pytest
import torch
from captum.attr import LayerGradCam
from einops import rearrange
from torch import nn

from temporal_attr import (
    ClassActivationResult,
    Conv3D,
    GradCAM,
    GradCAMPlusPlus,
    HiResCAM,
    LateFusion,
    LayerCAM,
    ModelError,
    OptionError,
    ScoreCAM,
    SlowFast,
    load_result,
)
from temporal_attr.attributions.class_activation import _weighting
from temporal_attr.attributions.class_activation._spread import merged, on_pixels
from temporal_attr.models import at_timestep
from tests.helpers import own_networks
from tests.helpers.blocks import Stages, two_pathways
from tests.helpers.checks import assert_near
from tests.helpers.families import CLASSES, family, image_encoder, vivid
from tests.references import class_activation as slowly

pytestmark = pytest.mark.usefixtures("as_user", "one_thread")

BY_GRADIENT = {
    GradCAM: slowly.grad_cam,
    GradCAMPlusPlus: slowly.grad_cam_plus_plus,
    HiResCAM: slowly.hi_res_cam,
    LayerCAM: slowly.layer_cam,
}
EVERY = [*BY_GRADIENT, ScoreCAM]


def named(kind):
    return kind.__name__


def options(kind, pool):
    return {"pool": pool} if kind in (GradCAM, GradCAMPlusPlus) else {}


@pytest.mark.parametrize("pool", ["clip", "timestep"])
@pytest.mark.parametrize("kind", BY_GRADIENT, ids=named)
@pytest.mark.parametrize("shape", [(2, 3, 2, 3, 4), (1, 5, 1, 2, 2), (2, 1, 4, 3, 1)])
def test_each_weighting_is_that_of_its_definition(kind, pool, shape):
    values, gradient = torch.randn(2, *shape, dtype=torch.float64)
    gradient[:, :, :, 0, 0] = 0
    found = kind(image_encoder(), "0", **options(kind, pool))._map(values, gradient)
    for example in range(shape[0]):
        expected = BY_GRADIENT[kind](values[example], gradient[example], pool)
        assert_near(found[example], expected, 1e-12)


class Volume(nn.Module):
    """Two convolutions, and a head that mixes what it reads of all places."""

    def __init__(self, stride=1):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(3, 4, 3, stride=(stride, 2, 2), padding=1),
            nn.Tanh(),
            nn.Conv3d(4, 6, 3, stride=stride, padding=1),
            nn.BatchNorm3d(6),
        )
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, CLASSES))

    def after(self, volume):
        return self.head(self.act(volume).square().mean((2, 3, 4)))

    def forward(self, video):
        return self.after(self.body(video))


@pytest.fixture
def volume():
    return vivid(Volume(), torch.randn(4, 3, 5, 12, 16)).double()


@pytest.fixture
def clip():
    return torch.randn(2, 5, 3, 12, 16, dtype=torch.float64)


@pytest.mark.parametrize("pool", ["clip", "timestep"])
@pytest.mark.parametrize("kind", BY_GRADIENT, ids=named)
def test_maps_of_a_network_are_those_of_its_halves(kind, pool, volume, clip):
    """The layer's values overwritten in place by what follows."""
    method = kind(Conv3D(volume), "body", relu=False, **options(kind, pool))
    result = method.explain(clip, [1, 3])
    values = volume.body(clip.transpose(1, 2)).detach().requires_grad_()
    logits = volume.after(values.clone())
    (gradient,) = torch.autograd.grad(logits[0, 1] + logits[1, 3], values)
    assert_near(result.logits, logits.detach(), 1e-12)
    (found,) = result.maps.values()
    for example in range(2):
        expected = BY_GRADIENT[kind](values[example].detach(), gradient[example], pool)
        assert_near(found[example], expected, 1e-12)
    rectified = kind(Conv3D(volume), "body", **options(kind, pool)).explain(clip, [1, 3])
    assert_near(rectified.maps["model.body"], found.clamp(min=0), 1e-12)
    # Where the ReLU lets a gradient through, values are positive.
    assert (found < 0).any() == (kind is not LayerCAM)
    assert (found > 0).any()


def test_score_cam_is_that_of_its_definition(volume, clip):
    wrapper = Conv3D(volume)
    for baselines, value in ((0.0, 0.0), (0.5, 0.5)):
        result = ScoreCAM(wrapper, "body", False, baselines).explain(clip, [1, 3])
        values = volume.body(clip.transpose(1, 2)).detach()
        for example, target in enumerate([1, 3]):

            def logit(masked, target=target):
                return wrapper(masked[None])[0, target].detach()

            expected = slowly.score_cam(logit, clip[example], values[example], range(5), value)
            assert_near(result.maps["model.body"][example], expected, 1e-12)


def test_a_channel_that_is_the_same_everywhere_masks_all():
    values = torch.zeros(1, 2, 1, 2, 2, dtype=torch.float64)
    values[0, 1, 0, 0] = torch.tensor([-1.0, 3.0])
    masks = _weighting.channel_masks(values)
    assert masks[0, 0].eq(0).all()
    assert masks[0, 1].flatten().tolist() == [0, 1, 0.25, 0.25]


@pytest.mark.parametrize("kind", EVERY, ids=named)
def test_pixels_and_frames_are_those_of_the_map(kind):
    """Of 13 frames at stride 4, whose last step stands for one frame."""
    network = vivid(Volume(stride=2), torch.randn(4, 3, 13, 12, 16)).double()
    clip = torch.randn(1, 13, 3, 12, 16, dtype=torch.float64)
    result = kind(Conv3D(network), "body", relu=False).explain(clip, 2)
    found = result.maps["model.body"]
    assert found.shape == (1, 4, 3, 4)
    for frame in range(13):
        of_step = found[0, frame // 4]
        expected = slowly.enlarged(of_step, (12, 16))
        assert_near(result.attribution[0, frame], expected.expand(3, -1, -1), 1e-12)
        assert_near(result.frame_scores[0, frame], of_step.mean(), 1e-12)
    assert len(set(result.frame_scores[0].tolist())) == 4


@pytest.fixture
def pooled():
    """Global average pooling and a linear classifier: where the class activation map is defined."""
    network = nn.Sequential(
        nn.Conv3d(3, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.Linear(6, CLASSES),
    )  # fmt: skip
    return vivid(network, torch.randn(4, 3, 5, 12, 16)).double()


@pytest.mark.parametrize("kind", [GradCAM, HiResCAM], ids=named)
def test_before_global_pooling_it_is_the_class_activation_map(kind, pooled, clip):
    result = kind(Conv3D(pooled), relu=False).explain(clip, [1, 3])
    assert result.layers == ("model.1",)
    values, linear = pooled[1](pooled[0](clip.transpose(1, 2))), pooled[4]
    expected = torch.einsum("bcthw,bc->bthw", values, linear.weight[[1, 3]]) / (5 * 12 * 16)
    assert_near(result.maps["model.1"], expected.detach(), 1e-12)
    explained = result.logits[[0, 1], [1, 3]] - linear.bias[[1, 3]].detach()
    assert_near(result.maps["model.1"].sum((1, 2, 3)), explained, 1e-12)


def test_of_frames_that_are_averaged_each_has_its_own_map():
    encoder, linear = image_encoder().double(), nn.Linear(24, CLASSES).double().eval()
    model, clip = LateFusion(encoder, linear), torch.randn(2, 5, 3, 16, 16, dtype=torch.float64)
    whole = HiResCAM(model, relu=False).explain(clip, [1, 3])
    for frame in range(5):
        alone = HiResCAM(model, relu=False).explain(clip[:, frame : frame + 1], [1, 3])
        assert_near(whole.frame_scores[:, frame], alone.frame_scores[:, 0] / 5, 1e-12)
        assert_near(whole.attribution[:, frame], alone.attribution[:, 0] / 5, 1e-12)


def test_a_frame_that_is_not_read_has_no_map_where_weights_are_of_steps():
    model, clip = family("late_fusion_last").build()[0].double(), torch.randn(1, 4, 3, 16, 16)
    clip = clip.double()
    for kind in (HiResCAM, LayerCAM):
        scores = kind(model, relu=False).explain(clip, 1).frame_scores[0]
        assert (scores != 0).tolist() == [False, False, False, True]
    for kind in (GradCAM, GradCAMPlusPlus):
        scores = kind(model, relu=False, pool="timestep").explain(clip, 1).frame_scores[0]
        assert (scores != 0).tolist() == [False, False, False, True]
        # One weight for the whole clip says something of every frame.
        assert kind(model, relu=False).explain(clip, 1).frame_scores[0].all()


class ReadByNorm(nn.Module):
    """Places of frames, each of whose features goes through a norm before a linear classifier."""

    def __init__(self):
        super().__init__()
        self.look, self.norm = nn.Conv3d(3, 6, 3, padding=1), nn.LayerNorm(6)
        self.fc = nn.Linear(6, CLASSES)

    def forward(self, video):
        return self.fc(self.norm(self.look(video).movedim(1, -1)).mean((1, 2, 3)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_before_a_norm_value_times_gradient_is_refused(clip, dtype):
    network = vivid(ReadByNorm(), torch.randn(4, 3, 6, 12, 16)).to(dtype)
    model, clip = Conv3D(network), clip.to(dtype)
    for relu in (False, True):
        with pytest.raises(ModelError, match="value times gradient does not cancel.*Name the norm"):
            HiResCAM(model, "look", relu).explain(clip, [1, 3])
    values = network.norm(network.look(clip.transpose(1, 2)).movedim(1, -1)).double().detach()
    expected = torch.einsum("btyxc,bc->btyx", values, network.fc.weight[[1, 3]].double().detach())
    found = HiResCAM(model, "norm", relu=False).explain(clip, [1, 3]).maps["model.norm"]
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}[dtype]
    assert_near(found.double(), expected / values[0, ..., 0].numel(), tolerance)
    # The sign of a gradient is not in the norm's invariance.
    assert LayerCAM(model, "look").attribute(clip, [1, 3]).any()


def test_a_map_that_cancels_in_one_clip_is_refused_and_none_of_zeros():
    values, gradient = torch.rand(2, 2, 4, 1, 2, 2)
    method = HiResCAM(image_encoder(), "0")
    gradient[1] = 0
    assert not method._map(values, gradient)[1].any()
    gradient[0] = torch.tensor([1.0, -1.0, 1.0, -1.0])[:, None, None, None]
    values[0] = 1.0
    # A single place that is left is enough: others may be read by nothing.
    for left, refused in ((1e-2, False), (1e-5, True)):
        values[0, 0, 0, 0, 0] = 1 + left
        if refused:
            with pytest.raises(ModelError, match="at most 3e-06 of their size"):
                method._map(values, gradient)
        else:
            assert method._map(values, gradient)[0, 0, 0, 0] == pytest.approx(left, rel=1e-4)


def test_pathways_add_up_to_the_logit():
    """What follows both is linear: the mean over each pathway, and a linear classifier."""
    model = family("zoo_slowfast").build()[0].double()
    clip = family("zoo_slowfast").clip(torch.float64)
    result = HiResCAM(model, relu=False).explain(clip, [1, 3])
    assert result.layers == ("slow.1", "fast.1") or result.layers == ("fast.1", "slow.1")
    assert {tuple(one.shape[1:]) for one in result.maps.values()} == {(6, 2, 2), (3, 2, 2)}
    explained = result.logits[[0, 1], [1, 3]] - model.classifier.bias[[1, 3]].detach()
    parts = sum(one.sum((1, 2, 3)) for one in result.maps.values())
    assert_near(parts, explained, 1e-12)
    # On the finest grid, of 2 x 2 places for each of the 6 frames.
    assert_near(4 * result.frame_scores.sum(1), explained, 1e-12)
    named_ones = HiResCAM(model, ("slow.1", "fast.1"), relu=False).explain(clip, [1, 3])
    assert_near(named_ones.attribution, result.attribution, 1e-12)


@pytest.mark.parametrize(("make", "layer"), [(two_pathways, "blocks.1"), (Stages, "s2")])
def test_a_layer_that_returns_both_pathways(make, layer):
    """As networks of other libraries do, which overwrite the list that they are given."""
    network = make()
    shown = torch.randn(2, 8, 3, 16, 16)
    vivid(network, [shown[:, [0, 2, 4, 7]].transpose(1, 2), shown.transpose(1, 2)])
    model, clip = SlowFast(network).double(), shown.double()
    result = HiResCAM(model, relu=False).explain(clip, [1, 3])
    assert result.layers == (f"model.{layer}[0]", f"model.{layer}[1]")
    explained = result.logits[[0, 1], [1, 3]] - model.classifier.bias[[1, 3]].detach()
    assert_near(sum(one.sum((1, 2, 3)) for one in result.maps.values()), explained, 1e-12)


def test_maps_are_merged_on_the_finest_grid():
    slow, fast = torch.rand(1, 2, 2, 2), torch.rand(1, 4, 2, 2)
    steps = [(0, 0, 1, 1), (0, 1, 2, 3)]
    kept = merged([slow, fast], steps, extensive=True)
    assert_near(kept.sum(), slow.sum() + fast.sum(), 1e-6)
    plain = merged([slow, fast], steps, extensive=False)
    assert_near(plain, slow.repeat_interleave(2, 1) + fast, 1e-6)
    pixels = on_pixels(kept, 3, (2, 2))
    assert_near(pixels, kept[:, :, None].expand_as(pixels), 1e-6)


def test_what_is_positive_of_several_pathways_is_that_of_their_sum():
    model = family("zoo_slowfast").build()[0]
    clip = family("zoo_slowfast").clip()
    layer = ("slow.1", "fast.1")
    signed = HiResCAM(model, layer, relu=False).explain(clip, 1)
    rectified = HiResCAM(model, layer).explain(clip, 1)
    ahead = [signed.maps[name] for name in layer]
    whole = merged(ahead, [(0, 0, 1, 1, 2, 2), tuple(range(6))], extensive=True)
    assert (whole < 0).any()
    assert_near(rectified.frame_scores, whole.relu().mean((2, 3)), 1e-6)


def test_steps_of_a_recurrent_layer_have_their_whole_gradient():
    """A layer that runs step by step: an early step acts by way of the later ones."""
    network = own_networks.ConvLSTM().double().eval()
    clip = torch.randn(2, 5, 3, 8, 8, dtype=torch.float64)
    calls = []
    handle = network.gates.register_forward_hook(lambda *given: calls.append(given[2]))
    logits = network(clip)
    handle.remove()
    gradients = torch.autograd.grad(logits[0, 1] + logits[1, 3], calls)
    expected = torch.stack(
        [(one * slope).sum(1) for one, slope in zip(calls, gradients, strict=True)], 1
    )
    result = HiResCAM(network, network.gates, relu=False).explain(clip, [1, 3])
    assert_near(result.maps["gates"], expected.detach(), 1e-12)
    assert expected.flatten(2).any(2).all()


def test_no_graph_is_kept_before_the_layer(volume, clip):
    method = GradCAM(Conv3D(volume), "body")
    method.attribute(clip, 1)
    held = method.estimate(clip, 1).graph_bytes
    after = volume.body(clip.transpose(1, 2)).numel() * 8
    before = volume.body[1](volume.body[0](clip.transpose(1, 2))).numel() * 8
    # The ReLU's output, which the square keeps, too; what follows is small.
    assert after <= held < after + 2000
    assert before > 2000


@pytest.mark.parametrize("relu", [False, True])
def test_it_agrees_with_captum_before_enlarging(relu, volume, clip):
    found = GradCAM(Conv3D(volume), "body", relu=relu).explain(clip, [1, 3])
    expected = LayerGradCam(volume, volume.body).attribute(
        clip.transpose(1, 2), target=[1, 3], relu_attributions=relu
    )
    assert_near(found.maps["model.body"], expected[:, 0].detach(), 1e-12)


def of_grad_cam(name, network, layer, clip):
    """What the library grad-cam has before it enlarges, clips and scales."""
    peer = pytest.importorskip("pytorch_grad_cam")
    with getattr(peer, name)(network, [layer]) as method:
        method.activations_and_grads(clip)[0, 2].backward()
        kept = method.activations_and_grads
        values, slopes = (part[0].numpy() for part in (kept.activations, kept.gradients))
        return torch.from_numpy(method.get_cam_image(clip, layer, [], values, slopes, False))


@pytest.mark.simulation
@pytest.mark.parametrize("kind", [GradCAM, HiResCAM, LayerCAM], ids=named)
def test_it_agrees_with_grad_cam(kind, check_measured):
    """Not where what follows the layer overwrites it: that library then takes the new values."""
    network = vivid(Volume(), torch.randn(4, 3, 6, 12, 16))
    network.act.inplace = False
    clip = torch.randn(1, 6, 3, 12, 16)
    expected = of_grad_cam(named(kind), network, network.body, clip.transpose(1, 2))
    found = kind(Conv3D(network), "body", relu=False).explain(clip, 2).maps["model.body"]
    apart = float((expected - found).abs().max() / found.abs().max())
    check_measured(f"{named(kind)} apart from grad-cam", apart, 0.0, 1e-6, 1)


@pytest.mark.simulation
def test_grad_cam_plus_plus_agrees_with_grad_cam_on_images(check_measured):
    """Of volumes that library sums two axes of three. It adds 1e-6 below the fraction."""
    network = nn.Sequential(image_encoder(), nn.Linear(24, CLASSES)).eval()
    with torch.no_grad():
        network[1].weight *= 100
    frame = torch.randn(1, 3, 16, 16)
    expected = of_grad_cam("GradCAMPlusPlus", network, network[0][4], frame)
    method = GradCAMPlusPlus(LateFusion(network), "encoder.0.4", relu=False)
    found = method.explain(frame[:, None], 2).maps["encoder.0.4"][:, 0]
    apart = float((expected - found).abs().max() / found.abs().max())
    check_measured("GradCAMPlusPlus apart from grad-cam", apart, 0.0, 1e-3, 1)


@pytest.mark.parametrize("kind", EVERY, ids=named)
def test_half_precision_clips(kind, volume, clip):
    halved = volume.bfloat16()
    found = kind(Conv3D(halved), "body").explain(clip.bfloat16(), 1)
    expected = kind(Conv3D(volume.float()), "body").explain(clip.bfloat16().float(), 1)
    assert found.attribution.dtype == torch.float32
    assert_near(found.frame_scores.float(), expected.frame_scores, 0.06)


def test_a_timestep_has_a_map_of_its_own():
    model = family("gru_mean").build()[0].double()
    clip = family("gru_mean").clip(torch.float64)
    found = HiResCAM(model, relu=False).explain(clip, (2, 1))
    # A timestep reads no frame after it.
    assert found.frame_scores.bool().tolist() == 2 * [[True] * 3 + [False] * 3]
    expected = HiResCAM(at_timestep(model, 2), relu=False).attribute(clip, 1)
    assert torch.equal(found.attribution, expected)


def test_arguments_go_along_with_each_clip(volume, clip):
    shift = torch.randn(2, CLASSES, dtype=torch.float64)

    def model(clips, shifts):
        return volume(clips.transpose(1, 2)) * (1 + shifts)

    for kind in EVERY:
        found = kind(model, volume.body, relu=False).attribute(clip, 1, shift)
        alone = [
            kind(model, volume.body, relu=False).attribute(clip[i : i + 1], 1, shift[i : i + 1])
            for i in range(2)
        ]
        assert_near(found, torch.cat(alone), 1e-12)


def test_a_result_lasts_and_says_what_it_is_of(volume, clip, tmp_path):
    result = GradCAM(Conv3D(volume), "body").explain(clip[:1], 1)
    loaded = load_result(result.save(tmp_path / "map"))
    assert isinstance(loaded, ClassActivationResult)
    assert torch.equal(loaded.maps["model.body"], result.maps["model.body"])
    assert "GradCAM of the layer 'model.body' (5 x 6 x 8)" in result.summary()
    assert result.meaning == "GradCAM for the logit"
    table = result.to_dataframe()
    assert table["frame_scores"].tolist() == pytest.approx(result.frame_scores[0].tolist())


def test_a_map_of_nothing_is_said(pooled):
    with torch.no_grad():
        pooled[0].bias.zero_()
    result = GradCAM(Conv3D(pooled), "1").explain(torch.zeros(1, 5, 3, 12, 16).double(), 1)
    assert "zero everywhere" in result.summary()


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        ("boddy", "layer among the modules of Conv3D"),
        ("2", "such as model.body.2, model.head.2, got '2', which 2 of them could be"),
        (3, "layer to be text, a Module or a tuple of .* got 3"),
        ((), 'a path, a module, a tuple of these, or "last"'),
        (("body", "model.body"), "each layer once"),
    ],
)
def test_layers_that_are_none(layer, text, volume):
    with pytest.raises(OptionError, match=text):
        GradCAM(Conv3D(volume), layer)


def test_options_that_are_none(volume):
    with pytest.raises(OptionError, match='pool to be "clip" or "timestep", got \'frame\''):
        GradCAM(Conv3D(volume), pool="frame")
    with pytest.raises(OptionError, match="relu to be True or False"):
        LayerCAM(Conv3D(volume), relu=1)
    with pytest.raises(OptionError, match="stands for whole frames"):
        ScoreCAM(Conv3D(volume), baselines="neighbour")
    with pytest.raises(OptionError, match="Or wrap the model"):
        GradCAM(lambda clip: volume(clip.transpose(1, 2)))


def test_layers_that_give_no_map(volume, clip):
    volume.spare = nn.ReLU()
    with pytest.raises(ModelError, match="a layer that runs for a clip, at 'model.spare'"):
        GradCAM(Conv3D(volume), "spare").attribute(clip, 1)
    with pytest.raises(OptionError, match=r"'model.head.1', which gives shape \(5, 7\)"):
        GradCAM(Conv3D(volume), "head.1").attribute(clip, 1)


def test_a_replaced_layer_is_found_again(volume, clip):
    wrapper = Conv3D(volume)
    method = GradCAM(wrapper, "body.2", relu=False)
    before = method.attribute(clip, 1)
    volume.body[2] = nn.Conv3d(4, 6, 3, padding=1).double()
    after = method.attribute(clip, 1)
    assert not torch.allclose(before, after)
    assert_near(after, GradCAM(Conv3D(volume), "body.2", relu=False).attribute(clip, 1), 1e-12)


def test_the_layout_of_a_plain_module_is_that_of_clips(volume, clip):
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = volume

        def forward(self, clip):
            return self.inner(rearrange(clip, "b t c h w -> b c t h w"))

    found = GradCAM(Plain().eval(), relu=False).explain(clip, 1)
    expected = GradCAM(Conv3D(volume), relu=False).explain(clip, 1)
    assert (found.layers, expected.layers) == (("inner.act",), ("model.act",))
    assert_near(found.attribution, expected.attribution, 1e-12)
