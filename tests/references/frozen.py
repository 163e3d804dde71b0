"""What each timestep contributes, by running the bare network again with its factors held.

The network runs once on the clip, and the factors that depend on the data are noted: attention
weights, standard deviations, gates. Then it runs again with all but one timestep's tokens taken out
of what is read, and with the factors that were noted.
"""

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Held(TorchFunctionMode):
    """Notes factors in the order of the calls, or, with notes, puts them in place."""

    def __init__(self, notes=None):
        super().__init__()
        self.notes = [] if notes is None else list(notes)
        self.replays = notes is not None

    def factor(self, value):
        if self.replays:
            return self.notes.pop(0)
        self.notes.append(value)
        return value

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        x = args[0] if args else kwargs.get("input")
        if func is functional.layer_norm:
            names = ("input", "normalized_shape", "weight", "bias", "eps")
            given = {**dict(zip(names, args, strict=False)), **kwargs}
            weight, bias, eps = given["weight"], given["bias"], given["eps"]
            scale = self.factor((x.var(-1, correction=0, keepdim=True) + eps) ** -0.5)
            return (x - x.mean(-1, keepdim=True)) * scale * weight + bias
        if func is functional.gelu:
            return x * self.factor(func(*args, **kwargs) / x)
        # The factors inside of gelu_fast and gelu_python, and the weights of attention.
        if func in (torch.tanh, torch.erf, functional.softmax, Tensor.softmax):
            return self.factor(func(*args, **kwargs))
        return func(*args, **kwargs)


def contributions(network, clip, part, keep, steps):
    """Logits without any timestep `(batch, classes)`, and what each adds `(batch, steps, classes)`.

    Args:
        network: From the clip to logits, with eager attention.
        clip: What the factors are noted on.
        part: The module whose output is read last before everything is mixed.
        keep: From that output and a timestep (None for none) to what is left of it.
        steps: How many there are.
    """
    with Held() as held:
        network(clip)

    def left(step):
        handle = part.register_forward_hook(lambda module, inputs, output: keep(output, step))
        try:
            with Held(held.notes):
                return network(clip)
        finally:
            handle.remove()

    rest = left(None)
    return rest, torch.stack([left(step) - rest for step in range(steps)], 1)
