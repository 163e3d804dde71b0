"""Options of methods: read from their signatures, shown in the help, and handed over as values."""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytest
import torch
from captum.attr import PerturbationAttribution
from safetensors.torch import load_file
from torch import Tensor

from temporal_attr import attributions, synthetic
from temporal_attr._errors import OptionError
from temporal_attr._run import started
from temporal_attr.attributions import METHODS, PixelResult, Traits, VideoMethod
from temporal_attr.attributions._traits import CLIP_AXES
from temporal_attr.cli import main
from temporal_attr.cli._docs import argument_texts
from temporal_attr.cli._options import SUPPLIED, options_of, values_of
from temporal_attr.cli._values import kind_of
from temporal_attr.clips import BlockShuffle, FullShuffle, LocalShuffle, Reversal, Shuffling
from temporal_attr.perturbations import (
    Blocks,
    FeatureMask,
    Pixels,
    Superpixels,
    Supervoxels,
)

NOT_WRITABLE = {"composite"}
"""Parameters that no text can give: they are for Python."""

MODEL = "--model=tests.helpers.factories:small_recurrent"


@dataclass(frozen=True, eq=False)
class BrightnessResult(PixelResult):
    """What `Brightness` found.

    Attributes:
        said: The options that it was given.
    """

    said: str = ""

    @property
    def meaning(self):
        return "how bright the pixel is"

    @property
    def frame_meaning(self):
        return "how bright the frame is"

    def _details(self, example):
        return [f"given {self.said}"]


class Brightness(VideoMethod, PerturbationAttribution):
    """The pixels themselves, which no model has to be asked for.

    Args:
        model: Is not asked.
        power: To which the pixels are raised; 100 % of
            them, each by `itself`.
        scale: "linear" or "log" :cite:p:`nobody`.
        start: Called like an option of the command line.
        weights: What no text can say.
        seed: Of nothing.
    """

    name = "Brightness"
    traits = Traits(
        slug="brightness",
        question="How bright is it?",
        gives="pixels",
        axes=CLIP_AXES,
        sign="signed",
        unit="input values",
        needs=(),
        cost="nothing",
        source="",
        random=True,
    )

    def __init__(
        self,
        model: Callable[..., Any],
        power: float = 1.0,
        scale: Literal["linear", "log"] = "linear",
        weights: Mapping[str, float] | None = None,
        seed: int = 7,
    ):
        super().__init__(model)
        if scale not in ("linear", "log"):
            raise OptionError('scale to be "linear" or "log"', repr(scale), "Choose one.")
        self.options = {"power": power, "scale": scale, "weights": weights, "seed": seed}

    def attribute(self, inputs, target=None, additional_forward_args=None):
        return inputs.detach() ** self.options["power"]

    def explain(
        self,
        inputs: Any,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        per_channel: bool = False,
    ):
        """The pixels.

        Args:
            inputs: The clip.
            target: Any.
            additional_forward_args: None.
            per_channel: Keep the colours, as `explain(per_channel=True)` does.
        """
        with started() as run, torch.no_grad():
            logits = self.model(inputs)
        attribution = self.attribute(inputs)
        return BrightnessResult(
            logits=logits,
            target=torch.tensor([target]),
            run=run.finished(inputs.shape[1]),
            attribution=attribution,
            frame_scores=attribution.flatten(2).mean(2),
            said=json.dumps({**self.options, "per_channel": per_channel}),
        )


@pytest.fixture
def toy(monkeypatch):
    """A method that stands in the registry, and nowhere else."""
    monkeypatch.setattr(attributions, "METHODS", (*METHODS, Brightness))


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A planted video."""
    path = tmp_path_factory.mktemp("video") / "0.webm"
    synthetic.Mixed(frames=8, size=48).sample(0).write(path)
    return path


def help_of(capsys, *options):
    with pytest.raises(SystemExit) as caught:
        main(["explain", *options, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


def in_words(text):
    """On one line, and words that were broken at a hyphen whole again."""
    return re.sub(r"-\s+(?=\w)", "-", " ".join(text.split()))


@pytest.mark.usefixtures("toy")
def test_a_method_in_the_registry_is_at_the_command_line(video, tmp_path, capsys):
    arguments = ["explain", str(video), MODEL, "--frames=4", "--target=1", "--method=brightness"]
    options = ["--power=2", "--scale=log", "--per-channel", "--seed=3", f"--out={tmp_path}"]
    assert main([*arguments, *options]) == 0
    said = capsys.readouterr().out
    given = {"power": 2.0, "scale": "log", "weights": None, "seed": 3, "per_channel": True}
    assert f"given {json.dumps(given)}" in said
    tensors = load_file(tmp_path / "tensors.safetensors")
    clip = load_file(tmp_path / "clip.safetensors")["clip"]
    assert torch.equal(tensors["attribution"], clip**2)
    for picture in ("frame_strip.png", "overlay_grid.png", "overlay.webm"):
        assert (tmp_path / picture).stat().st_size > 1000
    assert main([*arguments, "--scale=cubic", f"--out={tmp_path}"]) == 2
    assert 'expected scale to be "linear" or "log", got' in capsys.readouterr().err
    assert main([*arguments, "--sigma=0.5", f"--out={tmp_path}"]) == 2
    assert (
        "expected options of brightness: --per-channel, --power, --scale, got --sigma. Leave it out"
        in capsys.readouterr().err
    )
    assert main([*arguments, "--power=two", f"--out={tmp_path}"]) == 2
    assert "expected --power to be a number, got two. Try 0.5." in capsys.readouterr().err


@pytest.mark.usefixtures("toy")
def test_a_method_in_the_registry_is_in_the_help(capsys):
    said = in_words(help_of(capsys, "--method=brightness"))
    assert "brightness: How bright is it?" in said
    assert (
        "options of brightness: --per-channel, --no-per-channel Keep the colours, as "
        "--per-channel does. (default: no) --power NUMBER To which the pixels are raised; 100 % of "
        'them, each by itself. (default: 1.0) --scale linear|log "linear" or "log". '
        "(default: linear)"
    ) in said
    assert "--sigma" not in said
    said = in_words(help_of(capsys))
    assert "--power NUMBER brightness: To which the pixels are raised" in said
    assert "--sigma NUMBER contrastive-lrp-temporal: The share" in said


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("method", [one for one in METHODS if one.traits.takes_methods])
def test_a_method_in_the_registry_can_be_the_base_of_others(method, video, tmp_path, capsys):
    slug = method.traits.slug
    arguments = ["explain", str(video), MODEL, "--frames=4", f"--out={tmp_path}"]
    assert main([*arguments, f"--method={slug}", "--base=brightness"]) == 0
    assert "Brightness" in (tmp_path / "result.json").read_text()
    assert "brightness" in in_words(help_of(capsys, f"--method={slug}"))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.traits.slug)
def test_the_help_has_every_option_of_a_method_once(method, capsys):
    slug = method.traits.slug
    said = help_of(capsys, f"--method={slug}")
    assert in_words(f"{slug}: {method.traits.question}") in in_words(said)
    _, own = said.split(f"options of {slug}:")[:2] if options_of(method) else (said, "")
    found = re.findall(r"^  (--[\w-]+)", own, re.MULTILINE)
    assert found == [option.flag for option in options_of(method).values()]
    everything = help_of(capsys)
    for option in options_of(method).values():
        assert len(re.findall(rf"^  {option.flag}\b(?!-)", everything, re.MULTILINE)) == 1
        assert option.text, f"{option.name} is not in the docstring"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.traits.slug)
def test_every_parameter_is_an_option_or_known_not_to_be(method):
    _, *constructor = inspect.signature(method).parameters
    explain = [
        one.name
        for one in inspect.signature(method.explain).parameters.values()
        if one.kind is one.KEYWORD_ONLY
    ]
    left = {*constructor, *explain} - options_of(method).keys()
    assert left <= NOT_WRITABLE | set(SUPPLIED)


def test_options_of_one_name_are_written_alike():
    written = {}
    for method in METHODS:
        for option in options_of(method).values():
            written.setdefault(option.name, set()).add(option.kind.switch)
    assert all(len(ways) == 1 for ways in written.values()), written


WRITTEN = {
    "whole number": (int, "3", 3),
    "number": (float, "3", 3.0),
    "number or none": (float | None, "1e-3", 1e-3),
    "name": (Literal["a", "b"], "b", "b"),
    "a name that the method refuses": (Literal["a", "b"], "c", "c"),
    "name or function": (Literal["a"] | Callable[[Tensor], Tensor], "a", "a"),
    "number or name": (float | int | Literal["mean"] | Tensor, "0.5", 0.5),
    "name or number": (float | int | Literal["mean"] | Tensor, "mean", "mean"),
    "numbers": (Sequence[int], "0,3", (0, 3)),
    "full": (Shuffling | None, "full", FullShuffle()),
    "reversal": (Shuffling | None, "reversal", Reversal()),
    "block": (Shuffling | None, "block:4", BlockShuffle(4)),
    "local": (Shuffling | None, "local:2", LocalShuffle(2)),
    "pixels": (FeatureMask | Tensor | None, "pixels", Pixels()),
    "square blocks": (FeatureMask | Tensor | None, "blocks:16", Blocks(16, 16)),
    "oblong blocks": (FeatureMask | Tensor | None, "blocks:16x8", Blocks(16, 8)),
    "superpixels": (FeatureMask | Tensor | None, "superpixels", Superpixels(100)),
    "50 superpixels": (FeatureMask | Tensor | None, "superpixels:50", Superpixels(50)),
    "50 supervoxels": (FeatureMask | Tensor | None, "supervoxels:50", Supervoxels(50)),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_text_becomes_what_the_type_asks_for(case):
    annotation, text, expected = WRITTEN[case]
    found = kind_of(annotation).read(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "3.5"),
        (int, ""),
        (float, "x"),
        (int | None, "none"),
        (Sequence[int], "0;3"),
        (Shuffling, "block"),
        (Shuffling, "block:"),
        (Shuffling, "block:-1"),
        (Shuffling, "block:2x2"),
        (Shuffling, "full:2"),
        (Shuffling, "pixels"),
        (FeatureMask, "blocks:2x3x4"),
        (FeatureMask, "blocks:axb"),
        (FeatureMask, "block:4"),
        (FeatureMask, "pixels:2"),
    ],
)
def test_text_that_is_of_another_type_is_refused(annotation, text):
    with pytest.raises(ValueError, match=".*") as caught:
        kind_of(annotation).read(text)
    assert type(caught.value) is ValueError


def test_none_can_be_written_where_it_is_not_the_default():
    annotation = Literal["farneback", "dis"] | None
    assert kind_of(annotation, "farneback").read("none") is None
    assert kind_of(annotation, "farneback").forms == ("none", "farneback", "dis")
    assert kind_of(annotation, None).forms == ("farneback", "dis")


@pytest.mark.parametrize("annotation", [Tensor, Mapping[str, Any], object, Any, Tensor | None])
def test_what_no_text_can_give_is_no_option(annotation):
    assert kind_of(annotation) is None


def test_docstrings_become_plain_text():
    text = """Do it.

    Args:
        one: The share :math:`x_t` of `two`, see :cite:t:`fan2022`; with
            `explain(segments=True)`.

            And more.
        two: None.

    Costs: nothing.

    Args: are above.
    """
    assert argument_texts(text) == {
        "one": "The share x_t of two, see; with --segments. And more.",
        "two": "None.",
    }
    assert argument_texts(None) == argument_texts("Nothing.") == {}


def by_slug(slug):
    (method,) = (one for one in METHODS if one.traits.slug == slug)
    return method


def test_what_an_option_says_of_others():
    tsr, probe = by_slug("frame-masking-tsr"), by_slug("shuffle-probe")
    assert values_of(tsr, {})["constructor"] == {}
    found = values_of(tsr, {"feature_mask": "blocks:4"})["constructor"]
    assert found == {"feature_mask": Blocks(4, 4), "steps": "two"}
    found = values_of(tsr, {"feature_mask": "blocks:4", "steps": "one"})["constructor"]
    assert found["steps"] == "one"
    assert values_of(probe, {"segment": "6"})["explain"] == {"segments": True}
    assert values_of(probe, {"segment": "6", "segments": False})["explain"] == {"segments": False}
    assert values_of(probe, {"shuffling": "reversal"})["constructor"]["shuffles"] == 1
    assert "shuffles" not in values_of(probe, {"shuffling": "block:2"})["constructor"]
    assert values_of(probe, {"base": "saliency"})["base"] == {"base": "saliency"}


def test_the_seed_reaches_what_draws():
    from temporal_attr.cli._methods import Chosen
    from temporal_attr.clips import Clip

    model, clip = torch.nn.Identity().eval(), Clip.from_tensor(torch.rand(1, 4, 3, 8, 8))
    for slug, constructor, expected in (
        ("integrated-gradients", {"baselines": "shuffled"}, 3),
        ("integrated-gradients", {"baselines": "frozen"}, 0),
        ("expected-gradients", {}, 3),
    ):
        made = Chosen(by_slug(slug), seed=3, constructor=constructor)._made(model, clip)
        assert made.seed == expected
    nested = Chosen(by_slug("selective-relevance"), seed=3, base="expected-gradients")
    assert nested._made(model, clip).method.seed == 3
