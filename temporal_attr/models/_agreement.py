"""Does a wrapper compute what the network itself does?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ClipError, ModelError
from temporal_attr._typing import ClipTensor
from temporal_attr.clips import check_finite, check_layout
from temporal_attr.models._base import VideoModel, check_logits
from temporal_attr.models._logits import refused_by_a_layer
from temporal_attr.models.trials._evaluation_mode import require_evaluation_mode
from temporal_attr.models.trials._fits import check_fits
from temporal_attr.models.trials._trials import tolerance


@torch.no_grad()
def check_wrapper(wrapper: VideoModel, network: Callable[[Tensor], Any], clip: ClipTensor) -> float:
    """Compare a wrapper with the network that it was built from.

    A wrapper that is built from parts can be another model without a word: `FrameRecurrent` reads
    out the last frame unless told otherwise, where the network may average all. Both are run on the
    clip and on its frames in reverse, and so is `frame_logits`, where its weighted sum should be
    the logits: six forward passes.

    Args:
        wrapper: The wrapper.
        network: The network itself as a function of canonical clips, such as
            `lambda clip: network(clip.transpose(1, 2))` for one that takes time after the channels.
        clip: `(batch, time, channel, height, width)`, of at least two frames that differ: on
            others, a mean and the last frame are the same. A real clip tells more than noise.

    Returns:
        The largest difference between their logits, in logits.

    Raises:
        ModelError: If it is more than half of the digits of the largest logit (3e-4 of it in
            float32); wrapper and network may differ in the order of sums, which takes the last
            digits. Also if either is in training mode.
        ClipError: If the clip's frames are all alike.

    Example:
        >>> encoder = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
        >>> lstm, linear = torch.nn.LSTM(12, 6, batch_first=True), torch.nn.Linear(6, 5)
        >>> def network(clip):
        ...     outputs, _ = lstm(encoder(clip.flatten(0, 1)).unflatten(0, clip.shape[:2]))
        ...     return linear(outputs.mean(1))
        >>> from temporal_attr import FrameRecurrent
        >>> clip = torch.rand(2, 8, 3, 16, 16)
        >>> check_wrapper(FrameRecurrent(encoder, lstm, linear, "mean"), network, clip) < 1e-5
        True
        >>> check_wrapper(FrameRecurrent(encoder, lstm, linear), network, clip)
        Traceback (most recent call last):
        ...
        temporal_attr._errors.ModelError: expected the logits of the network from FrameRecurrent...
    """
    if not isinstance(wrapper, VideoModel):
        raise ModelError("a VideoModel", type(wrapper).__name__, "Give the wrapper first.")
    check_layout(clip, wrapper.channels)
    check_finite(clip)
    check_fits(wrapper, clip)
    require_evaluation_mode(wrapper)
    require_evaluation_mode(network)
    if bool((clip == clip[:, :1]).all()):
        raise ClipError(
            "a clip whose frames differ",
            "one frame" if clip.shape[1] == 1 else f"{clip.shape[1]} frames that are alike",
            "Take a clip in which something moves: on others, all readouts over time are the same.",
        )
    largest = 0.0
    for shown in (clip, clip.flip(1)):
        expected = check_logits(_run(network, shown), len(clip))
        found = wrapper(shown.clone())
        _require_same(wrapper, "", found, expected)
        largest = max(largest, (found - expected).abs().max().item())
        if wrapper.exactness != "none":
            summed = wrapper.frame_logits(shown.clone()).clip_logits()
            _require_same(wrapper, "frame_logits of ", summed, expected)
    return largest


def _run(network: Callable[[Tensor], Any], clip: Tensor) -> Any:  # noqa: ANN401
    """What the network gives for a canonical clip."""
    try:
        return network(clip.clone())
    except (RuntimeError, ValueError) as error:
        if not refused_by_a_layer(error):
            raise
        raise ModelError(
            "a network, or a function, of clips (batch, time, channel, height, width)",
            f"{type(error).__name__} inside it ({error})",
            "Pass a function such as lambda clip: network(clip.transpose(1, 2)); wrap(wrapper, "
            "like=network, clip=clip) finds out what a network takes.",
        ) from error


def _require_same(wrapper: VideoModel, part: str, found: Tensor, expected: Tensor) -> None:
    name = f"{part}{type(wrapper).__name__}"
    if found.shape != expected.shape:
        raise ModelError(
            f"the logits of the network from {name}, {tuple(expected.shape)}",
            f"{tuple(found.shape)}",
            "Give the wrapper the network's own classifier.",
        )
    apart, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    # Written so that a difference that is NaN is refused too.
    if not apart <= tolerance(expected) * largest:
        raise ModelError(
            f"the logits of the network from {name}",
            f"logits that are up to {apart:.3g} apart, where the largest is {largest:.3g}",
            "Look at what the network does between its encoder and its output: the readout over "
            "time (last, mean), a layer left out, preprocessing inside, hooks.",
        )
