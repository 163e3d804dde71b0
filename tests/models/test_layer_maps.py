"""Where maps of space and time are in what layers give, of whatever layout."""

import gc
import threading
import weakref

import pytest
import torch
from einops import rearrange
from torch import nn

from temporal_attr import Conv3D, GradCAM, HiResCAM, OptionError
from temporal_attr.attributions.class_activation._layers import mapped_layers
from temporal_attr.models.layers._map_axes import measured_layout, probing_clips
from temporal_attr.models.layers._map_layout import layouts_of
from temporal_attr.models.layers._maps import steps_of_frames
from temporal_attr.models.layers._tapped import Tap, TappedRun, hooked
from tests.helpers.checks import assert_near
from tests.helpers.families import CLASSES, family, vivid

pytestmark = pytest.mark.usefixtures("as_user", "one_thread")

# All axes of one size: channels, steps, rows and columns.
SIDE = 4
LAYOUTS = {
    "channels_first": "b c t h w",
    "channels_last": "b t h w c",
    "frames_before_channels": "b t c h w",
    "frames_in_the_batch": "(b t) c h w",
    "frames_in_the_batch_time_first": "(t b) c h w",
    "frames_in_the_batch_channels_last": "(b t) h w c",
    "tokens": "b (t h w) c",
    "tokens_space_first": "b (h w t) c",
    "tokens_after_channels": "b c (t h w)",
    "tokens_of_frames": "b t (h w) c",
    "tokens_of_frames_in_the_batch": "(b t) (h w) c",
}


class Rearranged(nn.Module):
    """A network that keeps the map between two convolutions in another layout."""

    def __init__(self, layout, tokens=0):
        super().__init__()
        self.stem = nn.Conv3d(3, SIDE, 3, padding=1)
        self.layer = nn.Identity()
        self.after = nn.Conv3d(SIDE, 6, 3, padding=1)
        self.fc = nn.Linear(6, CLASSES)
        self.layout = layout
        self.tokens = nn.Parameter(torch.randn(tokens, SIDE))

    def forward(self, clip):
        x = torch.tanh(self.stem(clip.transpose(1, 2)))
        sizes = dict(zip("bcthw", x.shape, strict=True))
        kept = rearrange(x, f"b c t h w -> {self.layout}")
        extra = self.tokens.expand(len(kept), *self.tokens.shape)
        if len(self.tokens):
            kept = torch.cat([extra, kept], 1)
        kept = self.layer(kept)[:, len(self.tokens) :] if len(self.tokens) else self.layer(kept)
        x = rearrange(kept, f"{self.layout} -> b c t h w", **sizes)
        return self.fc(torch.tanh(self.after(x)).mean((2, 3, 4)))


def rearranged(layout, tokens=0):
    torch.manual_seed(3)
    return Rearranged(layout, tokens).double().eval()


def clip_of(*shape):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_map(name, batch):
    """With all sizes alike, the axes are told by what changes only."""
    clip = clip_of(batch, SIDE, 3, SIDE, SIDE)
    plain = rearranged("b c t h w")
    expected = GradCAM(plain, plain.layer, relu=False).explain(clip, 1)
    network = rearranged(LAYOUTS[name])
    found = GradCAM(network, network.layer, relu=False).explain(clip, 1)
    assert_near(found.maps["layer"], expected.maps["layer"], 1e-12)
    assert_near(found.attribution, expected.attribution, 1e-12)


@pytest.mark.parametrize("extra", [1, 4])
@pytest.mark.parametrize("name", ["tokens", "tokens_space_first", "tokens_of_frames_in_the_batch"])
def test_tokens_that_are_no_places_are_left_out(name, extra):
    clip = clip_of(2, SIDE, 3, SIDE, SIDE)
    plain, network = rearranged("b c t h w"), rearranged(LAYOUTS[name], extra)
    expected = HiResCAM(plain, plain.layer, relu=False).attribute(clip, 1)
    assert_near(HiResCAM(network, "layer", relu=False).attribute(clip, 1), expected, 1e-12)


@pytest.mark.parametrize("per_call", [1, 2])
def test_frames_that_come_call_by_call(per_call):
    """One frame of all clips at a time; or two frames of each of the clips, one after another."""
    plain = rearranged("b c t h w")
    layer = nn.Identity()

    def model(clip):
        x = torch.tanh(plain.stem(clip.transpose(1, 2)))
        if per_call == 1:
            x = torch.stack([layer(one) for one in x.unbind(2)], 2)
        else:
            rows = rearrange(x, "b c t h w -> (b t) c h w")
            rows = torch.cat([layer(part) for part in rows.split(2)])
            x = rearrange(rows, "(b t) c h w -> b c t h w", b=len(clip))
        return plain.fc(torch.tanh(plain.after(x)).mean((2, 3, 4)))

    clip = clip_of(2, SIDE, 3, SIDE, SIDE)
    expected = HiResCAM(plain, plain.layer, relu=False).attribute(clip, 1)
    assert_near(HiResCAM(model, layer, relu=False).attribute(clip, 1), expected, 1e-12)


@pytest.mark.parametrize(
    "layout",
    [
        "(b h) c t w",  # rows in the batch
        "b c t w h",  # columns before rows
        "b c h w t",  # time last
    ],
)
def test_layouts_that_are_none_are_refused_or_told_apart(layout):
    network, clip = rearranged(layout), clip_of(1, SIDE, 3, SIDE, SIDE)
    with pytest.raises(OptionError, match="'layer'"):
        GradCAM(network, "layer").attribute(clip, 1)


def test_layers_in_which_no_place_is_its_own_are_refused():
    class Mixes(nn.Module):
        """Every place gets the mean of all, by weights of its own."""

        def __init__(self):
            super().__init__()
            self.weights = nn.Parameter(torch.randn(SIDE, SIDE, SIDE, SIDE))
            self.layer = nn.Identity()
            self.fc = nn.Linear(SIDE, CLASSES)

        def forward(self, clip):
            mean = clip.mean((1, 2, 3, 4))[:, None, None, None, None]
            return self.fc(self.layer(torch.sin(mean * self.weights)).mean((2, 3, 4)))

    with pytest.raises(OptionError, match="told apart by changing parts of the clip"):
        GradCAM(Mixes().double().eval(), "layer").attribute(clip_of(1, SIDE, 3, SIDE, SIDE), 1)


def test_windows_of_a_frame_are_no_map():
    layer = nn.Identity()

    def in_windows(layout):
        def model(clip):
            windows = rearrange(clip, f"b t c (i p) (j q) -> {layout}", p=2, q=2)
            return layer(windows).mean(-1).flatten(1)[: len(clip), :5]

        return model

    for layout in ("(b i j) c t p q", "(b i j) (t p q) c"):
        with pytest.raises(OptionError, match="'Identity'"):
            GradCAM(in_windows(layout), layer).attribute(clip_of(1, SIDE, 3, SIDE, SIDE), 1)


def test_time_among_channels_is_one_step():
    network, clip = rearranged("b (c t) h w"), clip_of(1, SIDE, 3, SIDE, SIDE)
    assert GradCAM(network, "layer").explain(clip, 1).maps["layer"].shape == (1, 1, SIDE, SIDE)


# What is read after the layer alone, and has more than one place; never the classifier.
LAST = {
    "late_fusion_mean": ("encoder.4",),
    "early_fusion": ("model.2",),
    "conv3d_windows": ("model.layer",),
    "gru_bidirectional": ("encoder.4",),
    "step_mean": ("encoder.4",),
    "zoo_tam2d": ("layers.1",),
    "zoo_tubelets": ("norm",),
    "layer_framewise": ("timesteps.model.cnn.1",),
    "layer_of_volume": ("model.join",),
}


@pytest.mark.parametrize("name", LAST)
def test_the_last_layer(name):
    wrapper, clip = family(name).build()[0], family(name).clip()
    assert mapped_layers("last", wrapper, clip, ()).names == LAST[name]


# Of those with a class token the last layer before it is read, as a place acts through it only.
LAST_OF_TRANSFORMERS = {
    "videomae": ("model.videomae", "tokens (4 x 2 x 2: time, height, width; 0 more), channels"),
    "timesformer": (
        "model.timesformer.encoder.layer.0",
        "tokens (2 x 2 x 8: height, width, time; 1 more), channels",
    ),
    "vivit": ("model.vivit.layers.0", "tokens (4 x 2 x 2: time, height, width; 1 more), channels"),
    "videoprism": (
        "model.vision_model.layernorm1",
        "time, tokens (2 x 2: height, width; 0 more), channels",
    ),
    "mvit_v2": (
        "model.blocks.1.norm1",
        "tokens (4 x 4 x 4: time, height, width; 1 more), channels",
    ),
    "swin3d": ("model.norm", "time, height, width, channels"),
    "timm_vit": ("encoder.blocks.10", "time, tokens (4 x 4: height, width; 1 more), channels"),
    "mc3_18": ("model.layer4", "channels, time, height, width"),
    "torchvision_resnet18": ("encoder.layer4", "time, channels, height, width"),
    "timm_convnext_atto": ("encoder.norm_pre", "time, channels, height, width"),
}


@pytest.mark.simulation
@pytest.mark.parametrize("name", LAST_OF_TRANSFORMERS)
def test_the_last_layer_of_large_families(name):
    wrapper, clip = family(name).build()[0], family(name).clip()
    (source,) = mapped_layers("last", wrapper, clip, ()).sources
    assert (source.name, source.layout.told()) == LAST_OF_TRANSFORMERS[name]


class ReadsAToken(nn.Module):
    """Places reach the logits by way of a class token, in the first of two blocks only."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv3d(3, 8, (1, 4, 4), (1, 4, 4))
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)]
        self.blocks = nn.ModuleList(layers)
        self.fc = nn.Linear(8, CLASSES)

    def forward(self, clip):
        places = rearrange(self.embed(clip.transpose(1, 2)), "b c t h w -> b (t h w) c")
        tokens = torch.cat([self.token.expand(len(clip), -1, -1), places], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.fc(tokens[:, 0])


def test_a_layer_of_which_only_the_class_token_is_read_is_refused():
    torch.manual_seed(1)
    network = ReadsAToken().double().eval()
    clip = clip_of(2, 3, 3, 12, 12)
    with pytest.raises(OptionError, match=r"'blocks.1', with a gradient of 0 at every place"):
        GradCAM(network, "blocks.1").attribute(clip, 1)
    found = GradCAM(network, relu=False).explain(clip, 1)
    assert found.layers == ("blocks.0",)
    tokens = network.blocks[0](
        torch.cat([network.token.expand(2, -1, -1), network.embed(clip.transpose(1, 2))
        .flatten(2).transpose(1, 2)], 1)
    ).detach().requires_grad_()  # fmt: skip
    logits = network.fc(network.blocks[1](tokens)[:, 0])
    (slope,) = torch.autograd.grad(logits[:, 1].sum(), tokens)
    weighted = (slope[:, 1:].mean(1, keepdim=True) * tokens.detach()[:, 1:]).sum(2)
    assert_near(found.maps["blocks.0"], weighted.reshape(2, 3, 3, 3), 1e-12)


def test_what_is_known_of_a_model_goes_with_it():
    network = rearranged("b c t h w")
    GradCAM(network, "layer").attribute(clip_of(1, SIDE, 3, SIDE, SIDE), 1)
    held = weakref.ref(network)
    del network
    gc.collect()
    assert held() is None


def test_a_model_without_a_map_has_no_last_layer():
    network = nn.Sequential(nn.Flatten(), nn.Linear(SIDE**3 * 3, 8), nn.Tanh(), nn.Linear(8, 5))
    with pytest.raises(OptionError, match="a model with a layer that gives a map .* got none"):
        GradCAM(network.double().eval()).attribute(clip_of(1, SIDE, 3, SIDE, SIDE), 1)


class Strided(nn.Module):
    """Convolutions of stride 2 in time, each with `ceil` of half the steps."""

    def __init__(self, count):
        super().__init__()
        strided = [nn.Conv3d(3, 3, 3, (2, 1, 1), padding=1) for _ in range(count)]
        self.body = nn.Sequential(*strided)

    def forward(self, video):
        return self.body(video).mean((3, 4)).amax(2)


@pytest.mark.parametrize(("frames", "count"), [(13, 3), (13, 2), (16, 3), (7, 1), (9, 3), (5, 0)])
def test_the_stride_is_measured(frames, count):
    network = vivid(Strided(count), torch.randn(2, 3, frames, 8, 8))
    (source,) = mapped_layers("body", Conv3D(network), torch.randn(1, frames, 3, 8, 8), ()).sources
    steps = -(-frames // 2**count)
    assert source.step_of_frame == tuple(min(f // 2**count, steps - 1) for f in range(frames))


@pytest.mark.parametrize("frames", range(1, 40))
def test_every_frame_has_a_step_and_every_step_a_frame(frames):
    for steps in range(1, frames + 1):
        for longer in (None, 2 * steps, 2 * steps - 1, steps + frames):
            found = steps_of_frames(frames, steps, longer)
            assert sorted(set(found)) == list(range(steps))
            assert list(found) == sorted(found)


def test_hooks_see_their_own_thread_and_are_gone_after_a_failure():
    layer, seen = nn.Identity(), []

    def fails():
        with hooked([layer], lambda place, output: seen.append(output)):
            other = threading.Thread(target=layer, args=(1,))
            other.start()
            other.join()
            layer(2)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fails()
    assert seen == [2]
    assert not layer._forward_hooks


def test_a_run_is_differentiated_from_its_layer_on():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    tapped = TappedRun([Tap("first", first)], differentiate=True)
    with tapped.running():
        output = second(torch.tanh(first(torch.ones(1, 3))))
    ((value,),) = tapped.calls[0]
    (((slope,),),) = tapped.gradients(output)
    expected = (second.weight.sum(0) * (1 - torch.tanh(value) ** 2)).detach()
    assert_near(slope, expected, 1e-6)
    assert first.weight.grad is None
    assert torch.is_grad_enabled()


def test_the_clips_that_probe_differ_where_they_should():
    clip = clip_of(1, 5, 3, 4, 7)
    probes = probing_clips(clip)
    changed = (probes[1:] != probes[:1]).any(2)
    for place, (time, row, column) in enumerate([(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]):
        times, rows, columns = (
            slice(size // 2, None) if end else slice(None, (size + 1) // 2)
            for size, end in ((5, time), (4, row), (7, column))
        )
        expected = torch.zeros(5, 4, 7, dtype=torch.bool)
        expected[times, rows, columns] = True
        assert torch.equal(changed[place], expected)


def test_what_does_not_react_is_refused():
    clip = clip_of(1, 4, 3, 8, 8)
    with pytest.raises(OptionError, match="agreement 0.00"):
        measured_layout("stem", torch.ones(5, 4, 4, 8, 8), clip)
    with pytest.raises(OptionError, match="finite values from the layer 'stem'"):
        measured_layout("stem", torch.full((5, 4, 4, 8, 8), float("nan")), clip)


def test_layouts_are_no_larger_than_the_clip():
    for layout in layouts_of((5, 16, 8, 6), 5, 4, (16, 12)):
        sizes = dict(zip(layout.order, layout.grid, strict=True))
        assert sizes.get("t", 1) <= 4
    assert not layouts_of((5, 3), 5, 4, (16, 16))
    assert not layouts_of((4, 3, 4, 4), 5, 4, (16, 16))
