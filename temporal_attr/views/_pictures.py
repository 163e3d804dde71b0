"""All pictures of a result, by the names of their files."""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import TypeAlias

from matplotlib.figure import Figure

from temporal_attr._errors import OptionError
from temporal_attr.attributions import (
    AttentionResult,
    ContrastiveLRPTemporalResult,
    FrameMaskingTSRResult,
    PixelResult,
    Result,
    ScoreResult,
    ShuffleProbeResult,
    ShuffleSet,
    TemporalGradientResult,
)
from temporal_attr.clips import Clip
from temporal_attr.views._attention import attention_over_time
from temporal_attr.views._common import Sign, by_keyword
from temporal_attr.views._flow_saliency import flow_saliency
from temporal_attr.views._influence import influence_map
from temporal_attr.views._overlay import overlay_grid
from temporal_attr.views._relevance import relevance_heatmap
from temporal_attr.views._shuffle import flow_profile, ratio_distribution, shuffle_profile
from temporal_attr.views._shuffle_common import drop_measure
from temporal_attr.views._shuffle_sets import clip_overview, segment_timeline
from temporal_attr.views._strip import frame_strip
from temporal_attr.views._tsr import keyframe_strip

Pictures: TypeAlias = dict[str, Callable[[], Figure]]


@by_keyword
@singledispatch
def pictures(result: Result, clip: Clip) -> Pictures:
    """All pictures of a result of one clip, each drawn when it is called.

    For a result of your own, `pictures.register(MyResult)` takes a function that gives its
    pictures; one that derives from `ScoreResult` or `PixelResult` has those of frames, or pixels,
    without.

    Args:
        result: Of `explain`, of one clip.
        clip: The clip that was explained.

    Returns:
        By the name of a file, such as `frame_strip.png`, a function that draws the picture; the
        one that says most comes first.

    Raises:
        OptionError: If this is no result, or one without registered pictures.

    Example:
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.synthetic import Motion
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=8, widths=(4, 8))
        >>> clip = Motion(frames=4, size=16).sample(0).clip(model.preprocessing)
        >>> found = pictures(TemporalGradient(model).explain(clip.tensor, target=3), clip)
        >>> list(found)
        ['frame_strip.png', 'overlay_grid.png', 'influence_map.png']
        >>> found["frame_strip.png"]().get_suptitle()
        'TemporalGradient for class 3, frame by frame'
    """
    raise OptionError(
        "a result whose pictures are known",
        type(result).__name__,
        "Register a function: views.pictures.register(type(result))(lambda result, clip: {...}).",
    )


@pictures.register(ScoreResult)
def _of_scores(result: ScoreResult, clip: Clip) -> Pictures:
    return {"frame_strip.png": lambda: frame_strip(result, clip)}


@pictures.register(PixelResult)
def _of_pixels(result: PixelResult, clip: Clip) -> Pictures:
    # The number of a place can support or oppose; those of the channels of a pixel would cancel.
    opposes = result.same_in_channels and bool((result.attribution < 0).any())
    sign: Sign = "signed" if opposes else "absolute"
    return {
        "frame_strip.png": lambda: frame_strip(result, clip),
        "overlay_grid.png": lambda: overlay_grid(result, clip, sign=sign),
    }


@pictures.register(TemporalGradientResult)
def _of_gradient(result: TemporalGradientResult, clip: Clip) -> Pictures:
    found = _of_pixels(result, clip)
    if result.influence is not None:
        found["influence_map.png"] = lambda: influence_map(result)
    return found


@pictures.register(AttentionResult)
def _of_attention(result: AttentionResult, clip: Clip) -> Pictures:
    found = _of_pixels(result, clip)
    if result.temporal_attention is not None:
        found["attention_over_time.png"] = lambda: attention_over_time(result)
    return found


@pictures.register(ContrastiveLRPTemporalResult)
def _of_matrix(result: ContrastiveLRPTemporalResult, clip: Clip) -> Pictures:
    return {"relevance_heatmap.png": lambda: relevance_heatmap(result)}


@pictures.register(ShuffleProbeResult)
def _of_shuffles(result: ShuffleProbeResult, clip: Clip) -> Pictures:
    found: Pictures = {
        "shuffle_profile.png": lambda: shuffle_profile(result, clip),
        "ratio_distribution.png": lambda: ratio_distribution(result),
    }
    if result.flow is not None:
        found["flow_profile.png"] = lambda: flow_profile(result, clip)
    if result.segments is not None:
        segments = result.segments[0]
        found["segment_timeline.png"] = lambda: segment_timeline(segments, clip)
    return found


@pictures.register(FrameMaskingTSRResult)
def _of_rescaling(result: FrameMaskingTSRResult, clip: Clip) -> Pictures:
    found: Pictures = {
        "keyframe_strip.png": lambda: keyframe_strip(result, clip),
        "overlay_grid.png": lambda: overlay_grid(result, clip),
    }
    # Keyframes need what flow needs; and with a single flow there is nothing to compare it with.
    if result.keyframes is not None and len(clip.timestamps) > 2:
        found["flow_saliency.png"] = lambda: flow_saliency(result, clip)
    return found


@by_keyword
@singledispatch
def pictures_of_set(clips: object) -> Pictures:
    """All pictures of what several clips say together, each drawn when it is called.

    Args:
        clips: What a result's `gather` gives, such as a `ShuffleSet`.

    Returns:
        By the name of a file, a function that draws the picture.

    Raises:
        OptionError: If nothing is registered for such a set.

    Example:
        >>> import torch
        >>> from temporal_attr import ShuffleProbe, ShuffleSet
        >>> from temporal_attr.zoo import build_model
        >>> probe = ShuffleProbe(build_model("gru", classes=4, widths=(4, 8)), shuffles=4)
        >>> result = probe.explain(torch.rand(2, 4, 3, 32, 32), target=1)
        >>> list(pictures_of_set(ShuffleSet.of([result])))
        ['clips.png']
    """
    raise OptionError(
        "a set of clips whose pictures are known",
        type(clips).__name__,
        "Register a function: views.pictures_of_set.register(type(clips))(lambda clips: {...}).",
    )


@pictures_of_set.register(ShuffleSet)
def _of_clips(clips: ShuffleSet) -> Pictures:
    return {"clips.png": lambda: clip_overview(clips, drop_measure(clips.values))}
