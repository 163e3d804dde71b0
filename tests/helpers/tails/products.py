"""Tails in which things that depend on the layer multiply each other."""

import torch
from torch import nn
from torch.nn import functional

from tests.helpers.families import CLASSES
from tests.helpers.tails.parts import MEAN, WIDTH, Function, inner, linear, over_time, two
from tests.references.layer_timesteps import Affine, Chain, Pointwise, Product, Scaled, Sum


def _multiplied_in_place(x, y):
    x *= y
    return x


def squeeze_and_excite():
    down, up, last = linear(outputs=3), linear(3, WIDTH), linear()
    tail = Function(
        lambda self, x: self.last(
            (x * torch.sigmoid(self.up(torch.relu(self.down(x.mean(1)))))[:, None]).mean(1)
        ),
        down=down,
        up=up,
        last=last,
    )

    def gate(x):
        return torch.sigmoid(up(torch.relu(down(x.mean(1)))))[:, None]

    return tail, Chain(Scaled(Affine(lambda x: x), gate), MEAN, Affine(last))


def gated_unit():
    first, last = linear(outputs=2 * WIDTH), linear()
    tail = nn.Sequential(first, nn.GLU(-1), Function(lambda _, x: over_time(x)), last)

    def gate(x):
        return torch.sigmoid(first(x)[..., WIDTH:])

    piece = Scaled(Affine(lambda x: first(x)[..., :WIDTH]), gate)
    return tail, Chain(piece, MEAN, Affine(last))


def highway():
    """g a + (1 - g) b: one minus a gate is a gate."""
    gate, a, b, last = inner(), inner(), inner(), linear()

    def run(self, x):
        g = torch.sigmoid(self.gate(x))
        return self.last((g * self.a(x) + (1 - g) * self.b(x)).mean(1))

    piece = Sum(
        Scaled(Affine(a), lambda x: torch.sigmoid(gate(x))),
        Scaled(Affine(b), lambda x: 1 - torch.sigmoid(gate(x))),
    )
    tail = Function(run, gate=gate, a=a, b=b, last=last)
    return tail, Chain(piece, MEAN, Affine(last))


def layer_of_a_sigmoid():
    """What a linear layer makes of sigmoids is no gate, but a factor like another."""
    return two(
        lambda a, b: _mixed(torch.sigmoid(a)) * b,
        lambda a, b: Product(
            torch.mul, Chain(Affine(a), Pointwise(torch.sigmoid), Affine(_mixed)), Affine(b)
        ),
    )


def _mixed(x):
    return functional.linear(x, torch.arange(WIDTH**2.0).reshape(WIDTH, -1).cos().to(x))


def three_factors():
    a, b, c = linear(), linear(), linear()
    tail = Function(
        lambda self, x: torch.einsum("btc,btc,btc->bc", self.a(x), self.b(x), self.c(x)),
        a=a,
        b=b,
        c=c,
    )

    def times(x, y, z):
        return (x * y * z).sum(1)

    return tail, Product(times, Affine(a), Affine(b), Affine(c))


def added_product():
    """`addcmul` and `baddbmm` add a tensor that is no factor."""
    return two(
        lambda a, b: torch.addcmul(a, a, b, value=0.5),
        lambda a, b: Sum(Affine(a), Product(lambda x, y: 0.5 * x * y, Affine(a), Affine(b))),
    )


def quotient():
    return two(
        lambda a, b: a / (b.abs() + 1),
        lambda a, b: Scaled(Affine(a), lambda x: b(x).abs() + 1, torch.div),
    )


def gram():
    """A product of the tokens with themselves, over time."""
    last = nn.Linear(WIDTH * WIDTH, CLASSES)
    tail = Function(lambda self, x: self.last((x.transpose(1, 2) @ x).flatten(1)), last=last)
    token = Affine(lambda x: x)
    times = Product(lambda x, y: torch.einsum("btc,btd->bcd", x, y).flatten(1), token, token)
    return tail, Chain(times, Affine(last))


PRODUCTS = {
    "squeeze_and_excite": squeeze_and_excite,
    "gated_unit": gated_unit,
    "highway": highway,
    "layer_of_a_sigmoid": layer_of_a_sigmoid,
    "bilinear": lambda: two(
        lambda a, b: a * b, lambda a, b: Product(torch.mul, Affine(a), Affine(b))
    ),
    "bilinear_in_place": lambda: two(
        _multiplied_in_place, lambda a, b: Product(torch.mul, Affine(a), Affine(b))
    ),
    "gate_in_place": lambda: two(
        lambda a, b: _multiplied_in_place(a, b.sigmoid()),
        lambda a, b: Scaled(Affine(a), lambda x: torch.sigmoid(b(x))),
    ),
    "added_product": added_product,
    "three_factors": three_factors,
    "quotient": quotient,
    "gram": gram,
}
