"""Codecs that keep more from frame to frame than pictures, or tell less than they should."""

import av
import numpy as np
import pytest

from temporal_attr.clips import VideoFile


@pytest.mark.parametrize("name", ["palette.avi", "palette.mov"])
def test_a_palette_that_comes_once_holds_for_frames_in_any_order(tmp_path, name):
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0], palette[:, 1], palette[:, 2] = 255, np.arange(256), 9  # opacity, red, green
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("rawvideo", 10)
        stream.height, stream.width, stream.pix_fmt = 16, 16, "pal8"
        for number in range(24):
            picture = np.full((16, 16), 10 * number, np.uint8)
            frame = av.VideoFrame.from_ndarray((picture, palette), format="pal8")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    for order in ([20], [9, 20, 3]):
        with VideoFile(tmp_path / name) as video:
            colours, _ = video.read(order, lambda pixels: pixels.amax((2, 3))[0].tolist())
            assert colours == [[10 * number, 9, 0] for number in order]
            assert video.notes == ()
