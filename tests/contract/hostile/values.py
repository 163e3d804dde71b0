"""Valid values that the table of calls is made of: small, and made once."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from temporal_attr import Clip, LateFusion, models
from temporal_attr.clips import write_video
from temporal_attr.evaluation import Example, Suite, WindowAccuracy
from temporal_attr.measures import average_by_class
from temporal_attr.synthetic import Motion
from temporal_attr.zoo import build_model
from tests.results import made

TIME, CLASSES, STEPS = 4, 3, 4


@cache
def folder():
    """A folder of this process for what calls write."""
    kept = tempfile.TemporaryDirectory(prefix="hostile-")
    _KEPT.append(kept)
    return Path(kept.name)


_KEPT = []


def drawn(*shape):
    """Numbers in [0, 1), the same each time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape)))


def frames_of_bytes(count=5, side=16):
    """Frames as a decoder gives them."""
    return list(np.random.default_rng(0).integers(0, 255, (count, side, side, 3), np.uint8))


def certain(clips):
    """A model that says the same of all clips."""
    return torch.tensor([[1.0, 0.0, 0.0]]).expand(len(clips), 3)


@cache
def suite():
    """A comparison that can be asked for."""
    clips = [Example(clip()[:1], 1, name="one"), Example(clip()[:1] / 2, 1, name="other")]
    metrics = ["gini-frames", "deletion-frames"]
    methods = ["random", "centre", "motion-energy"]
    return Suite(model(), methods, clips, metrics, only_correct=False)


@cache
def comparison():
    """One that was made."""
    return suite().run(show_progress=False)


@cache
def video():
    """A video of 20 frames of 16 x 16 pixels."""
    return write_video(frames_of_bytes(20), folder() / "video.webm", 10.0)


@cache
def images():
    """A folder of three pictures."""
    where = folder() / "images"
    where.mkdir()
    for number, frame in enumerate(frames_of_bytes(3)):
        Image.fromarray(frame).save(where / f"{number}.png")
    return where


@cache
def model():
    """A framewise model of clips of any size."""
    return build_model("late-fusion", classes=CLASSES, widths=(4, 8))


@cache
def trial():
    """A model and clips; None of an earlier state, which has no such record."""
    kind = getattr(models, "Trial", None)
    return None if kind is None else kind(model(), (clip(),))


@cache
def stepped():
    """A model whose timesteps are linear, and which is not framewise."""
    return build_model("tam2d", classes=CLASSES, widths=(4, 8))


@cache
def attending():
    """A framewise model with attention between frames."""
    sizes = {"widths": (4, 8), "features": 8, "heads": 2, "depth": 1}
    return build_model("temporal-transformer", classes=CLASSES, frames=TIME, **sizes)


@cache
def encoder():
    """An encoder of frames."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 5)).eval()


@cache
def late():
    """Late fusion whose classifier is part of the encoder."""
    return LateFusion(encoder()).eval()


class Volume(nn.Module):
    """A network of volumes, as Conv3D wraps it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, x):
        """Logits."""
        return self.fc(self.pool(self.stem(x)).flatten(1))


@cache
def volume():
    """A network of volumes."""
    return Volume().eval()


@cache
def clip():
    """Two clips."""
    return drawn(2, TIME, 3, 16, 16)


@cache
def single():
    """One clip, with its times."""
    return Clip.from_tensor(drawn(1, TIME, 3, 16, 16), fps=4.0)


@cache
def results():
    """A result of every kind."""
    return {name: made.made(name) for name in made.EXPLAIN}


@cache
def shown():
    """The clip that the results explain."""
    return made.one_clip()


@cache
def planted():
    """A planted video."""
    return Motion(frames=4, size=16).sample(0)


@cache
def curve():
    """An accuracy by window."""
    return WindowAccuracy((1, 2, 4), (0.5, 0.7, 0.8), full=0.8, videos=100)


@cache
def averages():
    """Mean matrices by class."""
    return average_by_class(drawn(3, 4, 4), torch.tensor([0, 1, 1]), drawn(3) * 0 + 0.9)
