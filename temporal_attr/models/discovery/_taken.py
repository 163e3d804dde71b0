"""What came of trying in which layout a network takes clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from temporal_attr._errors import ClipError, UnsupportedModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.models._outputs import logits_of

CANONICAL = "batch time channel height width"
CHANNELS_FIRST = "batch channel time height width"
FOLDED = "(batch time) channel height width"
STACKED = "batch (time channel) height width"
CHANNELS_LAST = "batch time height width channel"
LAYOUTS = (CANONICAL, CHANNELS_FIRST, FOLDED, STACKED, CHANNELS_LAST)
"""What networks take, as einops patterns; the first of two that give the same is taken."""


@dataclass(frozen=True)
class LayoutTrial:
    """What came of clips in one layout.

    Attributes:
        layout: An einops pattern over `batch time channel height width`.
        size: `(clips, frames, channels, height, width)` that were tried.
        listed: Whether they were handed over in a list, as the one pathway of several.
        keyword: The name of the argument that they were given as; None if they came first.
        shape: Of the logits; None if there were none.
        error: What the network said instead, or what its output is.
        state: Names of the parameters and buffers that it writes to with each pass.
        calls: How many of PyTorch's functions gave a tensor before the first pass ended.
    """

    layout: str
    size: tuple[int, ...]
    listed: bool = False
    keyword: str | None = None
    shape: tuple[int, ...] | None = None
    error: str = ""
    state: tuple[str, ...] = ()
    calls: int = 0

    @property
    def taken(self) -> bool:
        """Whether the network gave logits of clips in this layout."""
        return self.shape is not None

    @property
    def of_timesteps(self) -> bool:
        """Whether there is a row of logits for each timestep of each clip."""
        return self.shape is not None and len(self.shape) == 3

    @property
    def of_frames(self) -> bool:
        """Whether there is a row of logits for each frame, and not for each clip."""
        clips, frames = self.size[:2]
        return self.shape is not None and self.shape[0] == clips * frames

    def arrange(self, clip: ClipTensor) -> Tensor | list[Tensor]:
        """A canonical clip in this layout, in a list where the network takes one."""
        arranged: Tensor = rearrange(clip, f"{CANONICAL} -> {self.layout}")
        return [arranged] if self.listed else arranged

    def run(self, network: nn.Module, clip: ClipTensor) -> Tensor:
        """The logits in what a network gives for a canonical clip in this layout."""
        return logits_of(self.call(network, self.arrange(clip)))

    def call(self, network: nn.Module, given: Tensor | list[Tensor]) -> Any:  # noqa: ANN401
        """What a network gives for a clip that is in this layout."""
        return network(given) if self.keyword is None else network(**{self.keyword: given})

    def line(self) -> str:
        """The trial as a line of text."""
        place = f"[{self.layout}]" if self.listed else self.layout
        if self.shape is None:
            return f"{place}: {self.error}"
        what = "a row for each frame" if self.of_frames else "a row for each clip"
        what = "a row for each timestep" if self.of_timesteps else what
        return f"{place}: takes it, and gives {self.shape}, {what}"


@dataclass(frozen=True)
class TakenLayouts:
    """What a network takes, as far as trying tells.

    Attributes:
        network: The name of its class.
        needs: Arguments that it needs beside the clip; nothing was tried then.
        trials: What came of each layout, on the first clips of a size of which it takes any, or
            else on the first ones.
        alike: Whether the layouts that it takes all give the same output, which differs between
            clips: then they are one function of the clip.
        asked: `(batch, time, channel, height, width)` of the clip that was given, if one was.
    """

    network: str
    needs: tuple[str, ...] = ()
    trials: tuple[LayoutTrial, ...] = ()
    alike: bool = False
    asked: tuple[int, ...] = ()

    @property
    def taken(self) -> tuple[LayoutTrial, ...]:
        """The trials in which the network gave logits."""
        return tuple(trial for trial in self.trials if trial.taken)

    @property
    def furthest(self) -> tuple[LayoutTrial, ...]:
        """The trials in which most of the network ran: more than half as much as in any."""
        most = max((trial.calls for trial in self.trials), default=0)
        # Some put an axis in, or take one out, before they refuse the rest.
        return tuple(trial for trial in self.trials if 2 * trial.calls > most or not most)

    @property
    def known(self) -> LayoutTrial | None:
        """The one layout that the network takes; None if there is none, or more than one."""
        taken = self.taken
        return taken[0] if len(taken) == 1 or (taken and self.alike) else None

    def require(self) -> LayoutTrial:
        """The one layout that the network takes.

        Raises:
            ClipError: If it takes clips of another size than the one that was given.
            UnsupportedModelError: If there is none, or it is not known which; with what was tried,
                what is open, and what to write.
        """
        if self.taken and self.other_size:
            raise ClipError(
                f"{self.other_size}, as {self.network} takes",
                _size_text(self.asked, self.trials[0].size),
                "Load the clip so.",
            )
        if self.known is not None:
            return self.known
        got, remedy = self._open()
        raise UnsupportedModelError(
            f"{self.network} to take clips in one layout",
            got,
            f"What was tried:\n{self.describe()}\n{remedy}",
        )

    @property
    def other_size(self) -> str:
        """The size of clips that it takes, if it is not that of the clip that was given."""
        size = self.trials[0].size if self.taken else ()
        # Its three frames may have been made four, to tell time from channels.
        told_apart = self.asked[1:3] == (3, 3) and size[1] == 4
        if not self.asked or not size or told_apart:
            return ""
        return _size_text(size, self.asked) if size[1:] != self.asked[1:] else ""

    def describe(self) -> str:
        """What was tried and what came of it, a line each."""
        if self.needs:
            return f"  forward needs {', '.join(self.needs)} beside the clip; nothing was tried"
        if not self.trials:
            return "  nothing was tried"
        clips, frames, channels, height, width = self.trials[0].size
        of = f"{clips} clips of {frames} frames of {channels} x {height} x {width}"
        lines = [f"  tried on {of}", *(f"    {trial.line()}" for trial in self.trials)]
        if self.alike and len(self.taken) > 1:
            lines.append("    all of these are the same function of a clip")
        lines += [f"  each pass changes {text}" for text in dict.fromkeys(_states(self.taken))]
        return "\n".join(lines)

    def _open(self) -> tuple[str, str]:
        """What is not known, and what to do about it."""
        if self.needs:
            names = ", ".join(self.needs)
            return "an argument more", (
                f"Give the method a function of the clip, such as lambda clip: network(clip, "
                f"{names}), or pass them as additional_forward_args."
            )
        if self.taken:
            return f"{len(self.taken)} that it takes, with other outputs", (
                f'Say which it was trained with: wrap(network, layout="{self.taken[0].layout}").'
            )
        packed = [trial for trial in self.trials if trial.error.startswith(_GIVES)]
        if packed:
            return f"one that is taken, {packed[0].layout}, which {packed[0].error}", (
                "Say which are the logits: LayerTimesteps(network, layer, output=lambda output: "
                "output['name']) keeps timesteps; ReducedOutput(network, lambda output: ...) has "
                "none; where there is one number for each clip, it is output[:, None]."
            )
        most = [trial.layout for trial in self.furthest]
        got = "none that it takes"
        if len(most) == 1:
            got += f" ({most[0]} came furthest, so it may be the size of the clip)"
        return got, (
            "Try it on a clip of the size that it was trained with; or write a function of "
            "canonical clips (batch, time, channel, height, width) that gives its logits."
        )


_GIVES = "gives "
"""How the error of a trial begins in which the network ran, and gave no logits."""


def _states(trials: tuple[LayoutTrial, ...]) -> Iterator[str]:
    for trial in trials:
        yield from trial.state


def _size_text(size: tuple[int, ...], other: tuple[int, ...]) -> str:
    """Frames and pixels of a clip, of these what another has otherwise.

    Example:
        >>> _size_text((1, 8, 3, 32, 32), (1, 12, 3, 32, 32))
        '8 frames'
    """
    frames = f"{size[1]} frames"
    pixels = f"{size[3]} x {size[4]} pixels"
    if size[3:] == other[3:]:
        return frames
    return pixels if size[1] == other[1] else f"{frames} of {pixels}"
