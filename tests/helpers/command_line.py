"""What the command line left in a folder."""

import json

import torch
from safetensors.torch import load_file

from temporal_attr import load_clip, load_result
from tests.helpers.pictures import assert_file_shows


def explained_in(folder, video, preprocessing):
    """The result in a folder, and the clip that it is of, read again from the video."""
    indices = json.loads((folder / "explained.json").read_text())["clip"]["indices"]
    clip = load_clip(video, indices=indices, preprocessing=preprocessing)
    assert torch.equal(clip.tensor, load_file(folder / "clip.safetensors")["clip"])
    return load_result(folder), clip


def assert_pictures_of(folder, video, model, **views):
    """The pictures in a folder are what these views draw of the result that is beside them."""
    result, clip = explained_in(folder, video, model.preprocessing)
    for name, view in views.items():
        assert_file_shows(folder / f"{name}.png", view(result, clip))
