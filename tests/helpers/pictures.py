"""Frames with a known content, and what is found in a figure."""

from io import BytesIO

import cv2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

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


def drawn(figure, dpi=100):
    """The pixels of a figure (height, width, 3), by matplotlib's own canvas."""
    before = figure.dpi
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_dpi(before)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def assert_a_notebook_shows(figure):
    """The picture that a notebook asks for is the figure, of its size in hundreds of pixels."""
    # The layout has settled once it was solved; before that it may move by a pixel.
    drawn(figure)
    shown = cv2.imdecode(np.frombuffer(figure._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    expected = drawn(figure)
    assert shown.shape[:2] == (
        round(100 * figure.get_figheight()),
        round(100 * figure.get_figwidth()),
    )
    # A layout that is solved again may end in other last digits, and those in the next shade.
    np.testing.assert_allclose(shown[..., ::-1].astype(int), expected, rtol=0, atol=2)
    assert figure.findobj(lambda part: part.get_visible() and hasattr(part, "get_xlim"))


def assert_file_shows(path, figure, dpi=120):
    """A file has in it what a figure of the same result draws, as the command line saves it."""
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    expected = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    found = cv2.imread(str(path))
    assert found.shape == expected.shape
    # Numbers that were written and read may differ in their last digits, and colours in a shade.
    np.testing.assert_allclose(found.astype(int), expected, rtol=0, atol=2)
