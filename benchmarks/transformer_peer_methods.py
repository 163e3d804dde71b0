"""LRP of timm's image transformers by this library and by its peers, all called alike.

A peer is used as its documentation has it, where that names image transformers at all. lxt's
efficient rules are patches of modules, here put on those of a copy; its explicit ones are functions
by which the forward pass is written anew. zennit gives rules to the modules that it knows, and
plain gradients go through attention and layer norms. autolrp needs nothing of a model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TypeAlias

import torch
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from temporal_attr import LRP
from temporal_attr.models import LateFusion
from temporal_attr.relevance import Composite, Epsilon, Gamma, composites


@dataclass(frozen=True)
class Explained:
    """Relevance of the frames, `(T, C, H, W)`, and the sum of what a named sink got."""

    pixels: Tensor
    sinks: float = 0.0


Explain: TypeAlias = Callable[[LateFusion, Tensor, int], Explained]
"""From an image transformer per frame, one clip `(1, T, C, H, W)` and a class."""


def transformer_of(model: LateFusion) -> VisionTransformer:
    """The image transformer."""
    assert isinstance(model.encoder, VisionTransformer)
    return model.encoder


def mean_gradient(forward: Callable[[Tensor], Tensor], clip: Tensor, target: int) -> Tensor:
    """The gradient of the clip's logit, which is the mean of its frames'."""
    leaf = clip[0].clone().requires_grad_()
    (found,) = torch.autograd.grad(forward(leaf)[:, target].mean(), leaf)
    return found


def starts(logits: Tensor, target: int) -> Tensor:
    """Relevance of the frames' logits: each one's part in the mean."""
    start = torch.zeros_like(logits)
    start[:, target] = logits[:, target] / len(logits)
    return start


def gradient(model: LateFusion, clip: Tensor, target: int) -> Explained:
    """The floor: the gradient alone."""
    return Explained(mean_gradient(model.encoder, clip, target))


def gradient_input(model: LateFusion, clip: Tensor, target: int) -> Explained:
    """The gradient times the pixels."""
    return Explained(mean_gradient(model.encoder, clip, target) * clip[0])


def ours(composite: Composite) -> Explain:
    """This library under a composite, without sinks, as the peers have none."""

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        found = LRP(model, composite).attribute(clip, target=target)
        assert isinstance(found, Tensor)
        return Explained(found[0])

    return explain


def ours_with_sinks(composite: Composite) -> Explain:
    """The same, and what did not reach the pixels."""

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        result = LRP(model, composite).explain(clip, target=target)
        return Explained(result.attribution[0], sum(got.item() for got in result.sinks.values()))

    return explain


def counting_biases() -> dict[str, Composite]:
    """The presets that give biases and position embeddings nothing, giving them their share."""
    epsilon = Epsilon(1e-9, count_bias=True)
    return {
        "cp_lrp, biases counted": replace(
            composites.cp_lrp(),
            convolution=epsilon,
            linear=epsilon,
            constants="share",
        ),
        "gamma, biases counted": replace(
            composites.gamma(),
            convolution=Gamma(100.0, count_bias=True),
            linear=Gamma(0.01, count_bias=True),
            constants="share",
        ),
    }


def presets() -> dict[str, Composite]:
    """By name, all composites that the library has, and the two above."""
    made: dict[str, Composite] = {name: getattr(composites, name)() for name in composites.__all__}
    return {**made, **counting_biases()}


class Through(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """What the function makes of it."""
        return self.function(x)


def put(part: nn.Module, **functions: Callable[..., Tensor]) -> None:
    """Give a module other functions than those of its class."""
    for name, function in functions.items():
        setattr(part, name, function)


def lxt_patched(vit: VisionTransformer, full: bool) -> VisionTransformer:
    """A copy with lxt's efficient patches; through the softmax, or with its output held."""
    patches = import_module("lxt.efficient.patches")
    rules = import_module("lxt.efficient.rules")
    vit = copy.deepcopy(vit)
    for part in vit.modules():
        if isinstance(part, nn.LayerNorm):
            put(part, forward=partial(patches.layer_norm_forward, part))
        elif isinstance(part, nn.GELU):
            put(part, original_forward=part.forward)
            put(part, forward=partial(patches.non_linear_forward, part))
        elif isinstance(part, Attention) and full:
            # A half at each of the two products: what its fused form has as 1/4, 1/4 and 1/2.
            part.q_norm = part.k_norm = part.norm = Through(rules.divide_gradient)
        elif isinstance(part, Attention):
            part.q_norm = part.k_norm = Through(rules.stop_gradient)
    return vit


def lxt_efficient(full: bool) -> Explain:
    """Gradient times input of a patched copy."""
    # The package first, which does not import beside every version of transformers.
    import_module("lxt.efficient")

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        vit = lxt_patched(transformer_of(model), full)
        return Explained(mean_gradient(vit, clip, target) * clip[0])

    return explain


@contextmanager
def lxts_zennit() -> Iterator[None]:
    """Zennit's hooks as lxt rewrites them, for gradient times input; after it, as they were."""
    hook = import_module("zennit.core").BasicHook
    theirs = import_module("lxt.efficient.zennit_patches")
    before = hook.forward, hook.backward
    hook.forward, hook.backward = theirs.forward, theirs.backward
    try:
        yield
    finally:
        hook.forward, hook.backward = before


def lxt_gamma() -> Explain:
    """The recipe of lxt for image transformers: attention held, and zennit's gamma rule."""
    rules = import_module("zennit.rules")
    chosen = [(nn.Conv2d, rules.Gamma(100.0)), (nn.Linear, rules.Gamma(0.01))]
    composite = import_module("zennit.composites").LayerMapComposite(chosen)
    import_module("lxt.efficient")

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        vit = lxt_patched(transformer_of(model), full=False)
        with lxts_zennit(), composite.context(vit):
            found = mean_gradient(vit, clip, target)
        return Explained(found * clip[0])

    return explain


def lxt_explicit() -> Explain:
    """Relevance by lxt's explicit AttnLRP rules, put in the place of each operation."""
    rules = import_module("lxt.explicit.rules")
    f = import_module("lxt.explicit.functional")

    def linear(part: nn.Linear, x: Tensor) -> Tensor:
        return f.linear_epsilon(x, part.weight, part.bias)  # type: ignore[no-any-return]

    def layer_norm(part: nn.LayerNorm, x: Tensor) -> Tensor:
        return f.layer_norm(x, part.weight, part.bias, part.eps)  # type: ignore[no-any-return]

    def attention(part: Attention, x: Tensor, **nothing: object) -> Tensor:
        read = part.qkv(x).unflatten(-1, (3, part.num_heads, part.head_dim))
        query, key, value = read.permute(2, 0, 3, 1, 4).unbind()
        scores = f.mul2(f.matmul(query, key.transpose(-2, -1)), part.scale)
        mixed = f.matmul(f.softmax(scores, -1), value)
        written: Tensor = part.proj(mixed.transpose(1, 2).flatten(2))
        return written

    def block(part: Block, x: Tensor, **nothing: object) -> Tensor:
        x = f.add2(x, part.attn(part.norm1(x)))
        return f.add2(x, part.mlp(part.norm2(x)))  # type: ignore[no-any-return]

    def placed(vit: VisionTransformer, x: Tensor) -> Tensor:
        assert vit.cls_token is not None
        assert vit.pos_embed is not None
        tokens = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
        return f.add2(tokens, vit.pos_embed.expand_as(tokens))  # type: ignore[no-any-return]

    written: dict[type[nn.Module], Callable[..., Tensor]] = {
        nn.Linear: linear,
        nn.LayerNorm: layer_norm,
        Attention: attention,
        Block: block,
    }

    def rewritten(vit: VisionTransformer) -> VisionTransformer:
        vit = copy.deepcopy(vit)
        for part in list(vit.modules()):
            for kind, forward in written.items():
                if isinstance(part, kind):
                    put(part, forward=partial(forward, part))
            if isinstance(part, Mlp):
                part.act = rules.IdentityRule(part.act)
        put(vit, _pos_embed=partial(placed, vit))
        vit.patch_embed.proj = rules.EpsilonRule(vit.patch_embed.proj)
        return vit

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        leaf = clip[0].clone().requires_grad_()
        logits = rewritten(transformer_of(model))(leaf)
        (found,) = torch.autograd.grad(logits, leaf, starts(logits.detach(), target))
        return Explained(found)

    return explain


def autolrp(name: str) -> Explain:
    """Autolrp with one of its configurations.

    It starts at a single number, and splits a mean by magnitudes; so frames whose logits are
    negative are explained by themselves.
    """
    library = import_module("autolrp")
    config = {
        "default": library.LRPConfig,
        "ATTNLRP": lambda: library.LRPConfig(rule={**library.BASE, **library.ATTNLRP}),
        "attnlrp()": library.LRPConfig.attnlrp,
        "cplrp()": library.LRPConfig.cplrp,
    }[name]()

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        frames = clip[0]
        with torch.no_grad():
            logits = model.encoder(frames)[:, target]
        found = torch.zeros_like(frames)
        for chosen in (logits > 0, logits < 0):
            if chosen.any():
                leaf = library.tensor(frames[chosen])
                model.encoder(leaf)[:, target].mean().lrp(config=config)
                whole = logits[chosen].sum() / len(frames)
                found[chosen] = leaf.relevance.detach().as_subclass(Tensor) * whole
        return Explained(found)

    return explain


def zennit(name: str, **options: float) -> Explain:
    """Zennit with one of its composites."""
    make = getattr(import_module("zennit.composites"), name)
    attributor = import_module("zennit.attribution").Gradient

    def explain(model: LateFusion, clip: Tensor, target: int) -> Explained:
        leaf = clip[0].clone().requires_grad_()
        with torch.no_grad():
            start = starts(model.encoder(clip[0]), target)
        with attributor(model=model.encoder, composite=make(**options)) as attribute:
            return Explained(attribute(leaf, start)[1].detach())

    return explain


PEERS: dict[str, Callable[[], Explain]] = {
    "lxt, efficient AttnLRP": lambda: lxt_efficient(full=True),
    "lxt, efficient CP-LRP": lambda: lxt_efficient(full=False),
    "lxt, CP-LRP with gamma": lxt_gamma,
    "lxt, explicit AttnLRP": lxt_explicit,
    "autolrp, default": lambda: autolrp("default"),
    "autolrp, ATTNLRP": lambda: autolrp("ATTNLRP"),
    "autolrp, attnlrp()": lambda: autolrp("attnlrp()"),
    "autolrp, cplrp()": lambda: autolrp("cplrp()"),
    "zennit, EpsilonPlus": lambda: zennit("EpsilonPlus"),
    "zennit, EpsilonGammaBox": lambda: zennit("EpsilonGammaBox", low=-1.0, high=1.0),
}


def peers() -> tuple[dict[str, Explain], dict[str, str]]:
    """Those that are installed, and why the others are not there."""
    found, missing = {}, {}
    for name, make in PEERS.items():
        try:
            found[name] = make()
        except ImportError as error:
            missing[name] = str(error)
    return found, missing
