"""Small image transformers, trained on planted videos, and how true an attribution of them is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from tqdm import tqdm
from train_zoo import TEST_SEED, accuracy, batches, values, videos
from transformer_peer_methods import Explain, Explained
from transformer_scores import average_precision

from temporal_attr.clips import Normalization, Preprocessing
from temporal_attr.models import LateFusion
from temporal_attr.synthetic import Appearance

Question: TypeAlias = tuple[Tensor, Tensor, np.ndarray, int]
"""A clip that the model gets right, its background, where the cue is, and its class."""

SIZE, PATCH, FRAMES = 48, 8, 4
"""Of the trained ones: height and width, of frames and of what is taken away; frames a clip."""
TRAINING, STEPS, BATCH, RATE = 1500, 500, 16, 2e-3
PER_STEP = 4
"""Patches that are taken away, or put back, at once."""


def relative(found: Explained, logit: float) -> tuple[float, float, float]:
    """The three, from what was found."""
    pixels = found.pixels.double()
    total = float(pixels.sum())
    missing = abs(logit - total - found.sinks) / abs(logit)
    return missing, total / logit, float(pixels.abs().sum()) / abs(logit)


def trained_model(seed: int) -> tuple[LateFusion, float]:
    """A small transformer per frame, and its accuracy on fresh videos."""
    task = Appearance(size=SIZE, frames=2)
    torch.manual_seed(seed)
    vit = VisionTransformer(
        img_size=SIZE, patch_size=PATCH, embed_dim=48, depth=4, num_heads=4, num_classes=4
    )
    normalization = Normalization((0.5,) * 3, (0.5,) * 3)
    model = LateFusion(vit, preprocessing=Preprocessing(normalization=normalization))
    frames, labels = videos(task, TRAINING, seed)
    optimiser = torch.optim.AdamW(vit.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS, pct_start=0.2)
    order = batches(len(labels), BATCH, seed)
    for _ in tqdm(range(STEPS), f"seed {seed}"):
        chosen = next(order)
        logits = vit.train()(values(model, frames[chosen]).flatten(0, 1))
        loss = F.cross_entropy(logits, labels[chosen].repeat_interleave(2))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vit.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    model.eval().requires_grad_(False)
    return model, accuracy(model, *videos(task, 300, TEST_SEED + seed))


def questions(model: LateFusion, seed: int, count: int) -> Iterator[Question]:
    """Clips that the model gets right, their background, where the cue is, and their class."""
    task = Appearance(size=SIZE)
    found = 0
    for index in itertools.count():
        video = task.sample(index, TEST_SEED + 31 + seed)
        whole = values(model, torch.from_numpy(video.frames).permute(0, 3, 1, 2)[None])
        step = whole.shape[1] // FRAMES
        clip = whole[:, ::step]
        with torch.no_grad():
            right = int(model(clip)[0].argmax()) == video.label
        if right:
            yield clip, whole.median(1, keepdim=True).values, video.region[::step], video.label
            found += 1
        if found == count:
            return


def area_between(
    model: LateFusion, clip: Tensor, background: Tensor, scores: Tensor, target: int
) -> float:
    """Area between the curves of the logit as patches come, and as they go, by their scores."""
    place = torch.argsort(torch.argsort(-scores.flatten(), stable=True))
    counts = torch.tensor([*range(0, len(place), PER_STEP), len(place)])[:, None]
    kept = torch.cat([place < counts, place >= counts]).unflatten(1, scores.shape)
    masks = kept.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)[:, :, None]
    with torch.no_grad():
        chunks = [model(torch.where(some, clip, background)) for some in masks.split(16)]
    come, go = torch.cat(chunks)[:, target].double().chunk(2)
    return float(torch.trapezoid(come - go, (counts[:, 0] / len(place)).double()))


def scored(explain: Explain, model: LateFusion, question: Question) -> list[float]:
    """The four measures of one clip."""
    clip, background, region, target = question
    found = explain(model, clip, target)
    signed = found.pixels.sum(1)
    patches = F.avg_pool2d(signed[:, None].double(), PATCH)[:, 0]
    with torch.no_grad():
        missing, _, sizes = relative(found, float(model(clip)[0, target]))
    between = area_between(model, clip, background, patches, target)
    return [between, average_precision(signed, region), sizes, missing]


def random_numbers(model: LateFusion, clip: Tensor, target: int) -> Explained:
    """Nothing of the model."""
    return Explained(torch.randn(clip[0].shape, generator=torch.Generator().manual_seed(0)))
