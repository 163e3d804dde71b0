"""Frames with a known content, and what is found in a figure."""

import cv2
import numpy as np
import torch

from temporal_attr import Clip


def texture(height=32, width=32, seed=0):
    """Smooth random bytes that use the whole range."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(height, width)), (0, 0), 2)
    return cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).round().astype(np.uint8)


def clip_of_frames(frames):
    """A clip tensor of frames of bytes (time, height, width[, 3])."""
    frames = np.stack(list(frames))
    frames = frames[..., None] if frames.ndim == 3 else frames
    return torch.from_numpy(frames).permute(0, 3, 1, 2)[None].float() / 255


def random_clip(frames=8, fps=4.0, side=16):
    """One clip of random colours, with the times of its frames."""
    return Clip.from_tensor(torch.rand(1, frames, 3, side, side), fps=fps)


def legend_of(figure):
    """The texts of all legends of a figure."""
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]
