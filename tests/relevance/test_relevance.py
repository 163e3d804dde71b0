"""The relevance engine: rules against their definition, conservation, and what it refuses."""

import copy
import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from temporal_attr import ClipError, ModelError
from temporal_attr.relevance import (
    Box,
    Composite,
    Epsilon,
    Flat,
    Gamma,
    Handled,
    WSquare,
    ZPlus,
    trace,
)
from tests.helpers.families import LARGE, SMALL, family, vivid

# Checks of shapes in every small function would take as long as the functions again.
pytestmark = pytest.mark.usefixtures("as_user")

EPSILON = 1e-3
PLAIN = Composite(input=None)


def followed(function, x, composite=PLAIN, model=None, bounds=(-2.0, 2.0)):
    """A function's trace for an input, whose values lie between bounds."""
    low, high = (torch.full_like(x, bound) for bound in bounds)
    return trace(function, x, (low, high), composite, model)


def matrix_of(function, x):
    """The matrix (output, input) of a linear function, from its values at unit vectors."""
    zero = function(torch.zeros_like(x))
    columns = []
    for place in range(x.numel()):
        unit = torch.zeros(x.numel(), dtype=x.dtype)
        unit[place] = 1
        columns.append((function(unit.reshape(x.shape)) - zero).flatten())
    return torch.stack(columns, 1).detach().numpy()


def contributions(name, a, w):
    """What input i adds to output j by a rule, and the epsilon of its denominator."""
    if name == "epsilon":
        return a * w, EPSILON
    if name == "zplus":
        return max(a * w, 0.0), 0.0
    if name == "gamma":
        return a * (w + 0.5 * max(w, 0.0)), EPSILON
    if name == "wsquare":
        return w * w, EPSILON
    if name == "flat":
        return float(w != 0), EPSILON
    return a * w - -2.0 * max(w, 0.0) - 2.0 * min(w, 0.0), EPSILON


RULES = {
    "epsilon": Epsilon(EPSILON),
    "zplus": ZPlus(),
    "gamma": Gamma(0.5, epsilon=EPSILON),
    "wsquare": WSquare(epsilon=EPSILON),
    "flat": Flat(epsilon=EPSILON),
    "box": Box(epsilon=EPSILON),
}


def shared_by_definition(name, a, w, relevance):
    """R_i = sum_j c_ij / (sum_i' c_i'j + eps sum_i' |c_i'j|) R_j, entry by entry."""
    found = np.zeros(len(a))
    for j in range(len(w)):
        parts = [contributions(name, a[i], w[j, i]) for i in range(len(a))]
        total = sum(part for part, _ in parts)
        epsilon = parts[0][1] * (-1 if total < 0 else 1) * sum(abs(part) for part, _ in parts)
        for i, (part, _) in enumerate(parts):
            if total == 0 and epsilon == 0:
                # Nothing adds to this output: its inputs share alike.
                found[i] += (w[j, i] != 0) / (w[j] != 0).sum() * relevance[j]
            else:
                found[i] += part / (total + epsilon) * relevance[j]
    return found


MAPS = {
    "linear": (nn.Linear(5, 4), (3, 5)),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=2, dilation=2, groups=2), (1, 4, 7)),
    "conv2d": (nn.Conv2d(2, 3, (3, 2), stride=2, padding="valid"), (1, 2, 6, 5)),
    "conv3d": (nn.Conv3d(2, 2, (3, 1, 3), padding="same"), (1, 2, 3, 2, 4)),
    "conv_transpose1d": (nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (1, 4, 4)),
    "conv_transpose2d": (nn.ConvTranspose2d(2, 3, (3, 2), stride=2, padding=1), (1, 2, 3, 4)),
    "conv_transpose3d": (nn.ConvTranspose3d(2, 2, (1, 2, 3), dilation=(2, 1, 1)), (1, 2, 2, 3, 2)),
}


@pytest.mark.parametrize("sign", ["positive", "mixed"])
@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("name", RULES)
def test_every_rule_is_its_definition(name, kind, sign):
    torch.manual_seed(3)
    module, shape = copy.deepcopy(MAPS[kind])
    module = module.double()
    nn.init.normal_(module.bias)
    x = torch.randn(shape, dtype=torch.float64).clamp(-2, 2)
    x = x.abs() if sign == "positive" else x
    rule = RULES[name]
    composite = Composite(input=rule) if name == "box" else Composite(rule, rule, input=None)
    run = followed(module, x, composite)
    torch.testing.assert_close(run.output, module(x), rtol=0, atol=0)
    relevance = torch.randn_like(run.output)
    found = run.relevance(relevance)
    weight = matrix_of(module, x)
    expected = shared_by_definition(name, x.flatten().numpy(), weight, relevance.flatten().numpy())
    # Sums in another order: a few roundings of the largest share.
    np.testing.assert_allclose(
        found.flatten().numpy(), expected, rtol=1e-9, atol=1e-11 * abs(expected).max()
    )


def test_an_output_by_bias_alone_is_shared_alike():
    linear = nn.Linear(3, 1).double()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[-1.0, -2.0, -3.0]]))
        linear.bias.fill_(9.0)
    run = followed(linear, torch.ones(1, 3, dtype=torch.float64))
    assert run.relevance(torch.tensor([[3.0]], dtype=torch.float64)).tolist() == [[1.0, 1.0, 1.0]]


# Attention has no rule yet.
KNOWN = [
    case
    for case in SMALL + LARGE
    if case.name
    not in ("late_fusion_module", "zoo_tubelets", "zoo_input_cell_attention", "timm_vit")
]
# Relative to the largest logit, since one may be zero itself, behind a ReLU. In single precision
# every layer rounds; in double the places that SlowFast leaves empty take the 1e-9 of the mean.
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14}
EMPTY = {"zoo_slowfast": 1e-9}


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("case", KNOWN, ids=lambda case: case.name)
def test_relevance_is_conserved_through_every_family(case, dtype):
    model, _ = case.build()
    model, clip = model.to(dtype), case.clip(dtype).clamp(-2, 2)
    with torch.no_grad():
        expected = model(clip)
    run = followed(model, clip, Composite(), model)
    # Recurrent layers are run step by step; all else is the very same arithmetic.
    rounding = 10 * torch.finfo(dtype).eps
    assert (run.output - expected).abs().max() < rounding * max(1, expected.abs().max())
    tolerance = TOLERANCE[dtype]
    for target in (0, 3):
        start = torch.zeros_like(expected)
        start[:, target] = expected[:, target]
        shared = run.relevance(start).double()
        error = (shared.flatten(1).sum(1) - expected[:, target]).abs() / expected.abs().max()
        assert error.max() < max(tolerance, EMPTY.get(case.name, 0))


@pytest.mark.parametrize("name", ["gru_mean", "conv3d_windows", "zoo_slowfast", "r3d_18"])
def test_relevance_is_linear_in_where_it_starts(name):
    model, _ = family(name).build()
    model, clip = model.double(), family(name).clip(torch.float64).clamp(-2, 2)
    model.frame_logits(clip)
    run = followed(model, clip, Composite(), model)
    one, other = torch.randn_like(run.output), torch.randn_like(run.output)
    both = run.relevance(2 * one - 3 * other)
    apart = 2 * run.relevance(one) - 3 * run.relevance(other)
    torch.testing.assert_close(both, apart, rtol=0, atol=1e-10 * apart.abs().max().item())


def test_a_sum_is_split_in_proportion_whatever_its_form():
    x = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    one = torch.ones(1, 2, dtype=torch.float64)

    def in_place(x):
        y = 3 * x
        y += x
        return y

    def ignored(x):
        y = 3 * x
        y.add_(x)
        return y

    for form in (lambda x: 3 * x + x, in_place, ignored, lambda x: torch.add(3 * x, x)):
        run = followed(form, x)
        assert torch.equal(run.output, 4 * x)
        torch.testing.assert_close(run.relevance(one), one, rtol=1e-8, atol=0)
    # 3x - x: three halves to the first and minus a half to the second, which are both x.
    difference = followed(lambda x: torch.cat([3 * x - x, x - 1, 1 - x], 1), x)
    start = torch.tensor([[1.0, 0, 10, 0, 0, 100]], dtype=torch.float64)
    assert difference.relevance(start).tolist()[0] == pytest.approx([11, 100])


def test_an_input_that_is_overwritten_later_still_counts_as_it_was():
    linear = nn.Linear(2, 1, bias=False).double()
    x = torch.tensor([[2.0, -1.0]], dtype=torch.float64)

    def overwriting(x):
        y = 3 * x
        read = linear(y)
        F.relu(y, inplace=True)
        return read + 0 * y.sum()

    for composite in (Composite(linear=Epsilon(), input=None), PLAIN):
        found = followed(overwriting, x, composite).relevance(linear(3 * x).detach())
        expected = followed(lambda x: linear(3 * x), x, composite).relevance(linear(3 * x).detach())
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


def boxed(x, weight, low, high):
    """Shares of one output by z^B, from the definition."""
    parts = x * weight - low * weight.clamp(min=0) - high * weight.clamp(max=0)
    return parts / parts.sum()


def test_pixels_keep_their_bounds_through_a_normalization_of_the_models_own():
    linear = nn.Linear(2, 1, bias=False).double()
    w = linear.weight.detach()
    x = torch.tensor([[0.5, 1.0]], dtype=torch.float64)
    composite = Composite(linear=Epsilon(), input=Box())
    start = torch.ones(1, 1, dtype=torch.float64)

    def doubled(x):
        x *= 2
        return linear(x)

    forms = {
        doubled: (2 * x, -4, 4),
        lambda x: linear((x - 3) / 0.5): (2 * x - 6, -10, -2),
        lambda x: linear(1 - x): (1 - x, -1, 3),
        lambda x: linear(-2 * x): (-2 * x, -4, 4),
        lambda x: linear(F.relu(x - 0.75, inplace=True)): ((x - 0.75).relu(), 0, 1.25),
        lambda x: linear(F.batch_norm(x, torch.ones(2).double(), torch.ones(2).double(), eps=0)): (
            x - 1,
            -3,
            1,
        ),
    }
    for form, (values, low, high) in forms.items():
        found = followed(form, x, composite).relevance(start)
        torch.testing.assert_close(found, boxed(values, w, low, high), rtol=1e-12, atol=1e-14)


def test_pixels_that_are_overwritten_are_pixels_no_longer():
    linear = nn.Linear(2, 1, bias=False).double()
    x = torch.tensor([[0.5, 1.0]], dtype=torch.float64)

    def replaced(x):
        x[:, :1] = 1.0
        return linear(x)

    def through_a_view(x):
        x[:, :1].sub_(1.0)
        return linear(x)

    for changed in (replaced, through_a_view):
        with pytest.raises(ModelError, match="reads pixels, .* whose first layer reads something"):
            followed(changed, x, Composite(linear=Epsilon(), input=Box()))
    run = followed(replaced, x, Composite(linear=Epsilon(), input=None))
    found = run.relevance(run.output.detach())
    assert found[0, 0] == 0
    assert found[0, 1].item() == pytest.approx(linear.weight[0, 1].item(), rel=1e-7)


def test_pixels_outside_their_bounds_or_without_any():
    x = torch.tensor([[0.5, 2.5]])
    with pytest.raises(ClipError, match=r"within the bounds of z\^B, -2 to 2, got 1 of 2 values"):
        followed(nn.Linear(2, 1), x, Composite())
    # The rounding of a white pixel is none outside.
    followed(nn.Linear(2, 1), torch.tensor([[0.5, 2 + 1e-6]]), Composite())
    followed(nn.Linear(2, 1), x, Composite(input=Box(low=-1.0, high=3.0)))
    for composite in (Composite(), Composite(input=Box(low=0.0))):
        with pytest.raises(ModelError, match=r"a model without a normalization.*Box\(low="):
            trace(nn.Linear(2, 1), x, None, composite, None)
    trace(nn.Linear(2, 1), x, None, PLAIN, None)


def test_an_output_that_is_not_finite():
    with pytest.raises(ModelError, match="finite logits, got NaN or infinite"):
        followed(lambda x: x / 0, torch.ones(1, 2))


CONVOLUTIONS = {
    "first layer": (nn.Conv3d(3, 5, (3, 7, 7), (1, 2, 2), (1, 3, 3)), (2, 3, 5, 17, 14)),
    "first layer of images": (nn.Conv2d(3, 4, 5, 2, 2), (3, 3, 11, 12)),
    "unread border": (nn.Conv2d(2, 3, 2, 3), (2, 2, 9, 10)),
    "stride over the kernel": (nn.Conv1d(2, 3, 2, 4, 1), (2, 2, 13)),
    "stride in time": (nn.Conv3d(9, 4, 3, 2, 1), (1, 9, 9, 6, 6)),
    "gaps": (
        nn.Conv3d(4, 4, (3, 1, 1), padding=(2, 0, 0), dilation=(2, 1, 1), groups=4),
        (2, 4, 9, 2, 2),
    ),
    "same": (nn.Conv3d(2, 2, (3, 3, 1), padding="same"), (1, 2, 6, 4, 4)),
    "same, even": (nn.Conv2d(2, 2, (4, 3), padding="same"), (2, 2, 6, 4)),
    "no batch": (nn.Conv3d(2, 2, 3, padding=1), (2, 6, 4, 4)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("reached", ["all", "one time", "one example", "late", "none"])
def test_the_way_back_of_a_convolution_is_autograds(name, reached):
    module, shape = copy.deepcopy(CONVOLUTIONS[name])
    module = module.double()
    # All positive, so that no denominator cancels and makes the rounding of its parts large.
    nn.init.uniform_(module.weight, 0.1, 1)
    x = (torch.rand(shape, dtype=torch.float64) + 0.1).requires_grad_()
    output = module(x)
    start = torch.randn_like(output)
    kept = torch.zeros_like(output)
    places = {
        "all": (slice(None),),
        "one time": (slice(None), slice(None), slice(1, 2)),
        "one example": (slice(0, 1),),
        "late": (slice(None), slice(None), slice(-1, None)),
        "none": (slice(0, 0),),
    }[reached]
    kept[places] = start[places]
    # With the rule epsilon = 0 relevance of a * w is a times the gradient of the shares.
    run = followed(module, x.detach(), Composite(convolution=Epsilon(0.0), input=None))
    bias = module.bias.detach().reshape(-1, *[1] * (module.weight.ndim - 2))
    (gradient,) = torch.autograd.grad(output, x, kept / (output.detach() - bias))
    expected = x.detach() * gradient
    scale = expected.abs().max().item()
    torch.testing.assert_close(run.relevance(kept), expected, rtol=0, atol=1e-13 * scale)
    together = run.relevances(torch.stack([kept, start]))
    torch.testing.assert_close(together[0], expected, rtol=0, atol=1e-13 * scale)


# What each does to relevance: passes it on as it is, or shares it by what each input adds.
PASSING = {
    "group_norm": lambda x: F.group_norm(x, 2),
    "layer_norm": lambda x: F.layer_norm(x, x.shape[1:]),
    "instance of batch_norm": nn.BatchNorm2d(4).double().eval(),
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "leaky_relu": F.leaky_relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "dropout": nn.Dropout(0.5).eval(),
    "neg": lambda x: -x,
    "scaled": lambda x: x * 3 / torch.tensor(2.0) - 1,
    "instance_norm": nn.InstanceNorm2d(4, affine=True).double(),
    "instance_norm, tracked": nn.InstanceNorm2d(4, track_running_stats=True).double().eval(),
    "prelu": nn.PReLU(4).double(),
    "clamp": lambda x: x.clamp(-1, 0.5),
    "clamp_max in place": lambda x: (3 * x).clamp_max_(0.5),
    "clip": lambda x: torch.clip(x, min=0),
    "hardtanh": nn.Hardtanh(-2, 0.5),
    "relu6": F.relu6,
    "threshold": nn.Threshold(0.1, -20.0),
    "threshold in place": lambda x: F.threshold(2 * x, 0.1, 0.0, inplace=True),
    "celu": F.celu,
    "selu": F.selu,
    "softsign": F.softsign,
    "softshrink": F.softshrink,
    "hardshrink": F.hardshrink,
    "tanhshrink": F.tanhshrink,
    "gelu written out": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
}


@pytest.mark.parametrize("name", PASSING)
def test_pointwise_operations_and_norms_pass_relevance_on(name):
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    run = followed(PASSING[name], x)
    with torch.no_grad():
        assert torch.equal(run.output, PASSING[name](x))
    start = torch.randn_like(run.output)
    torch.testing.assert_close(run.relevance(start), start, rtol=0, atol=0)


SHARING = {
    "mean": lambda x: x.mean((2, 3)),
    "sum": lambda x: x.sum(-1),
    "avg_pool": lambda x: F.avg_pool2d(x, 3, 2, 1),
    "avg_pool3d": lambda x: F.avg_pool3d(x, (2, 1, 2)),
    "adaptive": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "interpolate": lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear"),
    "matmul": lambda x: x @ torch.arange(10, dtype=x.dtype).reshape(5, 2),
    "matmul from the left": lambda x: torch.arange(6, dtype=x.dtype).reshape(2, 3) @ x,
    "einsum": lambda x: torch.einsum("bchw,wk->bkch", x, torch.ones(5, 2, dtype=x.dtype)),
    "cumsum": lambda x: x.cumsum(3),
    "fold": lambda x: F.fold(x.reshape(2, 12, 5)[..., :4], (3, 3), (2, 2)),
}


@pytest.mark.parametrize("name", SHARING)
def test_linear_maps_without_weights_share_by_what_each_adds(name):
    # Inputs and weights from zero up: in proportion to a w by every rule.
    x = torch.rand(2, 4, 3, 5, dtype=torch.float64) + 0.1
    function = SHARING[name]
    run = followed(function, x, Composite(linear=Epsilon(), input=None))
    start = torch.randn_like(run.output)
    weight = matrix_of(function, x)
    share = np.divide(
        start.flatten().numpy(),
        weight @ x.flatten().numpy(),
        where=weight.any(1),
        out=np.zeros(len(weight)),
    )
    expected = x.flatten().numpy() * (weight.T @ share)
    # The rules' epsilon of 1e-9, of sums of at least 0.1 over a few.
    np.testing.assert_allclose(run.relevance(start).flatten().numpy(), expected, rtol=0, atol=2e-7)


class First(nn.Module):
    """The first of two."""

    def forward(self, both):
        return both[0]


def next_channel(x):
    """Every channel in the place of the next."""
    moved = torch.zeros_like(x)
    moved[:, 1:] = x[:, :-1]
    return moved


MOVING = {
    "cat": lambda x: torch.cat([x[:, 2:], x[:, :2]], 1),
    "stack": lambda x: torch.stack([x[..., 0], x[..., 1]], -1),
    "pad": lambda x: F.pad(x, (1, 2), value=7.0),
    "gather": lambda x: x.gather(3, torch.tensor([[[[4, 0, 2]]]]).expand(2, 4, 3, 3)),
    "setitem": next_channel,
    "chunk": lambda x: x.chunk(2, 1)[1],
    "amax": lambda x: x.amax((2, 3)),
    "adaptive_max": lambda x: F.adaptive_max_pool2d(x, 2),
    "max_pool3d": lambda x: F.max_pool3d(x, (2, 1, 2)),
    "pixel_shuffle": lambda x: F.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: F.pixel_unshuffle(x[:, :, :2, :4], 2),
    "channel_shuffle": nn.ChannelShuffle(2),
    "swapdims": lambda x: x.swapdims(1, 2),
    "swapaxes": lambda x: torch.swapaxes(x, 1, 3),
    "moveaxis": lambda x: torch.moveaxis(x, 1, 3),
    "tile": lambda x: x.tile(1, 2, 1, 3),
    "repeat_interleave": lambda x: x.repeat_interleave(2, 1),
    "repeat_interleave by counts": lambda x: x.repeat_interleave(torch.tensor([1, 0, 2]), 2),
    "rot90": lambda x: torch.rot90(x, 1, (2, 3)),
    "fliplr": torch.fliplr,
    "Tensor.unfold": lambda x: x.unfold(3, 3, 1),
    "F.unfold": lambda x: F.unfold(x, (2, 3), padding=1),
    "min": lambda x: x.min(2).values,
    "min of all": torch.min,
    "amin": lambda x: x.amin((2, 3)),
    "topk": lambda x: x.topk(3, dim=3).values,
    "sort": lambda x: x.sort(-1, descending=True)[0],
    "msort": torch.msort,
    "kthvalue": lambda x: x.kthvalue(2, 3).values,
    "cummax": lambda x: x.cummax(3).values,
    "ordered by its own places": lambda x: x.take_along_dim(x.argsort(3), 3),
    "max_pool1d with places": lambda x: F.max_pool1d(x[0], 2, return_indices=True)[0],
    "max_pool2d with places": nn.Sequential(nn.MaxPool2d(2, return_indices=True), First()),
    "max_pool3d with places": lambda x: F.max_pool3d(x, (2, 1, 2), return_indices=True)[0],
    "adaptive_max_pool2d with places": lambda x: F.adaptive_max_pool2d(x, 2, True)[0],
    "adaptive_max_pool3d with places": lambda x: F.adaptive_max_pool3d(x, 2, True)[0],
    "max_unpool": lambda x: F.max_unpool1d(
        *F.max_pool1d(x[0, :, :, :4], 2, return_indices=True), 2
    ),
    "diagonal": lambda x: x.diagonal(0, 2, 3),
    "broadcast_to": lambda x: x[:1].broadcast_to(3, 4, 3, 5),
    "hsplit": lambda x: x.hsplit(2)[1],
    "hstack": lambda x: torch.hstack([x, x[:, :1]]),
    "masked_select": lambda x: x.masked_select(torch.tensor([True, False, True, True, False])),
    "index_fill": lambda x: x.index_fill(1, torch.tensor([0, 2]), 7.0),
    "tril": lambda x: x.tril(1),
}


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_values_moves_relevance(name):
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    run = followed(MOVING[name], x)
    start = torch.randn_like(run.output)
    # Each output is one input, or a constant: the way back is the transpose of a 0-1 matrix.
    flat = x.flatten()
    places = [(flat == value).nonzero().flatten() for value in run.output.detach().flatten()]
    expected = torch.zeros_like(flat)
    for place, relevance in zip(places, start.flatten(), strict=True):
        expected[place] += relevance
    torch.testing.assert_close(run.relevance(start).flatten(), expected, rtol=0, atol=1e-15)


def test_batch_norm_is_merged_with_the_layer_before_it():
    torch.manual_seed(5)
    layer, norm = nn.Conv2d(2, 3, 3, bias=True), nn.BatchNorm2d(3)
    network = vivid(nn.Sequential(layer, norm), torch.randn(8, 2, 5, 5)).double()
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    merged = copy.deepcopy(layer)
    with torch.no_grad():
        # A positive scale changes no share; a negative one turns what supports an output round.
        norm.weight[1] *= -1
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        merged.weight.mul_(scale[:, None, None, None])
        merged.bias.copy_((layer.bias - norm.running_mean) * scale + norm.bias)
    composite = Composite(input=None, batch_norm="merge")
    run, expected = followed(network, x, composite), followed(merged, x, composite)
    torch.testing.assert_close(run.output, expected.output, rtol=0, atol=1e-13)
    start = torch.randn_like(run.output)
    torch.testing.assert_close(
        run.relevance(start), expected.relevance(start), rtol=1e-9, atol=1e-9
    )
    apart = followed(network, x, replace(composite, batch_norm="identity")).relevance(start)
    assert (apart - run.relevance(start)).abs().max() > 1e-3
    # Behind something else it passes relevance on.
    behind = followed(lambda x: norm(torch.relu(layer(x))), x, composite)
    plain = followed(lambda x: torch.relu(layer(x)), x, composite)
    assert torch.equal(behind.relevance(start), plain.relevance(start))


def test_what_epsilon_absorbs_and_what_conserving_gives_back():
    x = torch.tensor([[3.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([[10.0]], dtype=torch.float64)
    absorbing = Composite(pooling=Epsilon(1.0), input=None)
    found = followed(lambda x: x.mean(1, keepdim=True), x, absorbing).relevance(start)
    # The mean is 1, so half of the relevance goes to epsilon.
    torch.testing.assert_close(found[0], torch.tensor([3.75, 1.25, 0, 0], dtype=torch.float64))
    keeping = Composite(pooling=Epsilon(1.0, conserve=True), input=None)
    found = followed(lambda x: x.mean(1, keepdim=True), x, keeping).relevance(start)
    expected = torch.tensor([5.0, 2.5, 1.25, 1.25], dtype=torch.float64)
    torch.testing.assert_close(found[0], expected)


def test_two_parts_of_a_sum_get_what_they_add():
    x = torch.tensor([[1.0, 4.0, -2.0]], dtype=torch.float64)
    run = followed(lambda x: x[:, :1] + x[:, 1:2] - x[:, 2:], x)
    found = run.relevance(torch.tensor([[14.0]], dtype=torch.float64))
    assert found.tolist()[0] == pytest.approx([2.0, 8.0, 4.0])


def test_a_gate_gets_nothing_and_two_signals_half_each():
    x = torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    start = torch.tensor([[8.0]], dtype=torch.float64)
    gated = followed(lambda x: torch.sigmoid(x[:, :1]) * x[:, 1:], x)
    assert gated.relevance(start).tolist() == [[0.0, 8.0]]
    turned = followed(lambda x: x[:, :1] * (1 - torch.sigmoid(x[:, 1:]).view(1, 1)), x)
    assert turned.relevance(start).tolist() == [[8.0, 0.0]]
    product = followed(lambda x: x[:, :1] * x[:, 1:], x)
    assert product.relevance(start).tolist() == [[4.0, 4.0]]


def test_the_winner_of_a_maximum_takes_all():
    x = torch.tensor([[[1.0, 5.0, 2.0, 3.0]]], dtype=torch.float64)
    start = torch.tensor([[[7.0, 9.0]]], dtype=torch.float64)
    assert followed(lambda x: F.max_pool1d(x, 2), x).relevance(start).tolist() == [[[0, 7, 0, 9]]]
    values = followed(lambda x: x.max(2).values, x)
    assert values.relevance(torch.tensor([[7.0]], dtype=torch.float64)).tolist() == [[[0, 7, 0, 0]]]


def test_a_shift_moves_relevance_and_a_fork_adds_it():
    x = torch.rand(1, 6, 2, dtype=torch.float64)
    start = torch.rand(1, 6, 2, dtype=torch.float64)
    next_channel = followed(lambda x: torch.roll(x, 2, 1), x)
    assert torch.equal(next_channel.relevance(start), torch.roll(start, -2, 1))
    forked = followed(lambda x: torch.cat([x, x.flip(1)], 1), x)
    twice = torch.cat([start, start], 1)
    torch.testing.assert_close(forked.relevance(twice), start + start.flip(1))


def test_pixels_are_known_as_pixels_through_any_layout():
    torch.manual_seed(0)
    low = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64)
    high = -low + 0.5
    clip = torch.rand(1, 4, 3, 2, 2, dtype=torch.float64)
    bounds = tuple(b[:, None, None].expand_as(clip).contiguous() for b in (low, high))
    conv = nn.Conv3d(3, 1, (4, 2, 2)).double()
    run = trace(lambda c: conv(c.transpose(1, 2)).flatten(1), clip, bounds, Composite(), conv)
    found = run.relevance(torch.ones(1, 1, dtype=torch.float64)).transpose(1, 2)
    w = conv.weight.detach()
    least, most = (b[None, :, None, None, None] for b in (low, high))
    parts = clip.transpose(1, 2) * w - least * w.clamp(min=0) - most * w.clamp(max=0)
    torch.testing.assert_close(found, parts / parts.sum(), rtol=1e-7, atol=0)


class OpaqueDouble(torch.autograd.Function):
    """A function that no mode can see into."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


class Exponential(nn.Module):
    def forward(self, x):
        return x.exp()


class Hidden(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
        self.inner[0].forward = OpaqueDouble.apply

    def forward(self, x):
        return self.inner(x)


def test_an_operation_without_a_rule_is_named_with_its_place():
    network = nn.Sequential()
    network.body = nn.Sequential(nn.Linear(3, 3), Exponential())
    with pytest.raises(ModelError, match=r"exp in module 'body.1'.*Composite\(handlers="):
        followed(network, torch.rand(2, 3), model=network)
    hidden = Hidden()
    with pytest.raises(
        ModelError, match="OpaqueDoubleBackward, before module 'inner.1'.*autograd.Function"
    ):
        followed(hidden, torch.rand(2, 3), model=hidden)
    with pytest.raises(ModelError, match="matmul other than of two operands given by place"):
        followed(lambda x: torch.matmul(x, other=x.T), torch.rand(3, 3))


def test_an_operation_gets_a_rule_by_its_name():
    def halved(call, composite):
        return Handled(call.run(), call.data, lambda relevance: (relevance / 2,))

    composite = replace(PLAIN, handlers={"softmax": halved})
    run = followed(lambda x: x.softmax(1), torch.rand(1, 3), composite)
    assert run.relevance(torch.tensor([[2.0, 4.0, 6.0]])).tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("split", "text"),
    [
        (None, "a Handled from the handler of softmax, got NoneType"),
        (lambda relevance: None, "a split into 1 parts, .* of softmax, got NoneType"),
        (lambda relevance: (relevance, relevance), "a split into 1 parts, .*, got 2"),
        (lambda relevance: (relevance[:, :1],), r"shape \(1, 3\) from .* softmax, got \(1, 1\)"),
        (lambda relevance: (1.0,), "of softmax, got float"),
    ],
)
def test_what_a_handler_gives_is_checked_by_its_name(split, text):
    def handler(call, composite):
        return None if split is None else Handled(call.run(), call.data, split)

    composite = Composite(input=None, handlers={"softmax": handler})
    with pytest.raises(ModelError, match=text):
        trace(lambda x: x.softmax(1), torch.rand(1, 3), None, composite).relevance(torch.ones(1, 3))


def test_a_model_with_checkpoints_is_followed_or_told_to_go_without():
    layers = nn.Sequential(nn.Conv1d(1, 2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6, 2))

    def again(x):
        return checkpoint(layers, x, use_reentrant=False)

    x, start = torch.rand(1, 1, 4), torch.ones(1, 2)
    found = trace(again, x, None, PLAIN).relevance(start)
    assert torch.equal(found, trace(layers, x, None, PLAIN).relevance(start))
    # What only moves values keeps autograd's own backward, which would compute the pass again.
    layers[1] = nn.MaxPool1d(2, stride=1, padding=1)
    layers[3] = nn.Linear(8, 2)
    with pytest.raises(ModelError, match="torch.utils.checkpoint.*Run it without checkpointing"):
        trace(again, x, None, PLAIN).relevance(start)


def test_nothing_of_the_model_changes():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
    network = vivid(network, torch.randn(8, 3, 6, 6))
    before = copy.deepcopy(network.state_dict())
    clip = torch.rand(1, 3, 6, 6)
    kept = clip.clone()
    run = followed(network, clip)
    run.relevance(run.output.detach())
    assert torch.equal(clip, kept)
    assert not clip.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(part._forward_hooks or part._backward_hooks for part in network.modules())


def overwrites(x):
    """In-place work of every kind on what hangs on the clip."""
    y = 2 * x
    y += x
    y *= 3.0
    y[:, :1] = x[:, :1]
    y[:, 1:2].zero_()
    y = F.dropout(y, 0.5, False)
    return F.leaky_relu_(F.relu(y, inplace=True))


def test_nothing_stays_alive_after_in_place_work():
    seen = []

    def watched(x):
        y = overwrites(x)
        seen.append(weakref.ref(y))
        return y.sum(1, keepdim=True)

    run = followed(watched, torch.rand(2, 4, dtype=torch.float64))
    assert run.relevance(run.output.detach()).abs().sum() > 0
    del run
    gc.collect()
    assert seen[0]() is None


def test_in_place_work_counts_like_any_other():
    x = torch.rand(2, 4, dtype=torch.float64) + 0.1
    run = followed(overwrites, x)
    expected = torch.cat([x[:, :1], 0 * x[:, :1], 9 * x[:, 2:]], 1)
    torch.testing.assert_close(run.output, expected, rtol=1e-14, atol=0)
    start = torch.rand_like(x)
    found = run.relevance(start)
    torch.testing.assert_close(found, start * torch.tensor([1.0, 0, 1, 1]), rtol=1e-8, atol=0)


def test_a_template_is_no_data():
    torch.manual_seed(2)
    x = torch.rand(1, 3, dtype=torch.float64)
    start = torch.ones(1, 3, dtype=torch.float64)
    parameter = nn.Parameter(torch.rand(1, 3, dtype=torch.float64))
    for form in (
        lambda x: x + parameter.type_as(x),
        lambda x: x * parameter.expand_as(x),
        lambda x: x + parameter.to(x),
        lambda x: x - parameter.view_as(x),
    ):
        torch.testing.assert_close(followed(form, x).relevance(start), start, rtol=0, atol=0)
    gated = followed(lambda x: x[:, 1:] * torch.sigmoid(x[:, :1]).expand_as(x[:, 1:]), x)
    assert gated.relevance(start[:, 1:]).tolist() == [[0.0, 1.0, 1.0]]


def test_a_gate_that_is_multiplied_by_a_signal_is_none():
    def overwritten(x):
        gate = torch.sigmoid(x[:, :1])
        gate *= x[:, 1:2]
        return gate * x[:, 2:]

    x = torch.rand(1, 3, dtype=torch.float64)
    found = followed(overwritten, x).relevance(torch.ones(1, 1, dtype=torch.float64))
    assert found.tolist() == [[0.0, 0.5, 0.5]]


def test_contrast_is_of_the_last_layer_and_of_this_call_only():
    torch.manual_seed(4)
    first, last = nn.Linear(6, 6).double(), nn.Linear(6, 6).double()
    x = torch.rand(1, 6, dtype=torch.float64)

    def residual(x, sign=1):
        hidden = first(x).relu()
        return F.linear(hidden, sign * last.weight, last.bias) + hidden

    run = followed(residual, x)
    start = torch.zeros_like(run.output)
    start[0, 2] = run.output[0, 2].detach()
    plain, contrast = run.relevance(start), run.relevance(start, contrastive=True)
    # R' by a pass of its own, through the weights negated but the sum split as it was.
    node = run._last_layers
    assert len(node) == 1
    negated = followed(lambda x: F.linear(first(x).relu(), -last.weight), x)
    straight = followed(lambda x: F.linear(first(x).relu(), last.weight), x)
    hidden = first(x).relu()
    share = (F.linear(hidden, last.weight, last.bias) / residual(x)).detach()
    expected = straight.relevance(start * share) - negated.relevance(start * share)
    through = followed(lambda x: first(x).relu(), x).relevance(start * (1 - share))
    torch.testing.assert_close(contrast, expected + through, rtol=1e-8, atol=1e-10)
    assert torch.equal(run.relevance(start), plain)
    assert torch.equal(run.relevance(start, contrastive=True), contrast)


def test_the_last_layers_input_overwritten_after_it():
    first, last = nn.Linear(3, 3), nn.Linear(3, 2)

    def overwriting(x):
        hidden = first(x).relu()
        output = last(hidden)
        hidden.mul_(-1.0)
        return output

    run = followed(overwriting, torch.rand(1, 3))
    run.relevance(run.output.detach())
    with pytest.raises(ModelError, match="linear whose input is overwritten after it"):
        run.relevance(run.output.detach(), contrastive=True)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: OpaqueDouble.apply(2 * x), "cannot be seen into, OpaqueDoubleBackward"),
        (lambda x: x.detach() * 2, "an output that depends on the clip"),
        (lambda x: torch.ones(1, 2), "an output that depends on the clip"),
        (lambda x: torch.max(2 * x, torch.ones(1, 2)), "max of two tensors"),
        (lambda x: x * float(x.max()), "item in"),
        (lambda x: torch.div(x, 2.0, rounding_mode="floor"), "div that rounds"),
        (lambda x: 1 / (x + 1), "rdiv in|reciprocal in"),
        (lambda x: F.linear(x, torch.ones(2, 2), x[0]), "weight or bias that depends on the clip"),
        (lambda x: F.batch_norm(x, None, None, training=True), "statistics of the batch"),
        (lambda x: torch.matmul(input=x, other=torch.ones(2, 2)), "operands given by place"),
        (lambda x: torch.min(2 * x, torch.ones(1, 2)), "min of two tensors"),
        (lambda x: (2 * x).clamp(max=x.mean()), "clamp of several operands"),
        (lambda x: (2 * x).exp_(), "exp in"),
    ],
)
def test_what_has_no_rule_is_never_a_gradient(function, text):
    with pytest.raises(ModelError, match=text):
        followed(function, torch.rand(1, 2))


def test_what_is_computed_without_gradient_is_a_constant():
    def partly(x):
        with torch.no_grad():
            constant = torch.exp(x).mean()
        return x * constant

    x = torch.rand(1, 2)
    start = torch.tensor([[1.0, 2.0]])
    assert torch.equal(followed(partly, x).relevance(start), start)


def test_forms_of_a_sum():
    x = torch.tensor([[3.0, 1.0]], dtype=torch.float64)
    start = torch.ones(1, 1, dtype=torch.float64)
    forms = {
        lambda x: torch.add(input=x[:, :1], other=x[:, 1:]): [0.75, 0.25],
        lambda x: torch.add(x[:, :1], x[:, 1:], alpha=2): [0.6, 0.4],
        lambda x: torch.sub(x[:, :1], x[:, 1:], alpha=2): [3.0, -2.0],
        lambda x: torch.rsub(x[:, 1:], x[:, :1], alpha=2): [3.0, -2.0],
    }
    for form, expected in forms.items():
        found = followed(form, x).relevance(start)[0].tolist()
        assert found == pytest.approx(expected, rel=1e-8)


def test_structural_operations_take_rules_too():
    def nothing(call, composite):
        return Handled(call.run(), call.data, lambda relevance: (0 * call.data[0],))

    composite = replace(PLAIN, handlers={"flip": nothing})
    run = followed(lambda x: x.flip(1), torch.rand(1, 3), composite)
    assert run.relevance(torch.ones(1, 3)).tolist() == [[0.0, 0.0, 0.0]]


def test_half_precision_is_finite_or_said():
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nn.init.constant_(network[0].bias, -10.0)
    run = followed(network.half(), torch.rand(1, 1, 4, 4).half())
    assert torch.isfinite(run.relevance(torch.ones(1, 2).half())).all()
    run = followed(nn.Linear(2, 2), torch.rand(1, 2))
    with pytest.raises(ModelError, match="finite relevance"):
        run.relevance(torch.full((1, 2), float("inf")))


def test_merging_looks_at_what_the_layer_put_out():
    layer, norm = nn.Conv2d(1, 2, 1).double(), nn.BatchNorm2d(2).double().eval()
    x = torch.rand(1, 1, 2, 2, dtype=torch.float64)

    def cleared(x):
        y = layer(x)
        y[:, :, 0] = 0
        return norm(y)

    run = followed(cleared, x, replace(PLAIN, batch_norm="merge"))
    found = run.relevance(torch.ones_like(run.output))
    assert found[0, 0, 0].tolist() == [0.0, 0.0]
    assert found[0, 0, 1].tolist() == pytest.approx([2.0, 2.0])
    # Rows of a linear layer are channels on the last axis, which are not those of the norm.
    over_time = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)).double().eval()
    x = torch.rand(2, 3, 3, dtype=torch.float64)
    start = torch.rand_like(x)
    apart, merged = (
        followed(over_time, x, replace(PLAIN, batch_norm=kind)).relevance(start)
        for kind in ("identity", "merge")
    )
    assert torch.equal(apart, merged)


def test_pooling_by_zplus_is_the_same_in_a_batch():
    x = torch.tensor([[-1.0, -3.0], [1.0, 2.0]], dtype=torch.float64)
    composite = Composite(pooling=ZPlus(), input=None)
    start = torch.ones(2, dtype=torch.float64)
    both = followed(lambda x: x.mean(1), x, composite).relevance(start)
    alone = followed(lambda x: x.mean(1), x[:1], composite).relevance(start[:1])
    assert torch.equal(both[:1], alone)
