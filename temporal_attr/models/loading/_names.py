"""The names that training scripts give to weights, and those that a module has for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

INNER = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, sharding and checkpointing put before the names of the module that they hold,
a part or the whole; no module of anybody's own is called so."""

PARALLEL = "module"
"""What DataParallel and its like call the module that they hold, a part or the whole."""


@dataclass(frozen=True)
class Fit:
    """Weights by the names that some module may have for them.

    Attributes:
        module: The model, or the one that a wrapper holds.
        state: The weights, renamed.
        removed: What was removed from their names.
        left_out: Names of the file that are none of the module's weights.
    """

    module: nn.Module
    state: dict[str, Tensor]
    removed: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def shared(self) -> int:
        """How many names the two have in common."""
        return len(self.module.state_dict().keys() & self.state.keys())

    @property
    def is_exact(self) -> bool:
        """Whether names and shapes are those of the module."""
        return not any(self.misnamed()) and not self.missized()

    def misnamed(self) -> tuple[set[str], set[str]]:
        """Names of the module that are missing, and names that it does not have."""
        expected = self.module.state_dict()
        # Batch norms of old checkpoints do not count their batches, which PyTorch forgives.
        counters = {name for name in expected if name.endswith("num_batches_tracked")}
        missing = expected.keys() - self.state.keys() - counters
        return missing, self.state.keys() - expected.keys()

    def missized(self) -> list[str]:
        """What of the weights is of another shape than the module has it."""
        return [
            f"size mismatch for {name}: {tuple(self.state[name].shape)} in place of "
            f"{tuple(own.shape)}"
            for name, own in self.module.state_dict().items()
            if isinstance(own, Tensor)
            and name in self.state
            and self.state[name].shape != own.shape
        ]

    def says(self) -> list[str]:
        """What was done to the names, one phrase each."""
        said = [f"{text!r} was removed from the names" for text in self.removed]
        if self.left_out:
            first = ", ".join([*self.left_out[:3], *["..."][: len(self.left_out) > 3]])
            said.append(f"{len(self.left_out)} of other names left out ({first})")
        return said


def renamed(module: nn.Module, state: dict[str, Tensor]) -> Iterator[Fit]:
    """The weights as they are named, and with what containers put before the names removed.

    That is what `INNER` has, wherever it stands; then any part of a name that all names begin with,
    one after another, with and without `PARALLEL` further inside.
    """
    removed: tuple[str, ...] = ()
    yield Fit(module, state)
    for text in INNER:
        plain = {name.replace(text, ""): weight for name, weight in state.items()}
        if plain.keys() != state.keys() and len(plain) == len(state):
            state, removed = plain, (*removed, text)
            yield Fit(module, state, removed)
    while True:
        plain = {_without_parallel(name): weight for name, weight in state.items()}
        if plain.keys() != state.keys() and len(plain) == len(state):
            yield Fit(module, plain, (*removed, f"{PARALLEL}."))
        if not (prefix := _common_part(state)):
            return
        state = {name.removeprefix(prefix): weight for name, weight in state.items()}
        removed = (*removed, prefix)
        yield Fit(module, state, removed)


def selected(module: nn.Module, state: dict[str, Tensor]) -> list[Fit]:
    """The weights that are a module's by a prefix which not all names of a file begin with.

    A training script keeps more beside them: an average of the weights, those of the loss, a
    counter. Each prefix is one whose names, without it, are those of the module, and all of them.

    Example:
        >>> weight = Tensor(2, 2)
        >>> state = {"net.weight": weight, "loss.weight": Tensor(5)}
        >>> (fit,) = selected(nn.Linear(2, 2, bias=False), state)
        >>> fit.removed, fit.left_out
        (('net.',), ('loss.weight',))
    """
    plain = {name: _without_inner(name) for name in state}
    first = next(iter(module.state_dict()), None)
    if first is None:
        return []
    prefixes = {name.removesuffix(first) for name in plain.values() if name.endswith(f".{first}")}
    fits = [_behind(module, state, plain, prefix) for prefix in sorted(prefixes)]
    return [fit for fit in fits if fit.is_exact]


def _behind(module: nn.Module, state: dict[str, Tensor], plain: dict[str, str], prefix: str) -> Fit:
    inside = {
        plain[name].removeprefix(prefix): weight
        for name, weight in state.items()
        if plain[name].startswith(prefix)
    }
    others = tuple(name for name in state if not plain[name].startswith(prefix))
    inner = tuple(text for text in INNER if any(text in name for name in state))
    return Fit(module, inside, (*inner, prefix), others)


def _without_inner(name: str) -> str:
    for text in INNER:
        name = name.replace(text, "")
    return name


def _without_parallel(name: str) -> str:
    # Not the first part, which goes only if all names begin with it.
    first, *rest = name.split(".")
    return ".".join([first, *(part for part in rest if part != PARALLEL)])


def _common_part(state: dict[str, Tensor]) -> str:
    """What all names begin with up to their first dot, or nothing."""
    parts = {name.partition(".")[::2] for name in state}
    first = {part for part, _ in parts}
    return f"{first.pop()}." if len(first) == 1 and all(rest for _, rest in parts) else ""
