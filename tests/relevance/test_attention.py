"""Relevance through attention: what torch computes, what conserves, and where the rest goes."""

import gc
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from temporal_attr import LRP, ContrastiveLRPTemporal, ModelError, OptionError
from temporal_attr.relevance import (
    AuditLog,
    Box,
    Composite,
    Epsilon,
    Handled,
    Sink,
    ZPlus,
    composites,
    trace,
)
from temporal_attr.relevance._attention import (
    multi_head_attention_forward,
    scaled_dot_product_attention,
)
from temporal_attr.zoo import build_model

# Checks of shapes in every small function would take ten times as long as the functions.
pytestmark = pytest.mark.usefixtures("as_user")

PLAIN = Composite(input=None)
PRESETS = [name for name in composites.__all__ if name != "gamma"]
BOUNDED = ("paper", "transformer", "absolute")
"""Presets whose relevance stays near the logit's size whatever the biases."""


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def lively(module, seed=0):
    """Random biases, gains and constants, in float64."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    for parameter in module.parameters():
        if parameter.ndim < 2 or not parameter.any():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.data = 0.3 * noise + (parameter.data == 1)
    return module


def accounted(function, x, composite=PLAIN, model=None, start=None):
    """Relevance of the first output (or from `start`), and the sinks."""
    bounds = torch.full_like(x, -9), torch.full_like(x, 9)
    run = trace(function, x, bounds, composite, model, sinks=True)
    if start is None:
        start = torch.zeros_like(run.output)
        start[..., 0] = run.output.detach()[..., 0]
    relevance, sinks = run.relevance_and_sinks(start)
    return run, start, relevance, {name: got.item() for name, got in sinks.items()}


class Encoder(nn.Module):
    """Frames as tokens beside a class token, with places, and `nn.TransformerEncoder`."""

    def __init__(self, norm_first=True, batch_first=True, activation="gelu"):
        super().__init__()
        torch.manual_seed(3)
        self.embed = nn.Linear(12, 8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, 0.0, activation, batch_first=batch_first, norm_first=norm_first
        )
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.batch_first = batch_first
        self.head = nn.Linear(8, 3)

    def forward(self, clip):
        tokens = self.embed(clip.flatten(2))
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], 1) + self.place
        if self.batch_first:
            return self.head(self.blocks(tokens)[:, 0])
        return self.head(self.blocks(tokens.transpose(0, 1))[0])


ATTENTIONS = {
    "plain": {},
    "mask": {"attn_mask": drawn(4, 5)},
    "left out": {"attn_mask": torch.ones(4, 5, dtype=torch.bool).triu(2)},
    "mask of each head": {"attn_mask": drawn(6, 4, 5)},
    "padding": {"key_padding_mask": torch.tensor([[0] * 5, [0, 0, 0, 1, 1], [0] * 5]) > 0},
    "learned key": {"bias_k": drawn(1, 1, 6), "bias_v": drawn(1, 1, 6, seed=1)},
    "key of zeros": {"add_zero_attn": True, "attn_mask": drawn(4, 5)},
    "every head's weights": {"average_attn_weights": False},
    "no weights": {"need_weights": False},
    "projections of their own": {
        "use_separate_proj_weight": True,
        "in_proj_weight": None,
        "q_proj_weight": drawn(6, 6, seed=4),
        "k_proj_weight": drawn(6, 6, seed=5),
        "v_proj_weight": drawn(6, 6, seed=6),
    },
    "no biases": {"in_proj_bias": None, "out_proj_bias": None},
}  # fmt: skip


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_attention_of_several_heads_is_torchs(kind):
    query, key, value = drawn(4, 3, 6), drawn(5, 3, 6, seed=1), drawn(5, 3, 6, seed=2)
    options = {
        "embed_dim_to_check": 6, "num_heads": 2, "in_proj_weight": drawn(18, 6),
        "in_proj_bias": drawn(18), "bias_k": None, "bias_v": None, "add_zero_attn": False,
        "dropout_p": 0.0, "out_proj_weight": drawn(6, 6), "out_proj_bias": drawn(6),
        "training": False,
    } | ATTENTIONS[kind]  # fmt: skip
    ours = multi_head_attention_forward(query, key, value, **options)
    theirs = F.multi_head_attention_forward(query, key, value, **options)
    # Sums in another order.
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


DOTS = {
    "plain": {},
    "mask": {"attn_mask": drawn(4, 5)},
    "left out": {"attn_mask": torch.ones(4, 5, dtype=torch.bool).tril(1)},
    "causal": {"is_causal": True},
    "scale": {"scale": 0.3},
    "groups": {"enable_gqa": True},
}


@pytest.mark.parametrize("kind", DOTS)
def test_scaled_dot_products_are_torchs(kind):
    query = drawn(2, 4, 4, 3)
    heads = 2 if kind == "groups" else 4
    key, value = drawn(2, heads, 5, 3, seed=1), drawn(2, heads, 5, 6, seed=2)
    ours = scaled_dot_product_attention(query, key, value, **DOTS[kind])
    theirs = F.scaled_dot_product_attention(query, key, value, **DOTS[kind])
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    "options",
    [{}, {"norm_first": False}, {"batch_first": False}, {"activation": "relu"}],
    ids=["norm first", "norm last", "time first", "relu"],
)
def test_pixels_and_sinks_are_the_logit(options, preset):
    model, clip = lively(Encoder(**options)), drawn(1, 4, 3, 2, 2).clamp(-3, 3)
    run, start, relevance, sinks = accounted(model, clip, getattr(composites, preset)(), model)
    torch.testing.assert_close(run.output, model(clip), rtol=1e-12, atol=1e-12)
    whole = relevance.sum().item() + sum(sinks.values())
    # Rounding, of the largest of what is added up: an epsilon rule may give much of either sign.
    largest = max(relevance.abs().sum().item(), *map(abs, sinks.values()))
    assert abs(whole - start.sum().item()) < 1e-11 * largest
    assert sinks["cls_token"] != 0
    if preset in BOUNDED:
        assert largest < 10 * start.abs().sum().item()


def test_nothing_of_a_mean_over_tokens_is_lost_in_float32():
    model = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
    clip = torch.rand(2, 4, 3, 16, 16)
    found = LRP(model).explain(clip, target=[1, 2])
    assert (found.lost / found.logits.gather(1, found.target[:, None])[:, 0]).abs().max() < 1e-5
    assert found.sinks == {}


def test_sinks_of_a_batch_are_those_of_its_clips():
    model, clips = lively(Encoder()), drawn(3, 4, 3, 2, 2)
    method = LRP(model, composites.attnlrp())
    together = method.explain(clips, target=[0, 1, 2])
    for place in range(3):
        alone = method.explain(clips[place : place + 1], target=place)
        assert alone.sinks.keys() == together.sinks.keys()
        for name, got in alone.sinks.items():
            torch.testing.assert_close(together.sinks[name][place], got[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(together.attribution[place], alone.attribution[0])
    assert together.lost.abs().max() < 1e-12
    torch.testing.assert_close(
        together.convergence_delta, torch.stack(list(together.sinks.values())).sum(0)
    )


def test_rules_that_nobody_gave_are_those_for_attention_where_there_is_some():
    clip = torch.rand(1, 4, 3, 16, 16)
    attends = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
    for _ in range(2):
        found = LRP(attends).explain(clip, 1)
        assert found.rules == "composites.transformer()"
        assert "rules: composites.transformer(), as the model has attention" in found.summary()
        asked = LRP(attends, composites.transformer()).explain(clip, 1)
        assert asked.rules == "as given"
        assert torch.equal(found.attribution, asked.attribution)
    assert ContrastiveLRPTemporal(attends).explain(clip, 1).rules == found.rules
    plain = build_model("tam2d", classes=4, widths=(4, 8)).eval()
    found = LRP(plain).explain(clip, 1)
    assert found.rules == "composites.paper()"
    assert torch.equal(found.attribution, LRP(plain, Composite()).attribute(clip, 1))
    # The pass by other rules that told of the attention is in no audit.
    fresh = build_model("tubelet-transformer", classes=4, frames=4, size=16).eval()
    audit = LRP(fresh).audit(clip, 1)
    # A place embedding, being a constant, gets nothing.
    assert {call.rule for call in audit.calls if call.function == "add"} == {
        "identity",
        "magnitude",
    }
    assert len(audit.calls) == len(LRP(fresh).audit(clip, 1).calls)


def test_contrast_takes_sinks_from_sinks():
    model = build_model("tubelet-transformer", classes=4, frames=4, size=16).double().eval()
    lively(model)
    rule = ZPlus(count_bias=True)
    composite = Composite(linear=rule, convolution=rule, constants="share")
    clips = drawn(2, 4, 3, 16, 16).clamp(-2, 2)
    found = ContrastiveLRPTemporal(model, composite).explain(clips, 1)
    assert found.sink_relevance.abs().min() > 1e-3 * found.step_logits.abs().max()
    assert found.row_error.max() < 1e-11
    with pytest.raises(OptionError, match="R - R' is zero.*contrastive=False"):
        ContrastiveLRPTemporal(model, composites.absolute()).attribute(
            torch.rand(1, 4, 3, 16, 16).double(), 1
        )


def alive():
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


@pytest.mark.parametrize("preset", composites.__all__)
def test_nothing_of_a_call_stays_alive(preset):
    model, clip = lively(Encoder()), drawn(1, 4, 3, 2, 2)
    composite = replace(getattr(composites, preset)(), constants="share", input=None)

    def overwriting(clip):
        tokens = model.embed(clip.flatten(2))
        tokens += model.place[:, 1:]
        scores = tokens @ tokens.transpose(1, 2)
        scores += scores.clone()
        scores = scores.softmax(-1)
        return (scores @ tokens).sum(1)

    for function in (model, overwriting):
        accounted(function, clip, composite, model)
        before = alive()
        for _ in range(3):
            accounted(function, clip, composite, model)
        assert alive() == before


def test_attention_weights_are_constants_to_the_default():
    x, scores = drawn(1, 4, 3), drawn(4, 4)
    value = nn.Linear(3, 3, bias=False).double()

    def attended(x, shift):
        return torch.softmax(x @ x.transpose(1, 2) + scores + shift, -1) @ value(x)

    def weighed(x):
        return torch.softmax(found @ found.transpose(1, 2) + scores, -1) @ value(x)

    found = x
    _, start, relevance, _ = accounted(lambda x: attended(x, 0.0), x)
    shifted = accounted(lambda x: attended(x, 7.0), x, start=start)[2]
    fixed = accounted(weighed, x, start=start)[2]
    # A shift of all scores changes no weight, but rounds them.
    torch.testing.assert_close(relevance, shifted, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(relevance, fixed, rtol=1e-12, atol=1e-13)


def test_the_rule_of_attention_weights_is_their_own():
    x, weights = drawn(1, 3, 2).abs(), torch.softmax(drawn(3, 3), -1)

    def held(x):
        return (weights + 0 * x.sum()).softmax(-1) @ x

    start = drawn(1, 3, 2)
    epsilon = accounted(held, x, replace(PLAIN, attention_rule=Epsilon(0.0)), start=start)[2]
    mixed = weights.softmax(-1)
    expected = x * (mixed.T @ (start / (mixed @ x)))
    torch.testing.assert_close(epsilon, expected, rtol=1e-12, atol=1e-14)
    other = accounted(held, x, replace(PLAIN, linear=Epsilon(0.5)), start=start)[2]
    torch.testing.assert_close(other, expected, rtol=1e-12, atol=1e-14)


def test_the_order_of_tokens_does_not_matter():
    block = lively(nn.MultiheadAttention(4, 2, batch_first=True))
    x, order = drawn(1, 5, 4), torch.tensor([3, 0, 4, 1, 2])
    start = drawn(1, 5, 4, seed=1)
    for preset in PRESETS:
        composite = replace(getattr(composites, preset)(), input=None)
        here = accounted(lambda x: block(x, x, x)[0], x, composite, start=start)[2]
        there = accounted(
            lambda x: block(x, x, x)[0], x[:, order], composite, start=start[:, order]
        )
        torch.testing.assert_close(here[:, order], there[2], rtol=1e-8, atol=1e-10)


def test_products_in_another_order_share_another_way():
    a, b, c = drawn(3, 3), drawn(3, 3, seed=1), drawn(3, 3, seed=2)
    x = torch.stack([a, b, c])
    full = replace(PLAIN, attention="full")
    left = accounted(lambda x: (x[0] @ x[1]) @ x[2], x, full, start=torch.ones(3, 3).double())[2]
    right = accounted(lambda x: x[0] @ (x[1] @ x[2]), x, full, start=torch.ones(3, 3).double())[2]
    # Each product gives half to either side: a quarter, a quarter and a half, and the reverse.
    for found, parts in ((left, (2.25, 2.25, 4.5)), (right, (4.5, 2.25, 2.25))):
        torch.testing.assert_close(found.sum((1, 2)), torch.tensor(parts).double())


def test_constants_beside_the_data_are_sinks_by_their_name():
    model = nn.Module()
    model.token = nn.Parameter(torch.tensor([[3.0]]).double())
    model.register_buffer("border", torch.tensor([[5.0]]).double())
    x = torch.tensor([[2.0]]).double()

    def joined(x):
        return torch.cat([model.token, x, model.border], 1).sum(1)

    _, _, relevance, sinks = accounted(joined, x, model=model, start=torch.tensor([10.0]).double())
    assert relevance.item() == pytest.approx(2)
    assert sinks == {"token": pytest.approx(3), "border": pytest.approx(5)}


def _written(x):
    whole = x.new_ones(1, 3)
    whole[:, 1:] = x
    return whole


FILLED = {
    "pad": (lambda x: F.pad(x, (1, 0), value=1.0), 1.0),
    "masked_fill": (lambda x: x.masked_fill(torch.tensor([True, False]), 1.0), 1.0),
    "masked_fill_": (lambda x: (x * 1).masked_fill_(torch.tensor([True, False]), 1.0), 1.0),
    "index_fill": (lambda x: x.index_fill(1, torch.tensor([0]), 1.0), 1.0),
    "where": (lambda x: torch.where(torch.tensor([True, False]), 1.0, x), 1.0),
    "setitem": (_written, 1.0),
    "stack": (lambda x: torch.stack([x, torch.ones_like(x)], 2).flatten(1), 2.0),
    "tril": (lambda x: x.expand(2, 2).tril(), 0.0),
}


@pytest.mark.parametrize("name", FILLED)
def test_numbers_beside_the_data_take_their_share(name):
    function, share = FILLED[name]
    x = torch.tensor([[2.0, 4.0]]).double()
    total = function(x).sum().item()
    start = torch.tensor([total]).double()
    _, _, relevance, sinks = accounted(lambda x: function(x).sum().reshape(1), x, start=start)
    assert relevance.sum().item() == pytest.approx(total - share)
    # The epsilon of sums gives what it absorbs to all alike, zeros too.
    assert sum(sinks.values()) == pytest.approx(share, abs=1e-8)


def test_biases_take_their_share_where_the_rule_counts_them():
    layer = nn.Linear(2, 1).double()
    layer.weight.data = torch.tensor([[1.0, 2.0]]).double()
    layer.bias.data = torch.tensor([3.0]).double()
    x = torch.ones(1, 2).double()
    for rule in (Epsilon(0.0, count_bias=True), ZPlus(count_bias=True)):
        _, _, relevance, sinks = accounted(layer, x, replace(PLAIN, linear=rule), layer)
        torch.testing.assert_close(relevance, torch.tensor([[1.0, 2.0]]).double())
        assert sinks["bias"] == pytest.approx(3.0)
    # z+ counts what adds to the output only.
    layer.bias.data = torch.tensor([-1.0]).double()
    found = accounted(layer, x, replace(PLAIN, linear=ZPlus(count_bias=True)), layer)
    torch.testing.assert_close(found[2], torch.tensor([[2 / 3, 4 / 3]]).double())
    assert found[3]["bias"] == 0
    with pytest.raises(OptionError, match="Leave out count_bias at the input"):
        Box(count_bias=True)


def test_places_take_their_share_where_constants_do():
    model = nn.Module()
    model.place = nn.Parameter(torch.tensor([[1.0, -1.0]]).double())
    x = torch.tensor([[1.0, 3.0]]).double()
    start = torch.tensor([[4.0, 6.0]]).double()
    none = accounted(lambda x: x + model.place, x, model=model, start=start)
    assert none[2].tolist() == [[4.0, 6.0]]
    assert none[3] == {}
    share = replace(PLAIN, constants="share")
    signed = accounted(lambda x: x + model.place, x, share, model, start)
    torch.testing.assert_close(signed[2], torch.tensor([[2.0, 9.0]]).double())
    assert signed[3] == {"place": pytest.approx(2.0 - 3.0)}
    sizes = accounted(lambda x: x + model.place, x, replace(share, sums="magnitude"), model, start)
    torch.testing.assert_close(sizes[2], torch.tensor([[2.0, 4.5]]).double())
    assert sizes[3] == {"place": pytest.approx(2.0 + 1.5)}


GELUS = {
    "erf": lambda x: x * 0.5 * (1.0 + torch.erf(x / 2**0.5)),
    "tanh": lambda x: 0.5 * x * (1.0 + torch.tanh(0.7978845608 * (x + 0.044715 * torch.pow(x, 3)))),
    "fast": lambda x: 0.5 * x * (1 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))),
    "quick": lambda x: x * torch.sigmoid(1.702 * x),
    "silu": lambda x: x * torch.sigmoid(x),
}


@pytest.mark.parametrize("name", GELUS)
def test_activations_written_out_pass_relevance_on(name):
    x, start = drawn(2, 3), drawn(2, 3, seed=1)
    assert torch.equal(accounted(GELUS[name], x, start=start)[2], start)


def test_a_hyperbolic_tangent_by_itself_is_a_signal():
    x, start = drawn(2, 3), drawn(2, 3, seed=1)
    halves = accounted(lambda x: x.tanh() * x, x, start=start)[2]
    torch.testing.assert_close(halves, start)
    both = torch.stack([x, x])
    apart = accounted(lambda x: x[0].tanh() * x[1], both, start=start)[2]
    torch.testing.assert_close(apart, torch.stack([start / 2, start / 2]))


def test_norms_written_out_are_linear_maps():
    x, gain = drawn(2, 5), drawn(5, seed=1)
    start = drawn(2, 5, seed=2)

    def rms(x):
        return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))

    assert torch.equal(accounted(rms, x, start=start)[2], start)

    def standard(x):
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()

    _, _, relevance, sinks = accounted(standard, x, start=start)
    assert relevance.sum().item() == pytest.approx(start.sum().item())
    assert sum(sinks.values()) == pytest.approx(0, abs=1e-9)


class Probable(nn.Module):
    def __init__(self, last):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(12, 3).double()
        self.last = last

    def forward(self, clip):
        return self.last(self.body(clip.flatten(1)))


@pytest.mark.parametrize("last", [nn.Softmax(-1), nn.Sigmoid(), nn.LogSoftmax(-1)])
def test_of_probabilities_the_logits_are_explained(last):
    clip = drawn(1, 1, 3, 2, 2)
    found = LRP(Probable(last), PLAIN).explain(clip, target=1)
    bare = LRP(Probable(nn.Identity()), PLAIN).explain(clip, target=1)
    assert found.from_probabilities
    assert not bare.from_probabilities
    assert torch.equal(found.attribution, bare.attribution)
    assert torch.equal(found.logits, bare.logits)
    assert "returns probabilities; the logits before them are explained" in found.summary()


def test_probabilities_that_are_averaged_are_refused():
    def averaged(clip):
        return clip.flatten(2).softmax(-1).mean(1)

    with pytest.raises(ModelError, match="through softmax only.*logits, not probabilities"):
        LRP(averaged, PLAIN).attribute(drawn(1, 2, 3, 2, 2), target=1)


def test_an_audit_accounts_for_every_call():
    model, clip = lively(Encoder()), drawn(1, 4, 3, 2, 2)
    audit = LRP(model, composites.attnlrp()).audit(clip, target=1)
    assert abs(audit.lost) < 1e-12
    assert max(abs(call.unexplained) for call in audit.calls) < 1e-12
    by_name = {call.function: call for call in audit.calls}
    assert by_name["softmax"].rule == "Taylor"
    assert by_name["softmax"].module == "module 'blocks.layers.1.self_attn'"
    assert by_name["layer_norm"].rule == "fixed-std"
    last = next(call for call in audit.calls if call.module == "module 'head'")
    assert last.arrived == pytest.approx(audit.logit)
    # Less what its epsilon absorbs.
    assert last.to_sinks == pytest.approx(audit.sinks["head.bias"], rel=1e-4)
    assert str(audit).splitlines()[0].split()[:3] == ["function", "module", "rule"]
    frame = audit.to_dataframe()
    assert len(frame) == len(audit.calls)
    assert frame["unexplained"].abs().max() < 1e-12


def test_a_handler_may_have_several_outputs_and_sinks():
    def halves(call, composite):
        low, high = call.run()

        def split(relevances):
            return (torch.cat(relevances, -1) / 2,)

        half = Sink("half", lambda relevances: sum(entry.sum() for entry in relevances) / 2)
        return Handled((low, high), call.data, split, sinks=(half,), rule="half")

    composite = replace(PLAIN, handlers={"chunk": halves})
    x = drawn(1, 4)

    def parted(x):
        low, high = x.chunk(2, -1)
        return low + 2 * high

    start = torch.tensor([[2.0, 4.0]]).double()
    log = AuditLog(None)
    run = trace(parted, x, None, composite, sinks=True, log=log)
    relevance, sinks = run.relevance_and_sinks(start)
    assert relevance.sum().item() == pytest.approx(3)
    assert {name: got.item() for name, got in sinks.items()} == {
        "half in the model's function": pytest.approx(3)
    }
    assert [call.rule for call in log.calls() if call.function == "chunk"] == ["half"]


def test_comparisons_are_constants():
    x = torch.tensor([[1.0, -2.0, 3.0]]).double()

    def positive(x):
        return x * (x > 0) + x * x.argmax(1, keepdim=True).eq(2)

    start = torch.tensor([[1.0, 1.0, 1.0]]).double()
    assert torch.equal(accounted(positive, x, start=start)[2], start)


def test_compiled_parts_run_as_they_were_written():
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    compiled = torch.compile(network)
    x, start = drawn(1, 4), drawn(1, 2)
    found = accounted(compiled, x, start=start)[2]
    assert torch.equal(found, accounted(network, x, start=start)[2])
    assert torch._dynamo.utils.counters["frames"]["total"] == 0
