"""Who reads whom: timesteps against frames."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from temporal_attr._errors import FrameLogitsError, OptionError
from temporal_attr.attributions import TemporalGradientResult
from temporal_attr.views._common import MUTED_COLOUR, Picture


def influence_map(result: TemporalGradientResult, *, example: int = 0) -> Figure:
    """The influence matrix: how strongly each timestep's logit reacts to each frame.

    Every row is divided by its largest entry, so that a timestep's reach can be seen whatever its
    size; the bars at the right give the size. A cell without colour is exactly zero.

    Args:
        result: Of `TemporalGradient.explain`, with its influence.
        example: Which one of the batch.

    Returns:
        A figure; it is neither shown nor saved.

    Raises:
        FrameLogitsError: If the result has no influence.
        OptionError: If there is no such example.
    """
    if result.influence is None:
        raise FrameLogitsError(
            "a result with its influence matrix", "one without", "Call explain(influence=True)."
        )
    if not 0 <= example < len(result.influence):
        raise OptionError(
            f"an example from 0 to {len(result.influence) - 1}",
            str(example),
            "The batch has no such clip.",
        )
    matrix = result.influence[example].detach().cpu().float().numpy()
    steps, frames = matrix.shape
    largest = matrix.max(1, keepdims=True)
    share = np.divide(matrix, largest, out=np.zeros_like(matrix), where=largest > 0)
    height = min(6.0, max(2.8, 0.32 * steps + 1.4))
    figure = Picture(figsize=(7.5, height), layout="constrained")
    axes, sizes = figure.subplots(1, 2, width_ratios=(5, 1))
    shown = np.ma.masked_equal(share, 0)
    image = axes.imshow(
        shown, cmap="viridis", vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    axes.set_xlabel(f"frame (0 to {frames - 1})")
    axes.set_ylabel("timestep")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_yticks(_ticks(steps))
    figure.colorbar(image, ax=axes, label="share of row maximum")
    sizes.barh(np.arange(steps), largest[:, 0], color=MUTED_COLOUR)
    sizes.set_ylim(steps - 0.5, -0.5)
    sizes.set_yticks([])
    sizes.set_xlabel("row maximum")
    sizes.set_xticks([0, float(largest.max())], ["0", f"{largest.max():.1e}"])
    sizes.spines[["top", "right"]].set_visible(False)
    target = int(result.target[example])
    figure.suptitle(f"Influence of each frame on class {target} at each timestep", fontsize=11)
    return figure


def _ticks(steps: int) -> list[int]:
    return list(range(0, steps, max(1, steps // 8)))
