"""What methods take for granted of a model: it repeats, keeps examples apart, and frames too."""

import gc
import sys
import threading
import types
import weakref
from functools import partial

import pytest
import torch
import torchvision
from captum.attr import PerturbationAttribution, Saliency
from torch import nn

from temporal_attr import (
    LRP,
    ClipError,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    FrameRecurrent,
    LateFusion,
    ModelError,
    Normalization,
    OptionError,
    ShuffleProbe,
    TemporalGradient,
    UnsupportedModelError,
    check_wrapper,
    wrap,
)
from temporal_attr.models import Trial, model_logits, require_as_assumed, require_evaluation_mode
from temporal_attr.models.trials._trial_memory import _known
from temporal_attr.relevance import Composite
from tests.helpers.families import CLASSES, family, head, image_encoder

UNIT = Normalization((0.0,) * 3, (1.0,) * 3)
PLAIN = Composite(input=None)
METHODS = {
    "gradient": TemporalGradient,
    "shuffle": lambda model: ShuffleProbe(model, shuffles=3, normalization=UNIT),
    "tsr": FrameMaskingTSR,
    "tsr_of_saliency": lambda model: FrameMaskingTSR(Saliency(model)),
    "lrp": lambda model: LRP(model, PLAIN),
    "atr": lambda model: ContrastiveLRPTemporal(model, PLAIN),
}
on_methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
of_functions = {name: build for name, build in METHODS.items() if name != "atr"}
on_methods_of_functions = pytest.mark.parametrize("method", of_functions.values(), ids=of_functions)


def clip(batch=2, frames=4, size=8):
    random = torch.Generator().manual_seed(1)
    return torch.rand(batch, frames, 3, size, size, generator=random)


class Shift(nn.Module):
    """Temporal shift before a convolution, as it is usually put in: frames are known by place."""

    def __init__(self, layer, segment=None):
        super().__init__()
        self.layer, self.segment = layer, segment

    def forward(self, x):
        y = x.unflatten(0, (-1, self.segment or len(x)))
        fold = x.shape[1] // 4
        after = torch.cat([y[:, 1:, :fold], torch.zeros_like(y[:, :1, :fold])], 1)
        before = torch.cat([torch.zeros_like(y[:, :1, :fold]), y[:, :-1, fold : 2 * fold]], 1)
        shifted = torch.cat([after, before, y[:, :, 2 * fold :]], 2)
        return self.layer(shifted.flatten(0, 1))


class BatchStatistics(nn.Module):
    """Mixes what goes through together, with no layer that says so."""

    def forward(self, x):
        return x - x.mean(0)


def shifted_encoder(segment=None):
    encoder = image_encoder()
    encoder[3] = Shift(encoder[3], segment).eval()
    return encoder


@on_methods
@pytest.mark.parametrize("segment", [None, 4], ids=["any length", "of the clip"])
def test_temporal_shift_in_an_encoder_is_noticed(method, segment):
    model = LateFusion(shifted_encoder(segment), head()).eval()
    with pytest.raises(ModelError, match=r"encode mixes frames .*EarlyFusion|VideoModel"):
        method(model).attribute(clip(size=16), target=1)


@on_methods
def test_statistics_of_a_batch_of_frames_are_noticed(method):
    model = LateFusion(nn.Sequential(BatchStatistics(), nn.Flatten(), nn.Linear(192, 4)).eval())
    with pytest.raises(ModelError, match="features of a frame alone that are .* off"):
        method(model).attribute(clip(), target=1)


def test_an_encoder_that_knows_the_place_of_a_frame_is_noticed():
    class Place(nn.Module):
        def forward(self, frames):
            return frames.flatten(1) * (1 + torch.arange(len(frames)) // 2)[:, None]

    with pytest.raises(ModelError, match="in another order"):
        TemporalGradient(LateFusion(Place().eval(), nn.Linear(192, 4).eval())).attribute(clip(), 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_is_not_taken_for_a_mixture(dtype):
    for name in ("late_fusion_mean", "gru_mean", "step_mean", "zoo_input_cell_attention"):
        wrapper, _ = family(name).build()
        require_as_assumed(Trial(wrapper.to(dtype), (family(name).clip(dtype),)))


def test_frames_that_are_alike_show_nothing_so_the_next_clip_is_looked_at():
    model = LateFusion(nn.Sequential(Difference(), nn.Flatten(), nn.Linear(192, 4)).eval())
    still = clip()[:1, :1].expand(-1, 4, -1, -1, -1)
    TemporalGradient(model).attribute(still, 1)
    with pytest.raises(ModelError, match="encode mixes frames"):
        TemporalGradient(model).attribute(clip(), 1)


class Difference(nn.Module):
    """Adds how far a frame is from the mean of those it is with."""

    def forward(self, x):
        return x + (x - x.mean(0, keepdim=True)) if len(x) > 1 else x


def counted(model):
    """Frames that went through a model's encoder."""
    seen = []
    model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return seen


@pytest.mark.parametrize(("frames", "taken"), [(9, 19), (18, 33)])
def test_it_takes_the_frames_of_a_clip_twice_and_one_more_once_a_model(frames, taken):
    model = LateFusion(image_encoder(), head())
    seen = counted(model)
    require_as_assumed(Trial(model, (clip(size=16, frames=frames),)))
    assert sum(seen) == taken
    require_as_assumed(Trial(model, (clip(size=16, frames=7),)))
    assert sum(seen) == taken


class ShiftsFar(nn.Module):
    """Temporal shift by three frames, of groups of eight if they are whole."""

    def __init__(self, segment=None):
        super().__init__()
        self.segment = segment

    def forward(self, x):
        if self.segment and len(x) % self.segment:
            return x
        groups = x.unflatten(0, (-1, self.segment or len(x)))
        earlier = groups[:, :-3, :1]
        shifted = torch.cat([torch.zeros_like(groups[:, :3, :1]), earlier], 1)[:, : groups.shape[1]]
        return torch.cat([shifted, groups[:, :, 1:]], 2).flatten(0, 1)


@pytest.mark.parametrize("segment", [None, 8])
@pytest.mark.parametrize("batch", [1, 2])
def test_mixing_that_three_frames_cannot_show_is_noticed(segment, batch):
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    encoder.insert(0, ShiftsFar(segment).eval())
    with pytest.raises(ModelError, match="encode mixes frames"):
        TemporalGradient(LateFusion(encoder)).attribute(clip(batch, 8), 1)


class KeepsItsState(nn.Module):
    """An LSTM that goes on from where it ended while batches are of one size."""

    def __init__(self):
        super().__init__()
        self.lstm, self.state = nn.LSTM(192, 4, batch_first=True), None

    def forward(self, clips):
        if self.state is not None and self.state[0].shape[1] != len(clips):
            self.state = None
        out, state = self.lstm(clips.flatten(2), self.state)
        self.state = tuple(one.detach() for one in state)
        return out[:, -1]


@pytest.mark.parametrize("batch", [1, 2])
def test_a_state_that_is_kept_while_batches_are_of_one_size_is_noticed(batch):
    with pytest.raises(ModelError, match="keeps a state between calls"):
        require_as_assumed(Trial(KeepsItsState().eval(), (clip(batch),)))


@pytest.mark.parametrize("how", ["hook", "pre-hook", "forward"])
def test_hooks_and_forwards_that_come_later_are_looked_at(how):
    network = nn.Sequential(nn.Flatten(2), nn.Linear(192, 4)).eval()
    trial = Trial(lambda clips: network(clips).mean(1), (clip(2),))
    require_as_assumed(trial)
    if how == "hook":
        network[1].register_forward_hook(lambda part, inputs, output: output - output.mean(0))
    elif how == "pre-hook":
        network[1].register_forward_pre_hook(lambda part, inputs: (inputs[0] - inputs[0].mean(0),))
    else:
        network[1].forward = lambda x: x - x.mean(0)
    with pytest.raises(ModelError, match="each clip of a batch by itself"):
        require_as_assumed(trial)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.int8, torch.complex64])
def test_outputs_that_are_no_floats_are_named(dtype):
    with pytest.raises(ModelError, match=f"floating-point logits.*got {dtype}"):
        model_logits(lambda clips: clips.mean((2, 3, 4)).to(dtype), (clip(),))


def test_one_output_for_each_clip_is_told_what_to_return():
    with pytest.raises(ModelError, match=r"logits\[:, None\]"):
        model_logits(lambda clips: clips.mean((1, 2, 3, 4)), (clip(),))


def test_a_clip_of_another_precision_than_a_hidden_model_is_told_so():
    network = nn.Sequential(nn.Flatten(), nn.Linear(768, 4)).eval()
    for model in (network.forward, hidden(video_network().eval())["closure"]):
        with pytest.raises(ModelError, match=r"clips in torch.float64, .*clip\.to\(torch.float32"):
            model_logits(model, (clip().double(),))


def test_a_part_that_is_replaced_or_written_to_is_looked_at_again():
    model = LateFusion(image_encoder(), head())
    seen = counted(model)
    trial = Trial(model, (clip(size=16),))
    require_as_assumed(trial)
    with torch.no_grad():
        model.classifier.bias.add_(1)
    require_as_assumed(trial)
    assert sum(seen) == 18
    model.encoder[3] = Shift(model.encoder[3])
    with pytest.raises(ModelError, match="encode mixes frames"):
        require_as_assumed(trial)


def test_nothing_is_left_on_the_model_and_none_is_kept_alive():
    model = LateFusion(image_encoder(), head())
    before = {key: set(vars(part)) for key, part in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    require_as_assumed(Trial(model, (clip(size=16),)))
    assert before == {key: set(vars(part)) for key, part in model.named_modules()}
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model in _known
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_threads_try_one_model_together():
    model, failed = LateFusion(image_encoder(), head()), []

    def work():
        try:
            for _ in range(5):
                require_as_assumed(Trial(model, (clip(size=16),)))
        except Exception as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_trial_under_inference_mode_leaves_nothing_that_gradients_cannot_use():
    class KeepsTable(nn.Module):
        """Makes a constant when it first runs."""

        table = None

        def forward(self, frames):
            if self.table is None:
                self.table = torch.linspace(0, 1, 192)
            return (frames.flatten(1) * self.table).tanh() * self.table

    model = LateFusion(KeepsTable().eval(), nn.Linear(192, 4).eval())
    with torch.inference_mode():
        assert TemporalGradient(model).attribute(clip(), 1).any()


class Noise(nn.Module):
    """Dropout that nothing switches off."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, x):
        return self.linear(nn.functional.dropout(x.flatten(-3), 0.5)).mean(1)


class OfClips(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(192, 4), 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x.flatten(2)).mean(1) * self.calls


@on_methods_of_functions
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("build", [OfClips, Noise], ids=["memory", "noise"])
def test_a_model_that_does_not_repeat_itself_is_named(method, build, batch):
    with pytest.raises(ModelError, match="the same output.* keeps a state between calls, or draws"):
        method(build().eval()).attribute(clip(batch), target=1)


@on_methods
@pytest.mark.parametrize("batch", [1, 2])
def test_a_head_that_does_not_repeat_itself_is_named(method, batch):
    model = FrameRecurrent(nn.Flatten().eval(), lambda x, memory: (x, None), Counts().eval())
    with pytest.raises(ModelError, match="keeps a state between calls"):
        method(model).attribute(clip(batch), target=1)


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.calls = nn.Linear(192, 4), 0

    def forward(self, x):
        self.calls += 1
        return self.linear(x) * self.calls


def test_random_numbers_are_held_by_a_seed_in_tsr():
    found = FrameMaskingTSR(TemporalGradient(Noise().eval()), seed=3).attribute(clip(1), 1)
    assert found.isfinite().all()


@on_methods_of_functions
def test_a_function_that_mixes_examples_is_named(method):
    linear = nn.Linear(192, 4).eval()

    def mixes(clips):
        logits = linear(clips.flatten(2)).mean(1)
        return logits + logits.mean(0)

    with pytest.raises(ModelError, match="each clip of a batch by itself, got logits that are"):
        method(mixes).attribute(clip(), target=1)
    # Of one clip, only shuffled or masked copies go through together.
    if isinstance(method(mixes), PerturbationAttribution):
        with pytest.raises(ModelError, match="each clip of a batch by itself, got logits that are"):
            method(mixes).attribute(clip(1), target=1)
    else:
        assert method(mixes).attribute(clip(1), target=1).isfinite().all()


# Evaluation mode


class Holder:
    def __init__(self, network):
        self.network = network

    def predict(self, clips):
        return self.network(clips.transpose(1, 2))

    def __call__(self, clips):
        return self.predict(clips)


def video_network():
    return nn.Sequential(
        nn.Conv3d(3, 4, 3, padding=1),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.Dropout(0.0),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(4, 5),
    )


def hidden(network):
    def inner(clips):
        return network(clips.transpose(1, 2))

    return {
        "closure": inner,
        "function of a function": lambda clips: 1 * inner(clips),
        "bound method": Holder(network).predict,
        "object": Holder(network),
        "partial": partial(lambda net, clips: net(clips.transpose(1, 2)), network),
        "default": lambda clips, net=network: net(clips.transpose(1, 2)),
        "decorated": torch.enable_grad()(inner),
        "list": lambda clips, nets=[network]: nets[0](clips.transpose(1, 2)),
    }


@pytest.mark.parametrize("how", list(hidden(None)))
@on_methods_of_functions
def test_training_mode_is_found_behind_any_callable(method, how):
    network = video_network()
    model = hidden(network)[how]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=r"evaluation mode, got 1 \(BatchNorm3d\) in training"):
        method(model).attribute(clip(), target=1)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    network.eval()
    assert method(model).attribute(clip(), target=1).isfinite().all()


class OfClass:
    network = None

    def __call__(self, clips):
        return type(self).network(clips.transpose(1, 2))


class Slotted:
    __slots__ = ("network",)

    def __call__(self, clips):
        return self.network(clips.transpose(1, 2))


def well_hidden(network, monkeypatch):
    module = types.ModuleType("usernets")
    module.model = network
    monkeypatch.setitem(sys.modules, "usernets", module)
    monkeypatch.setattr(OfClass, "network", network)
    slotted = Slotted()
    slotted.network = network

    def imports(clips):
        import usernets

        return usernets.model(clips.transpose(1, 2))

    return {
        "module": lambda clips: module.model(clips.transpose(1, 2)),
        "import": imports,
        "class": OfClass(),
        "slots": slotted,
        "deep": lambda clips, nets=[[[[[[network]]]]]]: nets[0][0][0][0][0][0](clips),
    }


@pytest.mark.parametrize("how", ["module", "import", "class", "slots", "deep"])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("norm", [nn.BatchNorm3d, partial(nn.InstanceNorm3d, affine=True)])
def test_statistics_of_a_layer_that_is_hidden_well_do_not_move(how, batch, norm, monkeypatch):
    network = video_network()
    network[1] = norm(4, track_running_stats=True)
    if how == "deep":
        network.insert(0, Swapped())
    model = well_hidden(network, monkeypatch)[how]
    state = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(ModelError, match=r"evaluation mode, got \w+_norm in training mode"):
        TemporalGradient(model).attribute(clip(batch), target=1)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    network.eval()
    assert TemporalGradient(model).attribute(clip(batch), target=1).isfinite().all()


class Swapped(nn.Module):
    def forward(self, clips):
        return clips.transpose(1, 2)


def test_a_function_in_a_wrapper_hides_no_training_mode():
    network = nn.Sequential(nn.Linear(192, 4), nn.Dropout(0.5))
    model = FrameRecurrent(None, lambda x, memory: (network(x.flatten(1)), None), lambda x: x)
    with pytest.raises(ModelError, match=r"got 1 \(Dropout\) in training mode"):
        TemporalGradient(model).attribute(clip(), 1)


class ReadsItsFlag(nn.Module):
    def forward(self, x):
        return 2 * x if self.training else x


class HidesItsFlag(nn.Module):
    def forward(self, x):
        return 2 * x if getattr(self, "training") else x  # noqa: B009


class SetsItOnly(nn.Module):
    def train(self, mode=True):
        return super().train(mode)

    def forward(self, x):
        return x


@pytest.mark.parametrize(
    "part",
    [
        nn.BatchNorm2d(2),
        nn.SyncBatchNorm(2),
        nn.InstanceNorm2d(2, track_running_stats=True),
        nn.Dropout(0.1),
        nn.AlphaDropout(0.1),
        nn.LSTM(2, 2, 2, dropout=0.1),
        nn.MultiheadAttention(2, 1, dropout=0.1),
        nn.TransformerEncoderLayer(2, 1, dropout=0.1),
        nn.RReLU(),
        torchvision.ops.StochasticDepth(0.1, "row"),
        ReadsItsFlag(),
        HidesItsFlag(),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_that_behave_otherwise_in_training_mode(part):
    with pytest.raises(ModelError, match="in training mode"):
        require_evaluation_mode(nn.Sequential(part))
    require_evaluation_mode(nn.Sequential(part).eval())


@pytest.mark.parametrize(
    "part",
    [
        nn.Conv2d(2, 2, 1),
        nn.LayerNorm(2),
        nn.GroupNorm(1, 2),
        nn.InstanceNorm2d(2),
        nn.Dropout(0.0),
        nn.LSTM(2, 2, 2),
        nn.MultiheadAttention(2, 1),
        nn.TransformerEncoderLayer(2, 1, dropout=0.0),
        nn.Softmax(1),
        torchvision.ops.StochasticDepth(0.0, "row"),
        SetsItOnly(),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_that_are_the_same_in_both_modes(part):
    require_evaluation_mode(nn.Sequential(part))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("bare", [True, False], ids=["function", "wrapper"])
def test_weights_made_in_inference_mode_are_named_where_gradients_pass_them(name, bare):
    if bare and name == "atr":
        return
    with torch.inference_mode():
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.Tanh()).eval()
        last = nn.Linear(4, 4).eval()
    model = LateFusion(encoder, last)
    if bare:
        whole = nn.Sequential(nn.Flatten(2), nn.Linear(192, 4), nn.Tanh()).eval()
        whole[1] = encoder[1]
        model = nn.Sequential(whole, MeanOfTime()).eval()
    if name in ("lrp", "atr"):
        assert METHODS[name](model).attribute(clip(), target=1).isfinite().all()
        return
    with pytest.raises(ModelError, match="weight made under torch.inference_mode"):
        METHODS[name](model).attribute(clip(), target=1)


class MeanOfTime(nn.Module):
    def forward(self, x):
        return x.mean(1)


# Networks that are not wrapped


NETWORKS = {
    "r3d_18": (torchvision.models.video.r3d_18, r"takes \(batch, channel, time.*Pass wrap\(model"),
    "resnet18": (torchvision.models.resnet18, r"takes \(frames, channel,.*Pass wrap\(model"),
    "swin3d": (
        torchvision.models.video.swin3d_t,
        r"takes \(batch, channel, time.*Pass wrap\(model",
    ),
}


@pytest.fixture(scope="module")
def networks():
    return {name: build().eval() for name, (build, _) in NETWORKS.items()}


@pytest.mark.usefixtures("as_user")
@pytest.mark.parametrize("name", NETWORKS)
@on_methods
def test_a_bare_network_is_told_to_be_wrapped(method, name, networks):
    for model in (networks[name], networks[name].forward):
        with pytest.raises(ModelError, match=NETWORKS[name][1]):
            method(model)


def test_a_subclass_with_a_forward_of_its_own_is_no_bare_network():
    class OfClipsToo(torchvision.models.ResNet):
        def forward(self, clips):
            return super().forward(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(1)

    model = OfClipsToo(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=4).eval()
    assert TemporalGradient(model).attribute(clip(1, size=32), 1).any()


@on_methods_of_functions
def test_a_layer_that_refuses_a_clip_is_explained(method):
    with pytest.raises(ModelError, match=r"RuntimeError inside it .*got 4 channels.*wrap it") as it:
        method(video_network().eval()).attribute(clip(), target=1)
    assert isinstance(it.value.__cause__, RuntimeError)


@on_methods_of_functions
def test_three_frames_are_not_taken_for_colours(method):
    with pytest.raises(ModelError, match="of 3 frames it would take time for colour"):
        method(video_network().eval()).attribute(clip(frames=3), target=1)
    found = method(hidden(video_network().eval())["closure"]).attribute(clip(frames=3), target=1)
    assert found.isfinite().all()


def test_the_advice_on_a_layout_names_the_wrapper_too():
    swapped = clip(frames=5).transpose(1, 2)
    with pytest.raises(ClipError, match=r"transpose\(1, 2\)\. If it is the model .*Conv3D\(model"):
        TemporalGradient(video_network().eval()).attribute(swapped, 1)


def test_errors_of_the_user_s_own_code_are_raised_as_they_are():
    def broken(clips):
        return clips.reshape(7)

    with pytest.raises(RuntimeError, match="shape '.7.' is invalid"):
        model_logits(broken, (clip(),))
    with pytest.raises(torch.OutOfMemoryError):
        model_logits(nn.Sequential(NoRoom()), (clip(),))


class NoRoom(nn.Module):
    def forward(self, x):
        raise torch.OutOfMemoryError("CUDA out of memory.")


# wrap


def with_shift(segment):
    model = torchvision.models.resnet18(num_classes=CLASSES).eval()
    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        for block in layer:
            block.conv1 = Shift(block.conv1, segment).eval()
    return model


@pytest.mark.parametrize("segment", [None, 8])
def test_wrap_does_not_take_temporal_shift_for_an_image_network(segment):
    with pytest.raises(UnsupportedModelError, match="ResNet: .* encode mixes frames"):
        wrap(with_shift(segment))


def test_what_wrap_cannot_try_is_told_at_first_use():
    model = wrap(with_shift(7))  # takes neither 3 nor 16 frames
    with pytest.raises(ModelError, match="takes 7 frames, but not any number: encode mixes"):
        TemporalGradient(model).attribute(clip(1, 7, 32), 1)


@pytest.mark.usefixtures("as_user")
def test_wrap_tries_the_parts_of_a_video_network():
    class Scaled(torchvision.models.video.VideoResNet):
        def forward(self, x):
            return 2 * super().forward(x)

    built = torchvision.models.video.mc3_18(num_classes=CLASSES).eval()
    built.__class__ = Scaled
    with pytest.raises(ModelError, match="output differs from the model's"):
        wrap(built)
    assert wrap(built, verify=False).model is built
    with pytest.raises(OptionError, match="verify to be True or False"):
        wrap(built, verify="yes")


def test_wrap_draws_no_random_numbers_of_the_caller():
    model = torchvision.models.resnet18().eval()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    wrap(model)
    assert torch.equal(torch.rand(2), expected)


# Wrapper and network


def test_a_readout_that_is_another_than_the_network_s_is_told():
    wrapper, network = family("lstm_two_layers").build()
    shown = family("lstm_two_layers").clip()
    # As in the tests of families: the order of sums, over logits of a few.
    assert check_wrapper(wrapper, network, shown) < 1e-5
    other = FrameRecurrent(wrapper.encoder, wrapper.recurrent, wrapper.classifier)
    with pytest.raises(ModelError, match="logits that are up to .* apart.*readout over time"):
        check_wrapper(other, network, shown)
    narrow = FrameRecurrent(wrapper.encoder, wrapper.recurrent, nn.Linear(7, 2).eval(), "mean")
    with pytest.raises(ModelError, match=r"\(2, 5\), got \(2, 2\)"):
        check_wrapper(narrow, network, shown)


@pytest.mark.usefixtures("as_user")
def test_clips_that_cannot_tell_readouts_apart_are_refused():
    wrapper, network = family("lstm_last").build()
    still = family("lstm_last").clip()[:, :1]
    for shown, text in ((still, "one frame"), (still.expand(-1, 4, -1, -1, -1), "4 frames that")):
        with pytest.raises(ClipError, match=text):
            check_wrapper(wrapper, network, shown)
    with pytest.raises(ModelError, match="a VideoModel, got Sequential"):
        check_wrapper(nn.Sequential(), network, still)
