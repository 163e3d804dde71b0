"""Masks on planted clips of a trained network: learned, or drawn; by time_interpret and REVEX."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from method_peers_of_removal import Revex, planted_scores
from planted_models import MODELS, SEED, trained
from torch import Tensor
from transformer_rows import cell, clip_mean
from transformer_scores import average_precision
from tsr_methods import planted

from temporal_attr import RISE, ExtremalPerturbation, TemporalGradient, VideoLIME
from temporal_attr.gradients import ObjectiveName
from temporal_attr.measures import bootstrap
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import FeatureMask, Supervoxels

FAMILY, CLIPS, EPOCHS = "3D ResNet", 10, 100
SAMPLES = 3 * EPOCHS
RATES = (1e-3, 0.1)
"""The default of time_interpret, and one with which masks move from 0.5 in so many epochs."""

Mask: TypeAlias = Callable[[VideoModel, Tensor, int], Tensor]
"""From a model, a clip and a class to scores `(time, height, width)`."""


def trainer() -> Any:  # noqa: ANN401 - of a library that need not be there
    """Without files and bars."""
    return import_module("pytorch_lightning").Trainer(
        max_epochs=EPOCHS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def of_pixels(found: Tensor, clip: Tensor) -> Tensor:
    """The sum over channels."""
    return found.detach().reshape(clip.shape)[0].sum(1)


def extremal_mask(rate: float) -> Mask:
    """time_interpret's ExtremalMask, which keeps the output and as little of the clip as it can."""

    def scores(model: VideoModel, clip: Tensor, target: int) -> Tensor:
        net = import_module("tint.attr.models").ExtremalMaskNet(model, lr=rate)
        method = import_module("tint.attr").ExtremalMask(model)
        found = method.attribute(clip, target=target, trainer=trainer(), mask_net=net)
        return of_pixels(found, clip)

    return scores


def dyna_mask(rate: float) -> Mask:
    """time_interpret's DynaMask, of which half of the values are to be kept; it takes no class."""

    def scores(model: VideoModel, clip: Tensor, target: int) -> Tensor:
        def own(flat: Tensor) -> Tensor:
            logits: Tensor = model(flat.unflatten(2, clip.shape[2:]))
            return logits[:, target, None]

        net = import_module("tint.attr.models").MaskNet(own, optim="adam", lr=rate)
        method = import_module("tint.attr").DynaMask(own)
        found = method.attribute(clip.flatten(2), trainer=trainer(), mask_net=net)
        return of_pixels(found[0] if isinstance(found, tuple) else found, clip)

    return scores


def rise(objective: ObjectiveName) -> Mask:
    """As many forward passes as the others' forward and backward passes are worth."""

    def scores(model: VideoModel, clip: Tensor, target: int) -> Tensor:
        method = RISE(model, SAMPLES, baselines=0.0, objective=objective)
        return of_pixels(method.explain(clip, target).attribution, clip)

    return scores


def lime(feature_mask: FeatureMask) -> Mask:
    """As many, of the probability."""

    def scores(model: VideoModel, clip: Tensor, target: int) -> Tensor:
        method = VideoLIME(model, feature_mask, SAMPLES, 0.0, objective="probability")
        return of_pixels(method.explain(clip, target).attribution, clip)

    return scores


def learned(model: VideoModel, clip: Tensor, target: int) -> Tensor:
    """As many gradient steps as the peers', at most."""
    method = ExtremalPerturbation(model, baselines=0.0, max_iterations=EPOCHS)
    return of_pixels(method.explain(clip, target).attribution, clip)


def gradient(model: VideoModel, clip: Tensor, target: int) -> Tensor:
    """The norm over channels."""
    found = TemporalGradient(model).explain(clip, target, influence=False)
    norms: Tensor = found.attribution[0].norm(dim=1)
    return norms


def masks(revex: Revex | None) -> dict[str, Mask]:
    """What is compared."""
    found: dict[str, Mask] = {"TemporalGradient": gradient, "ExtremalPerturbation": learned}
    found[f"RISE, {SAMPLES} masks"] = rise("logit")
    found[f"RISE, {SAMPLES} masks, of the probability"] = rise("probability")
    found[f"VideoLIME, {SAMPLES} masks of 200 supervoxels"] = lime(Supervoxels(200))
    if revex is not None:
        found |= planted_scores(revex, SAMPLES)
    if find_spec("tint") is None:
        return found
    for rate in RATES:
        found[f"time_interpret ExtremalMask, rate {rate:g}"] = extremal_mask(rate)
    for rate in RATES:
        found[f"time_interpret DynaMask, rate {rate:g}"] = dyna_mask(rate)
    return found


def planted_masks(revex: Revex | None) -> Iterator[str]:
    """The table; of peers that are there."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    model, card = trained(MODELS[FAMILY])
    clips = list(planted(MODELS[FAMILY], model, SEED, CLIPS))
    yield (
        f"The {FAMILY} of `benchmarks/methods_on_planted.py` ({card.accuracy:.1%} right), {CLIPS} "
        f"clips, {EPOCHS} epochs: forward and backward passes, so {SAMPLES} evaluations. "
        "Average precision of the frames (sums over pixels) and pixels that show the cue, with "
        "95 % intervals over clips; seconds of a clip, the process's.\n"
    )
    yield "| method | seconds | AP of frames | AP of pixels |"
    yield "|---|---|---|---|"
    for name, mask in masks(revex).items():
        frames, pixels, seconds = [], [], []
        for video, clip in clips:
            begin = time.process_time()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scores = mask(model, clip, video.label)
            seconds.append(time.process_time() - begin)
            frames.append(average_precision(scores.sum((1, 2)), video.deciding_frames))
            pixels.append(average_precision(scores, video.region))
        both = (cell(bootstrap(np.array(own), clip_mean)) for own in (frames, pixels))
        yield f"| {name} | {np.median(seconds):.2g} | {' | '.join(both)} |"
