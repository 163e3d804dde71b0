"""What a result says was explained, in every method, of models made of others."""

import pytest
import torch
from torch import nn

import temporal_attr as ta
from temporal_attr import Clip, views
from temporal_attr.clips import IDENTITY, Preprocessing
from temporal_attr.relevance import Box, Composite
from tests.helpers.checks import assert_near
from tests.helpers.families import CLASSES, family

# Checks of shapes in every small function take as long as the functions; the contract has them.
pytestmark = pytest.mark.usefixtures("as_user")

WIDE = Composite(input=Box(low=-9.0, high=9.0))
METHODS = {
    "gradient": ta.TemporalGradient,
    "lrp": lambda model: ta.LRP(model, WIDE),
    "rows": lambda model: ta.ContrastiveLRPTemporal(model, WIDE, contrastive=False),
    "shuffles": lambda model: ta.ShuffleProbe(model, shuffles=3, normalization=IDENTITY),
    "masks": lambda model: ta.FrameMaskingTSR(model, normalization=IDENTITY),
}
KINDS = {
    "rather_than": (lambda base: ta.rather_than(base, "two"), "one rather than two (1)"),
    "at_timestep": (lambda base: ta.at_timestep(base, -2), "one at timestep 4 (1)"),
    "linear_outputs": (
        lambda base: ta.linear_outputs(base, torch.ones(2, CLASSES), ["up", "down"]),
        "down (1)",
    ),
    "similarity_to": (
        lambda base: ta.similarity_to(base, torch.eye(CLASSES)[:2]),
        "similarity to reference 1 (1)",
    ),
    "layer_features": (lambda base: ta.layer_features(base, "encoder.2"), None),
}


@pytest.fixture
def base():
    base, _ = family("gru_mean").build()
    base.class_names = ("zero", "one", "two", "three", "four")
    base.preprocessing = Preprocessing(normalization=IDENTITY)
    return base.double()


@pytest.fixture
def clip():
    return torch.rand(1, 6, 3, 16, 16, generator=torch.Generator().manual_seed(7)).double()


# Every kind in one method, and one kind in every method.
PAIRS = [*(("gradient", kind) for kind in KINDS), *((one, "rather_than") for one in METHODS)]


@pytest.mark.parametrize(("method", "kind"), sorted(set(PAIRS)))
def test_text_tables_files_and_pictures_name_it(method, kind, base, clip, tmp_path):
    build, label = KINDS[kind]
    label = label or "channel 1 of encoder.2 (1)"
    result = METHODS[method](build(base)).explain(clip, target=1)
    assert result.class_label() == label
    assert f"target {label}" in result.summary()
    assert label in repr(result)
    assert set(result.to_dataframe().class_name) == {label.removesuffix(" (1)")}
    loaded = ta.load_result(result.save(tmp_path / "result"))
    assert loaded.class_label() == label
    shown = Clip.from_tensor(clip.float(), fps=5.0)
    figure = next(iter(views.pictures(result, shown).values()))()
    texts = [text.get_text() for text in figure.findobj(lambda one: hasattr(one, "get_text"))]
    assert any(label in " ".join(text.split()) for text in texts)


@pytest.mark.parametrize("method", METHODS)
def test_one_output_and_several_labels(method, base, clip):
    """A binary classifier, a regression, and labels of which several may be right."""
    base.class_names = ()
    one = ta.linear_outputs(base, torch.eye(CLASSES)[:1], activation="sigmoid")
    result = METHODS[method](one).explain(clip)
    assert result.target.tolist() == [0]
    assert_near(result.probabilities, base(clip)[:, :1].sigmoid().detach())
    amount = ta.linear_outputs(base, torch.eye(CLASSES)[:1], ["pulse"])
    said = METHODS[method](amount).explain(clip).summary()
    assert "target pulse (0), output" in said
    assert "probability" not in said.replace("no probabilities", "")
    base.activation = "sigmoid"
    result = METHODS[method](ta.at_timestep(base, 2)).explain(clip, target=3)
    expected = base.frame_logits(clip).logits[:, 2].sigmoid().detach()
    assert_near(result.probabilities, expected)


def with_class_token():
    layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
    transformer = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    encoder = nn.Sequential(nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten())
    model = ta.FrameTransformer(
        encoder, transformer, nn.Linear(6, CLASSES), "first", torch.randn(7, 6), torch.randn(6)
    )
    return model.double().eval()


@pytest.mark.parametrize("kind", ["rather_than", "similarity_to", "at_timestep"])
def test_what_belongs_to_no_timestep_goes_along(kind, clip):
    base = with_class_token()
    steps = base.frame_logits(clip)
    base.class_names = ("zero", "one", "two", "three", "four")
    model = KINDS[kind][0](base)
    found = model.frame_logits(clip)
    assert model.exactness == "frozen"
    assert_near(found.clip_logits(), model(clip), 1e-10)
    maps = {
        "rather_than": lambda logits: logits - logits[..., 2:3],
        "similarity_to": lambda logits: logits[..., :2] / base(clip).norm(),
        "at_timestep": lambda logits: logits,
    }
    assert steps.rest.abs().max() > 1e-3
    assert_near(found.rest, maps[kind](steps.rest), 1e-10)
    assert_near(found.logits, maps[kind](steps.logits), 1e-10)
    # The first thing that the encoder does with pixels is to pool them.
    plain = Composite(input=None)
    matrix = ta.ContrastiveLRPTemporal(model, plain, contrastive=False).explain(clip, target=1)
    whole = ta.LRP(model, plain).explain(clip, target=1)
    assert matrix.row_error.abs().max() < 1e-5
    assert whole.lost.abs().max() < 1e-5
