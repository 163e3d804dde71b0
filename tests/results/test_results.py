"""What a result says of itself: labels, short and long text, JSON, a notebook's picture."""

import base64
import json
import re
import subprocess
import sys
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import pytest
import torch
import torchvision

from temporal_attr import ModelError, OptionError, TemporalGradient, views, wrap
from temporal_attr.attributions import PixelResult, Result, Stored, _notebook, register_painter
from temporal_attr.models import load_model
from temporal_attr.zoo import load_pretrained, pretrained_card
from tests.results.made import EXPLAIN, NAMES, clip_of, made, model_of
from tests.results.test_storage import environment, own


@pytest.fixture(scope="module")
def results():
    return {name: made(name) for name in EXPLAIN}


def names_of(record):
    return [one.name for one in fields(record)]


# What classes are called.


@pytest.mark.parametrize("name", ["gradient", "lrp", "contrastive"])
def test_class_names_go_from_the_model_to_the_result(results, name):
    result = results[name]
    assert result.class_names == NAMES
    labels = [result.class_label(example) for example in range(2)]
    assert labels == [f"{NAMES[number]} ({number})" for number in result.target.tolist()]
    assert result.class_label() == labels[0]
    unnamed = replace(result, class_names=())
    assert unnamed.class_label(1) == f"class {result.target[1]}"
    for example in (-1, 2):
        with pytest.raises(OptionError, match="example a whole number from 0 to 1"):
            result.class_label(example)


def test_a_summary_names_the_classes(results):
    result = results["lrp"]
    logits = torch.tensor([[0.0, 2.0, 1.0, 0.0], [0.0, 1.0, 0.0, 3.0]])
    lines = replace(result, logits=logits).summary().splitlines()
    heads = [line for line in lines if line.startswith("clip")]
    share = logits.softmax(1)[:, 1:].tolist()
    assert heads == [
        f"clip 0: target running (1), logit 2.000, probability {share[0][0]:.1%}; the top class",
        f"clip 1: target running (1), logit 1.000, probability {share[1][0]:.1%}; "
        f"the top class is sitting (3), with {share[1][2]:.1%}",
    ]
    lines = replace(result, logits=logits, class_names=()).summary().splitlines()
    assert lines[0].startswith("LRP: ")
    assert [line.split(",")[0] for line in lines if line.startswith("clip")] == [
        "clip 0: target 1",
        "clip 1: target 1",
    ]


def test_shares_of_relevance_that_cancels_are_of_its_magnitudes(results):
    # Their sum is 0.001, of which the first would be 500,000 %.
    scores = torch.tensor([[5.0, -4.999, 0, 0, 0, 0], [1.0, 1, 2, 0, 0, 0]])
    lines = replace(results["lrp"], frame_scores=scores).summary().splitlines()
    shares = [line.split(": ")[1] for line in lines if "frames with most relevance" in line]
    assert shares == ["0 (50%), 1 (-50%), 2 (0%)", "2 (50%), 0 (25%), 1 (25%)"]
    # Exactly nothing is left of it, and there are shares all the same.
    none = replace(results["lrp"], frame_scores=torch.tensor([[1.0, -1, 0, 0, 0, 0]] * 2))
    assert none.summary().count("0 (50%), 1 (-50%), 2 (0%)") == 2


@pytest.mark.parametrize("count", [1, 3, 5])
def test_as_many_names_as_classes(count):
    model = model_of(names=("a",) * count)
    with pytest.raises(ModelError, match=f"each of the model's 4 classes, got {count} class names"):
        TemporalGradient(model).explain(clip_of(), 1)


def test_names_may_be_a_list():
    model = model_of(names=list(NAMES))
    assert TemporalGradient(model).explain(clip_of(), 1).class_names == NAMES


@pytest.mark.usefixtures("as_user")
def test_wrap_takes_names():
    network = torchvision.models.video.mc3_18(num_classes=3).eval()
    assert wrap(network).class_names == ()
    assert wrap(network, class_names=["a", "b", "b"]).class_names == ("a", "b", "b")
    assert wrap(torchvision.models.resnet18(), None, ["x"]).class_names == ("x",)
    for names in ("abc", ["a", 1]):
        with pytest.raises(OptionError, match="class_names as a list of text, a name for each cl"):
            wrap(network, class_names=names)
    wrapper = wrap(network)
    assert wrap(wrapper) is wrapper
    with pytest.raises(OptionError, match="yet to be wrapped, got a Conv3D. Set its own"):
        wrap(wrapper, class_names=["a", "b", "c"])


def test_a_model_by_name_takes_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("walk\n\n run \n", "utf-8")
    for names in (path, ["walk", "run"]):
        model = load_model("torchvision:resnet18", class_names=names)
        assert model.class_names == ("walk", "run")
        assert model(torch.rand(1, 2, 3, 32, 32)).shape == (1, 2)
    assert load_model("torchvision:resnet18", classes=2, class_names=path).class_names[1] == "run"
    with pytest.raises(OptionError, match="a name for each of 3 classes, got 2"):
        load_model("torchvision:resnet18", classes=3, class_names=path)
    with pytest.raises(OptionError, match="a text file of class names at"):
        load_model("torchvision:resnet18", class_names=tmp_path / "none.txt")
    factory = "tests.helpers.factories:small_recurrent"
    assert load_model(factory).class_names == ()
    assert load_model(factory, class_names=NAMES).class_names == NAMES


def test_a_trained_model_has_the_names_of_its_card():
    name = "mixed-motion-inflated-resnet"
    assert load_pretrained(name).class_names == pretrained_card(name).class_names != ()


# Text.


@pytest.mark.parametrize("name", EXPLAIN)
def test_the_short_text_is_one_line(results, name):
    text = repr(results[name])
    assert "\n" not in text
    assert len(text) < 200
    assert text.startswith(f"{type(results[name]).__name__}(")
    assert "tensor(" not in text


def test_the_short_text_says_what_is_there(results):
    assert repr(results["gradient"]) == (
        "TemporalGradientResult(attribution (2, 6, 3, 32, 32); frame_scores (2, 6); "
        "influence (2, 6, 6); 2 more tensors; target running (1), jumping (2); path whole)"
    )
    many = replace(
        own(),
        **{name: getattr(own(), name)[:1].repeat(5, *[1] * (getattr(own(), name).ndim - 1))
           for name in ("logits", "attribution", "frame_scores")},
        target=torch.tensor([3, 1, 0, 2, 0]), class_names=(),
    )  # fmt: skip
    assert repr(many).endswith("; target class 0, class 1, class 2, more; path whole)")
    assert repr(results["shuffle_set"]).startswith("ShuffleSet(2 clips; mean ")
    assert "ShuffleSet(" in repr(results["shuffles_of_segments"].segments)


def test_a_text_of_ones_own_stays():
    @dataclass(frozen=True, eq=False)
    class Loud(PixelResult):
        def __repr__(self):
            return "LOUD"

    @dataclass(frozen=True, eq=False)
    class Louder(Loud):
        more: int = 0

    result = own()
    values = {name: getattr(result, name) for name in names_of(PixelResult)}
    assert repr(Loud(**values)) == repr(Louder(**values)) == "LOUD"


# JSON.


@pytest.mark.parametrize("name", EXPLAIN)
def test_a_dict_is_strict_json_of_plain_python(results, name):
    found = results[name].to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == set(names_of(results[name]))


def test_a_dict_describes_what_is_as_large_as_the_clip(results):
    found = results["rescaled"].to_dict()
    result = results["rescaled"]
    for name in ("attribution", "base"):
        norm = torch.linalg.vector_norm(getattr(result, name).double()).item()
        assert found[name] == {"shape": [2, 6, 3, 32, 32], "norm": norm}
    assert found["frame_scores"] == result.frame_scores.tolist()
    assert found["run"]["path"] == result.run.path
    assert found["class_names"] == list(result.class_names)


# Notebooks.


def picture_in(text):
    """The picture of a notebook's HTML."""
    (data,) = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="[^"]+"', text)
    pixels = np.frombuffer(base64.b64decode(data, validate=True), np.uint8)
    return cv2.imdecode(pixels, cv2.IMREAD_COLOR)


@pytest.mark.parametrize("name", EXPLAIN)
def test_a_notebook_shows_the_picture_above_the_summary(results, name):
    result = results[name]
    text = result._repr_html_()
    shown = picture_in(text)
    figure = views.glance(result)
    expected = cv2.imdecode(np.frombuffer(figure._repr_png_(), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(shown, expected)
    assert text.index("<img") < text.index("<pre>")
    assert result.summary().splitlines()[0].replace("'", "&#x27;") in text


def test_what_is_shown_cannot_be_more_than_text(results):
    named = replace(results["lrp"], class_names=('"><script>', "<b>", "&", "'"))
    text = named._repr_html_()
    assert "<script>" not in text
    assert "&lt;b&gt; (1)" in text
    assert picture_in(text).shape[2] == 3


def test_without_pictures_a_notebook_shows_the_text():
    code = (
        "import sys, torch\n"
        "from temporal_attr.attributions import LRP\n"
        "from temporal_attr.zoo import build_model\n"
        "model = build_model('gru', 4, widths=(4, 8))\n"
        "result = LRP(model).explain(torch.rand(1, 2, 3, 16, 16), 1)\n"
        "assert 'temporal_attr.views' not in sys.modules\n"
        "text = result._repr_html_()\n"
        "assert text.startswith('<pre>') and '<img' not in text, text\n"
        "import temporal_attr as ta\n"
        "assert ta.LRP is LRP  # the names at the top bring the pictures\n"
        "assert '<img' in result._repr_html_()\n"
    )
    subprocess.run([sys.executable, "-c", code], env=environment(), check=True)


def test_one_can_draw_a_result_of_ones_own(results, monkeypatch):
    monkeypatch.setattr(_notebook, "_painters", list(_notebook._painters))

    @dataclass(frozen=True, eq=False)
    class Plain(Stored):
        number: int

        def summary(self):
            return f"number {self.number}"

    assert Plain(1)._repr_html_() == "<pre>number 1</pre>"
    with pytest.raises(OptionError, match="a result with a picture, got Plain. Register"):
        views.glance(Plain(1))
    png = cv2.imencode(".png", np.zeros((3, 5, 3), np.uint8))[1].tobytes()
    register_painter(lambda result: png if isinstance(result, Plain) else None)
    assert picture_in(Plain(1)._repr_html_()).shape == (3, 5, 3)
    # The rest is drawn as before.
    assert picture_in(results["lrp"]._repr_html_()).shape[1] == 600


def test_a_result_must_say_what_it_found():
    silent = PixelResult(**{name: getattr(own(), name) for name in names_of(PixelResult)})
    with pytest.raises(NotImplementedError, match="PixelResult must say what it found"):
        silent.summary()
    with pytest.raises(NotImplementedError, match="Stored must say what it holds"):
        Stored().summary()
    assert issubclass(Result, Stored)
