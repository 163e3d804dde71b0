"""Cases for metrics: small models whose answer is known, and methods of a few lines."""

import torch
from torch import nn

from temporal_attr.evaluation._case import Case, Explanation


class Weights(nn.Module):
    """Logits that are weighted sums of all values of a clip: the gradient is the weights."""

    def __init__(self, shape, classes=4, seed=0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.map = nn.Linear(int(torch.tensor(shape).prod()), classes).double()
        with torch.no_grad():
            self.map.weight.copy_(torch.randn(self.map.weight.shape, generator=draw))
        self.shape = shape

    def forward(self, clip):
        return self.map(clip.flatten(1))

    def rows(self):
        """The weights of each class, shaped as the clip."""
        return self.map.weight.detach().unflatten(1, self.shape)


def random_clip(shape=(6, 3, 8, 8), seed=1):
    """One clip in float64."""
    draw = torch.Generator().manual_seed(seed)
    return torch.rand((1, *shape), generator=draw, dtype=torch.float64)


def _gradient(model, clip, target):
    with torch.enable_grad():
        leaf = clip.detach().clone().requires_grad_()
        (found,) = torch.autograd.grad(model(leaf)[0, target], leaf)
    return found[0]


def gradient(model, clip, target, seed):
    """The gradient; a frame's score is its norm."""
    found = _gradient(model, clip, target)
    return Explanation(found.flatten(1).norm(dim=1), found)


def gradient_times_input(model, clip, target, seed):
    """The gradient times the clip; a frame's score is its sum."""
    found = _gradient(model, clip, target) * clip[0]
    return Explanation(found.sum((1, 2, 3)), found)


def energy(model, clip, target, seed):
    """The squares of the clip, whatever the model and the class."""
    found = clip[0].square()
    return Explanation(found.sum((1, 2, 3)), found)


def motion(model, clip, target, seed):
    """How much each frame differs from the one before, whatever the model and the class."""
    found = torch.cat([clip[0, :1] * 0, clip[0].diff(dim=0).square()])
    return Explanation(found.sum((1, 2, 3)), found)


def dice(model, clip, target, seed):
    """Random numbers by the seed."""
    draw = torch.Generator().manual_seed(7 if seed is None else seed)
    found = torch.randn(clip.shape[1:], generator=draw, dtype=clip.dtype)
    return Explanation(found.sum((1, 2, 3)), found)


def by_place(frames=None, pixels=None):
    """A method that scores places, whatever they show."""

    def scored(model, clip, target, seed):
        return Explanation(
            None if frames is None else torch.tensor(frames),
            None if pixels is None else pixels[:, None].expand(clip.shape[1:]),
        )

    return scored


def pixel_sums(weights):
    """Sums over channels, as scores of pixels are made of them."""
    return weights.sum(-3).numpy()


def judged(rule, own, clip, target=0, seed=0):
    """A case of one of these methods."""

    def explain(shown, chosen, model=None, seed=None):
        return rule(own if model is None else model, shown, chosen, seed)

    return Case(own, clip, target, rule(own, clip, target, None), explain=explain, seed=seed)
