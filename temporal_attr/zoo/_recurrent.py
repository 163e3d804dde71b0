"""Frame encoders with a memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from temporal_attr._errors import OptionError
from temporal_attr._require import require_size
from temporal_attr.models import FrameRecurrent
from temporal_attr.zoo._base import Ensemble, preprocessing, require_classes, require_ensemble
from temporal_attr.zoo._residual import WIDTHS, FrameEncoder

Memory: TypeAlias = tuple[tuple[Tensor, ...], tuple[Tensor, ...], tuple[Tensor, Tensor] | None]


class InputCellAttention(nn.Module):
    """An LSTM whose cell reads, at every step, an attention over all inputs so far.

    Input-cell attention :cite:p:`ismail2019`: at step t, `A = softmax(W2 tanh(W1 X^T))` over the
    inputs `X` up to t, `reads` rows of it, and the cell's input is the matrix `A X` laid out flat
    (section 4). The last step reads early inputs as directly as late ones, so their gradient does
    not fade relative to those; all of them share one attention, which thins with the clip's length.

    A step for `FrameRecurrent`: `(features, memory) -> (output, memory)`.

    Args:
        features: Length of an input.
        hidden: Units of the LSTM.
        reads: Rows of the attention.
        attention: Units of the attention's hidden layer.

    Example:
        >>> step = InputCellAttention(features=6, hidden=4)
        >>> output, memory = step(torch.rand(2, 6), None)
        >>> output, memory = step(torch.rand(2, 6), memory)
        >>> tuple(output.shape)
        (2, 4)
    """

    def __init__(self, features: int, hidden: int, reads: int = 4, attention: int = 32) -> None:
        super().__init__()
        require_size("features", features, 1)
        require_size("hidden", hidden, 1)
        require_size("reads", reads, 1)
        require_size("attention", attention, 1)
        self.score = nn.Sequential(
            nn.Linear(features, attention, bias=False),
            nn.Tanh(),
            nn.Linear(attention, reads, bias=False),
        )
        self.cell = nn.LSTMCell(reads * features, hidden)

    def forward(
        self, features: Float[Tensor, "batch feature"], memory: Memory | None
    ) -> tuple[Float[Tensor, "batch hidden"], Memory]:
        """The output after one more input, and what to remember."""
        seen, scored, state = ((), (), None) if memory is None else memory
        seen, scored = (*seen, features), (*scored, self.score(features))
        attention = torch.stack(scored, 1).softmax(1)
        read = torch.einsum("btr,btd->brd", attention, torch.stack(seen, 1))
        state = self.cell(read.flatten(1), state)
        return state[0], (seen, scored, state)


CELLS: dict[str, Callable[..., nn.Module]] = {
    "lstm": partial(nn.LSTM, batch_first=True),
    "gru": partial(nn.GRU, batch_first=True),
    "input-cell-attention": InputCellAttention,
}


def recurrent(
    classes: int,
    cell: str = "lstm",
    hidden: int = 64,
    widths: Sequence[int] = WIDTHS,
    blocks: int = 1,
    grid: int = 3,
    ensemble: Ensemble = 1,
    size: int | None = None,
    cell_options: Mapping[str, Any] | None = None,
) -> FrameRecurrent:
    """A residual network on each frame, and a recurrent one over its features.

    A timestep reads the frames up to its own.

    Args:
        classes: Number of classes.
        cell: `"lstm"`, `"gru"`, or `"input-cell-attention"` (an LSTM; see `InputCellAttention`).
        hidden: Units of the recurrent network, and length of a frame's feature.
        widths: Channels of each stage of the encoder.
        blocks: Residual blocks a stage.
        grid: See `FrameEncoder`.
        ensemble: `"all"`, or how many timesteps at the end of the clip are averaged, since those
            have read most.
        size: Height and width that clips are resized to; None for any.
        cell_options: More options of `nn.LSTM`, `nn.GRU` (such as `num_layers`) or
            `InputCellAttention`.

    Example:
        >>> model = recurrent(classes=5, cell="gru", widths=(4, 8)).eval()
        >>> tuple(model.frame_logits(torch.rand(2, 8, 3, 32, 32)).logits.shape)
        (2, 8, 5)
    """
    require_classes(classes)
    require_ensemble(ensemble)
    require_size("hidden", hidden, 1)
    encoder = FrameEncoder(widths=widths, blocks=blocks, grid=grid)
    frame = nn.Sequential(encoder, nn.Linear(encoder.features, hidden))
    if cell not in CELLS:
        names = ", ".join(f'"{name}"' for name in CELLS)
        raise OptionError(f"cell to be one of {names}", repr(cell), "Choose one of them.")
    memory = CELLS[cell](hidden, hidden, **(cell_options or {}))
    classifier = nn.Linear(hidden, classes)
    readout: Literal["mean"] | int = "mean" if ensemble == "all" else ensemble
    return FrameRecurrent(frame, memory, classifier, readout, preprocessing(size))
