"""How networks of two pathways are built: where their last maps end, and what reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from temporal_attr._activation import Activation
from temporal_attr._errors import OptionError, UnsupportedModelError
from temporal_attr.models.layers._copies import ModuleCopies


@dataclass(frozen=True)
class SlowFastBuild:
    """What of a network of two pathways is where, by path.

    Attributes:
        after: The modules after the last maps, which the first of these is given as a list.
        pools: Those over the slow and the fast map.
        classifier: The linear layer over features of the slow, then of the fast pathway.
        ending: What comes after it, if anything.
        laterals: How the names of modules end that lead from the fast to the slow pathway.
    """

    after: tuple[str, ...]
    pools: tuple[str, str]
    classifier: str
    ending: str
    laterals: str

    @classmethod
    def of(cls, network: nn.Module) -> SlowFastBuild | None:
        """The build of a network, told from its parts; None if it is no such network."""
        blocks = getattr(network, "blocks", None)
        if isinstance(blocks, nn.ModuleList) and len(blocks) > 2:
            last, head = (f"blocks.{len(blocks) - back}" for back in (2, 1))
            build = cls(
                (last, head),
                (f"{last}.pool.0", f"{last}.pool.1"),
                f"{head}.proj",
                f"{head}.activation",
                "multipathway_fusion",
            )
        else:
            pools = ("head.pathway0_avgpool", "head.pathway1_avgpool")
            build = cls(("head",), pools, "head.projection", "head.act", "_fuse")
        wanted = (*build.after, *build.pools, build.classifier)
        # Of a third pathway, as with sound.
        third = build.pools[0].replace("pool.0", "pool.2").replace("way0", "way2")
        fits = all(_at(network, path) is not None for path in wanted)
        return build if fits and _at(network, third) is None else None

    def maps(self, network: nn.Module, pathways: list[Tensor]) -> list[Tensor]:
        """The last maps of both pathways, from a fresh list of their clips."""
        found: list[Tensor] = ModuleCopies(
            network, {path: nn.Identity() for path in self.after}
        ).root(pathways)
        return found

    def parts(self, network: nn.Module) -> tuple[tuple[nn.Module, nn.Module], nn.Linear]:
        """The poolings and the classifier.

        Raises:
            UnsupportedModelError: If there is more to the head than that.
        """
        classifier, head = _at(network, self.classifier), _at(network, self.after[-1])
        whole = getattr(head, "pool", None) is None and getattr(head, "output_pool", True)
        if not isinstance(classifier, nn.Linear) or whole is None:
            raise UnsupportedModelError(
                "a head that is a linear layer and a mean over what is left of time and space",
                f"{type(head).__name__} with {classifier}",
                "Subclass VideoModel for this head.",
            )
        slow, fast = (network.get_submodule(path) for path in self.pools)
        return (slow, fast), classifier

    def left_out(self, network: nn.Module) -> Activation | None:
        """What the ending, which the wrapper leaves out, turns logits into.

        Raises:
            UnsupportedModelError: If it is neither a softmax nor a sigmoid.
        """
        ending = _at(network, self.ending)
        if ending is None or isinstance(ending, nn.Identity):
            return None
        if not isinstance(ending, (nn.Softmax, nn.Sigmoid)):
            raise UnsupportedModelError(
                "a head that ends in a linear layer, a softmax or a sigmoid",
                f"one with {ending} after it",
                "Subclass VideoModel for this head.",
            )
        return "softmax" if isinstance(ending, nn.Softmax) else "sigmoid"

    def alpha(self, network: nn.Module, given: int | None) -> int:
        """The stride of the lateral convolutions, which is alpha as it was given, if it was.

        Raises:
            OptionError: If it contradicts what was given, or there is none of both.
            UnsupportedModelError: If there are several.
        """
        found = {
            part.stride[0]
            for name, lateral in network.named_modules()
            if name.endswith(self.laterals)
            for part in lateral.modules()
            if isinstance(part, nn.Conv3d)
        }
        if len(found) > 1:
            raise UnsupportedModelError(
                "lateral convolutions of one temporal stride",
                f"strides {', '.join(map(str, sorted(found)))}",
                "Subclass VideoModel for such pathways.",
            )
        if not found and given is None:
            raise OptionError(
                "alpha, the fast frames for each slow one",
                "None, and no lateral convolution that tells it",
                "Pass alpha=4 if that is what the network was trained with.",
            )
        if given is not None and found and given not in found:
            raise OptionError(
                f"alpha={found.pop()}, the stride of the lateral convolutions",
                f"{given}",
                "Leave alpha out.",
            )
        return int(found.pop() if given is None else given)


def _at(network: nn.Module, path: str) -> Any:  # noqa: ANN401 - a module of another library
    """What a network has at a path; None if there is nothing."""
    found: Any = network
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


__all__ = ["SlowFastBuild"]
