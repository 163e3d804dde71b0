"""Networks that do not fit a clip, or change with each pass: what is said, and what is left."""

import pytest
import torch
from captum.attr import Saliency
from torch import nn

from temporal_attr import (
    LRP,
    ClipError,
    FrameMaskingTSR,
    FrameRecurrent,
    LateFusion,
    ModelError,
    Normalization,
    ShuffleProbe,
    TemporalGradient,
)
from temporal_attr.models import model_logits
from temporal_attr.models._outputs import logits_of
from temporal_attr.relevance import Composite

UNIT = Normalization((0.0,) * 3, (1.0,) * 3)
METHODS = {
    "gradient": TemporalGradient,
    "shuffle": lambda model: ShuffleProbe(model, shuffles=2, normalization=UNIT),
    "tsr": FrameMaskingTSR,
    "lrp": lambda model: LRP(model, Composite(input=None)),
}
on_methods = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
on_gradients = pytest.mark.parametrize("name", ["gradient", "shuffle", "tsr"])
pytestmark = pytest.mark.usefixtures("as_user")


def clip(batch=1, frames=4, size=8):
    random = torch.Generator().manual_seed(1)
    return torch.rand(batch, frames, 3, size, size, generator=random)


class Net(nn.Module):
    """A small network of canonical clips; a subclass does something else first."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(2), nn.Linear(192, 6), nn.Tanh(), nn.Linear(6, 4))
        self.register_buffer("count", torch.zeros(()))
        self.calls = 0
        self.eval()

    def forward(self, x):
        return self.layers(x).mean(1)


def expected_gradient(x):
    leaf = x.clone().requires_grad_()
    Net()(leaf)[:, 1].sum().backward()
    return leaf.grad


# Sizes


class OfSixFrames(Net):
    def forward(self, x):
        return self.layers(x).transpose(1, 2) @ torch.ones(6)


class OfPositions(Net):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(16, 192))

    def forward(self, x):
        return self.layers((x.flatten(2) + self.positions).unflatten(2, (3, 8, 8))).mean(1)


class Asserts(Net):
    def forward(self, x):
        assert x.shape[1] == 10
        return super().forward(x)


class Declares(Net):
    num_frames = 7

    def forward(self, x):
        if x.shape[1] != 7:
            raise ValueError("no")
        return super().forward(x)


@pytest.mark.parametrize(
    ("kind", "frames"), [(OfSixFrames, 6), (OfPositions, 16), (Asserts, 10), (Declares, 7)]
)
@on_methods
def test_the_frames_that_a_network_takes_are_named(method, kind, frames):
    text = f"{kind.__name__} takes, such as one of {frames} frames, got 4 frames of 8 x 8 pixels"
    with pytest.raises(ClipError, match=text) as caught:
        method(kind()).attribute(clip(), target=1)
    assert caught.value.__cause__ is not None
    assert method(kind()).attribute(clip(frames=frames), target=1).any()


@on_methods
def test_the_pixels_that_a_network_takes_are_named(method):
    text = (
        "takes, such as one of 4 frames of 8 x 8 pixels, got 4 frames of 16 x 16 pixels, at .*Run"
    )
    with pytest.raises(ClipError, match=text):
        method(Net()).attribute(clip(size=16), target=1)


def test_the_size_that_a_wrapper_takes_is_named():
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    with pytest.raises(ClipError, match="LateFusion takes, such as one of 4 frames of 8 x 8 pix"):
        TemporalGradient(LateFusion(encoder)).attribute(clip(size=16), target=1)
    head = nn.Sequential(nn.Flatten(), nn.Linear(24, 4)).eval()
    together = LateFusion(encoder, head, aggregation=nn.Flatten())
    with pytest.raises(ClipError, match="LateFusion takes, such as one of 6 frames, got 4 frames"):
        TemporalGradient(together).attribute(clip(), target=1)


def test_no_size_is_made_up():
    class Broken(Net):
        def forward(self, x):
            raise RuntimeError("7 things do not fit 9 others")

    with pytest.raises(RuntimeError, match="7 things do not fit"):
        TemporalGradient(Broken()).attribute(clip(), target=1)
    # A network of another layout takes three frames for colours.
    network = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    with pytest.raises(ModelError, match=r"RuntimeError inside it .*wrap it"):
        TemporalGradient(network.eval()).attribute(clip(), target=1)
    # What a function raises is its own to say.
    six = OfSixFrames()
    with pytest.raises(RuntimeError):
        TemporalGradient(lambda x: six(1 * x)).attribute(clip(), target=1)


# Arguments


class Needs(Net):
    def forward(self, x, lengths):
        return super().forward(x) * lengths[:, None]


@on_methods
def test_arguments_that_are_missing_are_named(method):
    text = (
        r"1 clip\(s\) and 0 argument.*Needs\(x, lengths\): missing a required argument: 'lengths'"
    )
    with pytest.raises(ModelError, match=text) as caught:
        method(Needs()).attribute(clip(), target=1)
    assert "additional_forward_args" in caught.value.remedy


def test_arguments_that_are_given_are_used():
    found = TemporalGradient(Needs()).attribute(
        clip(), target=1, additional_forward_args=torch.tensor([3.0])
    )
    torch.testing.assert_close(found, 3 * expected_gradient(clip()))


def test_functions_of_other_arguments_are_named_and_own_type_errors_are_raised():
    with pytest.raises(ModelError, match=r"the function\(x, y\): missing a required argument: 'y'"):
        model_logits(lambda x, y: x, (clip(),))
    with pytest.raises(TypeError, match="unsupported operand"):
        model_logits(lambda x: x + "a", (clip(),))


# Outputs


@pytest.mark.parametrize("output", [{"a": 1, "b": 2}, {"features": torch.ones(1, 2)}])
@on_methods
def test_dicts_are_named_with_their_keys(method, output):
    class OfDict(Net):
        def forward(self, x):
            super().forward(x)
            return output

    with pytest.raises(ModelError, match=f"got dict with {', '.join(output)}") as caught:
        method(OfDict()).attribute(clip(), target=1)
    assert 'model(clip)["NAME"]' in caught.value.remedy


def test_a_wrapper_of_a_dict_of_several_names_them():
    with pytest.raises(ModelError, match="got dict with a, b"):
        logits_of({"a": torch.ones(1, 2), "b": torch.ones(1, 2)})


# State


class Counts(Net):
    def forward(self, x):
        self.count += 1
        return super().forward(x)


class Rebinds(Net):
    def forward(self, x):
        self.count = self.count + 1
        return super().forward(x)


class WritesToWeights(Net):
    def forward(self, x):
        with torch.no_grad():
            self.layers[1].weight.mul_(1)
        return super().forward(x)


@pytest.mark.parametrize("kind", [Counts, Rebinds])
@pytest.mark.parametrize("hidden", [False, True], ids=["module", "function"])
@on_methods
def test_a_network_that_counts_in_a_buffer_is_named_and_put_back(method, hidden, kind):
    network = kind()
    model = (lambda x: network(1 * x)) if hidden else network
    text = f"a forward pass does not change, got {kind.__name__}, whose count changes with each"
    with pytest.raises(ModelError, match=text):
        method(model).attribute(clip(), target=1)
    assert network.count == 0


def test_a_network_that_writes_to_its_weights_is_named():
    with pytest.raises(ModelError, match=r"whose layers\.1\.weight changes with each"):
        TemporalGradient(WritesToWeights()).attribute(clip(), target=1)


def test_what_is_written_once_or_read_by_nothing_is_no_matter():
    class Caches(Net):
        def forward(self, x):
            self.calls += 1
            if not hasattr(self, "table"):
                self.register_buffer("table", torch.ones(4))
            return super().forward(x) * self.table

    found = TemporalGradient(Caches()).attribute(clip(), target=1)
    torch.testing.assert_close(found, expected_gradient(clip()))


class WorksInPlace(Net):
    def forward(self, x):
        x.mul_(2)
        x -= 0.5
        return super().forward(x)


class DoesNot(Net):
    def forward(self, x):
        return super().forward(x * 2 - 0.5)


@on_methods
def test_a_network_that_changes_its_input_is_explained_as_one_that_does_not(method):
    shown = clip()
    found = method(WorksInPlace()).attribute(shown, target=1)
    assert torch.equal(shown, clip())
    torch.testing.assert_close(found, method(DoesNot()).attribute(clip(), target=1))
    assert found.any()


# Code and weights of other kinds


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_torchscript_has_gradients_and_no_relevance(how):
    network = Net()
    model = torch.jit.script(network) if how == "scripted" else torch.jit.trace(network, clip())
    found = TemporalGradient(model).attribute(clip(), target=1)
    torch.testing.assert_close(found, expected_gradient(clip()))
    plain = FrameMaskingTSR(Saliency(network)).attribute(clip(), target=1)
    torch.testing.assert_close(FrameMaskingTSR(Saliency(model)).attribute(clip(), target=1), plain)
    with pytest.raises(ModelError, match=r"cannot be seen into.*scripted code"):
        METHODS["lrp"](model).attribute(clip(), target=1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@on_gradients
def test_quantised_layers_are_named_where_gradients_pass_them(name):
    quantised = torch.ao.quantization.quantize_dynamic(Net(), {nn.Linear}, dtype=torch.qint8)
    text = r"layers that gradients can pass, got layers\.1 \(Linear\), which is quantised"
    with pytest.raises(ModelError, match=text):
        METHODS[name](quantised).attribute(clip(), target=1)


class OfBytes(nn.Module):
    """A linear layer whose weights are whole numbers and a scale, as libraries store them."""

    def __init__(self, layer):
        super().__init__()
        self.scale = (layer.weight.abs().max() / 127).item()
        rounded = (layer.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(rounded, requires_grad=False)
        self.bias = layer.bias

    def forward(self, x):
        return nn.functional.linear(x, self.weight.float() * self.scale, self.bias)


def test_weights_of_eight_bits_whose_layers_have_gradients_are_explained():
    network, rounded = Net(), Net()
    for place in (1, 3):
        layer = OfBytes(network.layers[place])
        network.layers[place] = layer
        with torch.no_grad():
            rounded.layers[place].weight.copy_(layer.weight * layer.scale)
    found = TemporalGradient(network.eval()).attribute(clip(), target=1)
    torch.testing.assert_close(found, TemporalGradient(rounded).attribute(clip(), target=1))
    assert network.layers[1].weight.dtype == torch.int8


@on_methods
def test_another_precision_or_device_is_named(method):
    for model, what in ((Net().double(), "torch.float64 on cpu"), (Net().to("meta"), "on meta")):
        with pytest.raises(ClipError, match=f"{what}, as the model's weights are, got torch.flo"):
            method(model).attribute(clip(), target=1)


@on_methods
def test_outputs_that_are_no_numbers_of_a_class(method):
    class Whole(Net):
        def forward(self, x):
            return (super().forward(x) * 10).int()

    class Complex(Net):
        def forward(self, x):
            return super().forward(x).to(torch.complex64)

    for kind in (Whole, Complex):
        with pytest.raises(ModelError, match="floating-point logits .*got torch"):
            method(kind()).attribute(clip(), target=1)


@on_methods
def test_no_grad_inside_a_network_is_named(method):
    class NoGrad(Net):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    with pytest.raises(ModelError, match=r"output that depends on the clip.*no_grad"):
        method(NoGrad()).attribute(clip(), target=1)


def test_a_recurrent_wrapper_that_counts_in_its_encoder_is_named():
    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros((), dtype=torch.long))

        def forward(self, frames):
            self.seen += len(frames)
            return frames.flatten(1)

    lstm = nn.LSTM(192, 4, batch_first=True).eval()
    model = FrameRecurrent(Encoder().eval(), lstm, nn.Linear(4, 4).eval())
    with pytest.raises(ModelError, match=r"whose encoder\.seen changes with each"):
        TemporalGradient(model).attribute(clip(), target=1)
    assert model.encoder.seen == 0
