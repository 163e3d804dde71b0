"""What turns a model's outputs into probabilities: found out or stated, and carried everywhere."""

import json
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from temporal_attr import (
    LRP,
    ContrastiveLRPTemporal,
    FrameMaskingTSR,
    LateFusion,
    ModelError,
    OptionError,
    ShuffleProbe,
    ShuffleSet,
    TemporalGradient,
    load_result,
    views,
    wrap,
)
from temporal_attr._activation import (
    activation_note,
    log_probabilities,
    predicted,
    probabilities,
    require_activation,
    resolved_activation,
)
from temporal_attr.cli import main
from temporal_attr.clips import IDENTITY, BlockShuffle
from temporal_attr.gradients import OBJECTIVES, resolve_objective
from temporal_attr.models import load_model
from temporal_attr.relevance import Composite
from temporal_attr.synthetic import Motion
from temporal_attr.zoo import build_model

FRAMES = 6
CLIP = torch.rand(2, FRAMES, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def steps_up(clip):
    """Of frames that grow brighter one by one 1, and of other orders less, down to -1."""
    return clip.mean((2, 3, 4)).diff(dim=1).tanh().mul(50).tanh().mean(1, keepdim=True)


RAMP = torch.linspace(0.1, 0.9, FRAMES)[None, :, None, None, None].expand(1, -1, 3, 16, 16)


def falls(clip):
    """One output: +20 in order, and -20 where one frame or more stands elsewhere."""
    return 20 * (100 * (steps_up(clip) - 0.97)).tanh()


class Scores(nn.Module):
    """Linear in the mean colour over the clip, and then something."""

    def __init__(self, classes, after=None):
        super().__init__()
        random = torch.Generator().manual_seed(classes)
        self.weight = nn.Parameter(torch.randn(3, classes, generator=random))
        self.after = after or nn.Identity()
        self.eval()

    def forward(self, clip):
        return self.after(clip.mean((1, 3, 4)) @ self.weight)


def words(text):
    return set(re.findall(r"\w+", text))


def explained(model, objective="logit", target=0, clip=CLIP, **options):
    method = TemporalGradient(model, objective, **options)
    return method.explain(clip, target=target, influence=False)


# What is found out.


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[3.0]], "sigmoid"),
        ([[0.5, 0.5], [1.0, 0.0]], "identity"),
        ([[0.5, 0.5], [0.5, 0.6]], "softmax"),
        ([[1.5, -0.5]], "softmax"),
        ([[0.0, 0.0]], "softmax"),
        ([[0.2, 0.9]], "softmax"),
    ],
)
def test_the_activation_is_found_out_from_the_outputs(rows, expected):
    rows = torch.tensor(rows)
    assert resolved_activation(None, rows) == expected
    # One stacked on another has the same rows.
    assert resolved_activation(None, rows.expand(3, *rows.shape)) == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 10, 400])
def test_a_softmax_is_noticed_in_every_precision(dtype, classes):
    logits = 3 * torch.randn(50, classes)
    assert resolved_activation(None, logits.to(dtype).softmax(1)) == "identity"
    assert resolved_activation(None, logits.softmax(1).to(dtype)) == "identity"
    assert resolved_activation(None, logits.to(dtype)) == "softmax"


def test_what_is_stated_is_not_found_out():
    rows = torch.tensor([[0.5, 0.5]])
    for stated in ("softmax", "sigmoid", "identity", "none"):
        assert resolved_activation(stated, rows) == stated
    with pytest.raises(ModelError, match=r"activation is \"identity\", got outputs from -1 to 2"):
        resolved_activation("identity", torch.tensor([[-1.0, 2.0]]))


def test_probabilities_are_those_of_pytorch():
    logits = 4 * torch.randn(5, 3)
    assert torch.equal(probabilities(logits), logits.softmax(1))
    assert torch.equal(probabilities(logits, "sigmoid"), logits.sigmoid())
    assert torch.equal(log_probabilities(logits), logits.log_softmax(1))
    assert torch.equal(log_probabilities(logits, "sigmoid"), F.logsigmoid(logits))
    shares = logits.softmax(1)
    assert torch.equal(probabilities(shares), shares)
    assert torch.equal(log_probabilities(shares), shares.log())
    with pytest.raises(OptionError, match="outputs have probabilities"):
        probabilities(logits, "none")


def test_predicted_is_the_top_class_or_what_is_above_one_half():
    target = torch.tensor([1, 1])
    logits = torch.tensor([[3.0, 2.0], [-3.0, -2.0]])
    assert predicted(logits, target).tolist() == [0, 1]
    assert predicted(logits, target, "sigmoid").tolist() == [1, 0]
    assert predicted(logits.sigmoid(), target, "identity").tolist() == [1, 0]
    assert predicted(logits.softmax(1), target).tolist() == [0, 1]
    assert predicted(logits, target, "none").isnan().all()


# Objectives.


@pytest.mark.parametrize("name", ["probability", "log_probability", "loss"])
def test_objectives_of_a_softmax_have_the_bits_that_they_had(name):
    before = {
        "probability": lambda logits, t: logits.softmax(1).gather(1, t[:, None]).squeeze(1),
        "log_probability": lambda logits, t: logits.log_softmax(1).gather(1, t[:, None]).squeeze(1),
        "loss": lambda logits, t: F.cross_entropy(logits, t, reduction="none"),
    }
    target = torch.tensor([1, 0, 4])
    found = []
    for objective in (before[name], resolve_objective(name), OBJECTIVES[name]):
        logits = (
            5 * torch.randn(3, 5, generator=torch.Generator().manual_seed(2))
        ).requires_grad_()
        values = objective(logits, target)
        found.append((values.detach(), *torch.autograd.grad(values.sum(), logits)))
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("name", ["probability", "log_probability", "loss"])
def test_one_output_has_the_gradient_of_its_sigmoid(name):
    model = Scores(1).double()
    clip = CLIP.double()
    chance = model(clip).sigmoid()[:, 0]
    slope = {"probability": chance * (1 - chance), "log_probability": 1 - chance}
    slope["loss"] = -slope["log_probability"]
    result = explained(model, name, None, clip)
    # Each pixel is one of so many, of which the mean is taken.
    weight = model.weight[:, 0].detach() / clip[0, :, 0].numel()
    expected = slope[name].detach()[:, None] * weight
    found = result.attribution[:, 0, :, 0, 0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert found.abs().min() > 0
    assert result.activation == "sigmoid"


def test_the_loss_of_several_labels_is_the_binary_cross_entropy_of_the_target():
    model, target = Scores(3).double(), torch.tensor([2, 0])
    leaf = CLIP.double().requires_grad_()
    chosen = model(leaf).gather(1, target[:, None])
    loss = F.binary_cross_entropy_with_logits(chosen, torch.ones_like(chosen), reduction="sum")
    (expected,) = torch.autograd.grad(loss, leaf)
    found = explained(model, "loss", target, CLIP.double(), activation="sigmoid")
    torch.testing.assert_close(found.attribution, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["probability", "log_probability", "loss"])
def test_a_model_that_ends_in_softmax_gets_no_second_one(name):
    ends, bare = Scores(4, nn.Softmax(1)).double(), Scores(4).double()
    found, expected = (explained(one, name, 1, CLIP.double()) for one in (ends, bare))
    torch.testing.assert_close(found.attribution, expected.attribution, rtol=1e-10, atol=0)
    torch.testing.assert_close(found.probabilities, expected.probabilities, rtol=1e-12, atol=0)
    assert (found.activation, expected.activation) == ("identity", "softmax")


def test_a_probability_of_zero_has_no_logarithm():
    with pytest.raises(ModelError, match="a probability of the target that has a logarithm, got 0"):
        resolve_objective("loss")(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))


@pytest.mark.parametrize("name", ["probability", "log_probability", "loss"])
def test_without_probabilities_such_an_objective_is_refused_when_it_is_asked_for(name):
    model = LateFusion(Scores(3))
    model.activation = "none"
    for made in (
        lambda: TemporalGradient(Scores(3), name, activation="none"),
        lambda: TemporalGradient(model, name),
    ):
        with pytest.raises(OptionError, match='outputs have probabilities, got activation="none"'):
            made()


# What a result says.


def test_summaries_say_what_was_made_of_the_outputs():
    one, several, plain = (explained(Scores(1)), explained(Scores(3)), explained(Scores(3)))
    assert "note" not in plain.summary()
    note, line = one.summary().splitlines()[1:3]
    assert note.startswith("note: there is one output, whose sigmoid is taken for the probability")
    chance = one.logits[0].sigmoid().item()
    says = "predicted" if chance > 0.5 else "not predicted"
    assert (
        line == f"clip 0: target 0, logit {one.logits[0, 0]:.3f}, probability {chance:.1%}; {says}"
    )
    assert several.top_classes() == [
        f"{number} ({several.probabilities[0, number]:.1%})"
        for number in several.logits[0].argsort(descending=True)
    ]
    ends = explained(Scores(3, nn.Softmax(1)))
    assert "probabilities already, and taken as they are" in ends.summary()
    assert "logit" not in ends.summary()
    assert f"clip 0: target 0, probability {ends.logits[0, 0]:.1%}; the top class" in ends.summary()


def test_one_output_that_may_be_a_probability_is_pointed_out():
    inside, outside = torch.tensor([[0.7]]), torch.tensor([[1.7]])
    assert 'state activation="identity"' in activation_note(inside, None)
    assert "identity" not in activation_note(outside, None)
    assert 'regression), state activation="none"' in activation_note(outside, None)
    stated = explained(Scores(1, nn.Sigmoid()), activation="identity")
    torch.testing.assert_close(stated.probabilities, Scores(1)(CLIP).sigmoid().detach())


def test_outputs_that_may_all_be_probabilities_are_pointed_out():
    said = "note: all outputs are in [0, 1]; if they are probabilities already, state activation="
    built_in = Scores(3, nn.Sigmoid())
    assert said in explained(built_in).summary()
    assert said not in explained(built_in, activation="identity").summary()
    assert activation_note(torch.tensor([[0.5, 1.5]]), None) is None


def test_without_probabilities_nothing_is_called_one():
    result = explained(Scores(3), activation="none")
    assert result.probabilities is None
    (line,) = [one for one in result.summary().splitlines() if one.startswith("clip 0")]
    assert line == f"clip 0: target 0, output {result.logits[0, 0]:.3f}"
    assert "%" not in line
    assert "logit" not in result.summary()
    assert result.meaning == "gradient of the output"
    assert all("output" in one and "%" not in one for one in result.top_classes())
    pytest.importorskip("pandas")
    columns = result.to_dataframe(table="clips").columns.tolist()
    assert columns[:4] == ["clip", "target", "class_name", "output"]
    assert not {"probability", "logit", "top_class"} & set(columns)


def test_the_activation_is_saved_loaded_and_in_the_plain_record(tmp_path):
    for stated in ("sigmoid", "none"):
        result = explained(Scores(3), activation=stated)
        assert load_result(result.save(tmp_path / stated)).activation == stated
        assert result.to_dict()["activation"] == stated


def test_relevance_of_one_output():
    torch.manual_seed(2)
    encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = LateFusion(encoder.eval(), nn.Linear(4, 1).eval())
    rules = Composite(input=None)
    plain = LRP(model, rules).explain(CLIP)
    assert plain.activation == "sigmoid"
    torch.testing.assert_close(plain.probabilities, model(CLIP).sigmoid().detach())
    matrix = ContrastiveLRPTemporal(model, rules).explain(CLIP)
    # Late fusion reads its own frame, also where there is no other class to contrast with.
    assert (matrix.matrix * (1 - torch.eye(FRAMES)) == 0).all()
    assert "probability" in matrix.summary()
    regression = ContrastiveLRPTemporal(model, rules, activation="none").explain(CLIP)
    assert not {"probability", "logit"} & words(regression.summary())


# Shuffled clips.


def test_one_output_that_falls_depends_on_the_order():
    assert falls(RAMP).item() > 19.9
    probe = ShuffleProbe(falls, shuffles=10, normalization=IDENTITY)
    found = probe.explain(RAMP, flow=None)
    assert found.probability_drop.item() > 0.9
    first = found.summary().splitlines()[3].strip()
    assert first.startswith(
        "the prediction depends on the order: the target's probability is 100.0%"
    )


def test_shuffles_of_a_model_that_ends_in_softmax_are_those_of_its_logits():
    torch.manual_seed(3)
    bare = build_model("inflated-resnet", 4, widths=(4, 8)).double()
    clip = CLIP.double()
    probes = [
        ShuffleProbe(TemporalGradient(model, "probability"), 5, normalization=IDENTITY)
        for model in (bare, lambda clip: bare(clip).softmax(1))
    ]
    expected, found = (probe.explain(clip, 1, flow=None) for probe in probes)
    for field in ("probability_drop", "mrr", "ordered_scores"):
        values = getattr(expected, field)
        torch.testing.assert_close(getattr(found, field), values, rtol=1e-7, atol=1e-12)
    assert found.activation == "identity"
    assert found.categories[0]["probability_drop"] == expected.categories[0]["probability_drop"]


def test_a_half_precision_model_that_ends_in_softmax_is_noticed_when_shuffled():
    torch.manual_seed(3)
    bare = build_model("tam2d", 9, widths=(4, 8)).bfloat16()
    probe = ShuffleProbe(lambda clip: bare(clip).softmax(1), 3, normalization=IDENTITY)
    found = probe.explain(CLIP.bfloat16(), 1, flow=None)
    assert found.activation == "identity"
    assert "the top class" in found.summary()


@pytest.fixture(scope="module")
def regression():
    """Shuffled clips of a model without probabilities."""
    torch.manual_seed(3)
    model = build_model("inflated-resnet", 4, widths=(4, 8))
    model.activation = "none"
    return ShuffleProbe(model, 4, normalization=IDENTITY, segment=4)


def test_shuffles_without_probabilities_have_a_drop_of_the_output(regression):
    found = regression.explain(CLIP, 1, flow=None, segments=True)
    assert found.probability_drop.isnan().all()
    assert "probability_drop" not in found.intervals
    assert "probability_drop" not in found.categories[0]
    in_order, shuffled = found.logits[:, 1], found.shuffled_logits[:, :, 1].mean(1)
    torch.testing.assert_close(found.logit_drop.float(), in_order - shuffled, rtol=0, atol=1e-6)
    text = found.summary()
    assert (
        f"the target's output is {in_order[0]:.3f} in order, {shuffled[0]:.3f} on average" in text
    )
    assert "drop of the target's output: " in text
    body = text.split("\n", 2)[2]
    assert not {"logit", "probability", "depends"} & words(body)
    together = ShuffleSet.of([found])
    assert not {"logit", "probability"} & words(together.summary())
    overview = views.pictures_of_set(together)["clips.png"]()
    assert overview.axes[0].get_xlabel() == "drop of the target's output"
    titles = [axes.get_title("left") for axes in views.segment_timeline(found.segments[0]).axes]
    assert titles[-1].startswith("drop of the target's output")
    assert "drop of the target's output" in views.shuffle_profile(found).get_suptitle()


def test_a_curve_without_probabilities_shows_the_drop_of_the_output(regression, tmp_path):
    curve = regression.curve(CLIP, 1, shufflings=[BlockShuffle(1), BlockShuffle(2)])
    assert (curve.activation, "probability_drop" in curve.values) == ("none", False)
    titles = [axes.get_title() for axes in views.range_curve(curve).axes]
    assert titles[-1] == "drop of the target's output"
    assert load_result(curve.save(tmp_path / "curve")).activation == "none"


# Masked frames.


def test_masked_frames_of_several_labels_are_by_the_sigmoid():
    model = Scores(3)
    result = FrameMaskingTSR(model, activation="sigmoid").explain(CLIP, 1)
    masked = CLIP.clone()
    masked[:, 2] = 0
    before, after = model(CLIP).sigmoid()[:, 1], model(masked).sigmoid()[:, 1]
    torch.testing.assert_close(result.time_contribution[:, 2], before - after)
    right = (before > 0.5).float() - (after > 0.5).float()
    assert torch.equal(result.accuracy_contribution[:, 2], right)


def test_masked_frames_without_probabilities_are_by_the_output():
    model = Scores(3)
    result = FrameMaskingTSR(model, normalization=IDENTITY, activation="none").explain(CLIP, 1)
    masked = CLIP.clone()
    masked[:, 2] = 0
    torch.testing.assert_close(
        result.time_contribution[:, 2], (model(CLIP) - model(masked))[:, 1], rtol=0, atol=1e-6
    )
    assert result.accuracy_contribution.isnan().all()
    drop = result.time_contribution[0].max()
    assert f"the output drops most, by {drop:.3f}, without frame" in result.summary()


# Where it is stated.


def test_a_wrapper_carries_the_activation_into_every_method():
    network = build_model("late-fusion", 4, widths=(4, 8))
    network.activation = "sigmoid"
    rules = Composite(input=None)
    for method in (
        TemporalGradient(network),
        ShuffleProbe(network),
        ShuffleProbe(TemporalGradient(network)),
        FrameMaskingTSR(TemporalGradient(network)),
        LRP(network, rules),
        ContrastiveLRPTemporal(network, rules),
    ):
        assert method.activation == "sigmoid"
    assert TemporalGradient(network, activation="none").activation == "none"
    assert ShuffleProbe(TemporalGradient(Scores(3), activation="none")).activation == "none"
    with pytest.raises(OptionError, match="activation of Temporal Gradient, 'sigmoid', got 'none'"):
        ShuffleProbe(TemporalGradient(network), activation="none")
    # What the gradient is of was decided when that method was made.
    with pytest.raises(OptionError, match="activation of Temporal Gradient, None, got 'sigmoid'"):
        FrameMaskingTSR(TemporalGradient(Scores(3), "loss"), activation="sigmoid")
    assert ShuffleProbe(TemporalGradient(Scores(3)), activation="sigmoid").activation == "sigmoid"


def test_wrap_and_load_model_take_an_activation():
    model = load_model("torchvision:mobilenet_v3_small", classes=3, activation="sigmoid")
    assert model.activation == "sigmoid"
    assert wrap(model.encoder, activation="none").activation == "none"
    with pytest.raises(OptionError, match="activation with a model that is yet to be wrapped"):
        wrap(model, activation="none")
    for wrong in ("tanh", 1, ["softmax"]):
        with pytest.raises(OptionError, match='activation to be "softmax", .* or None, got '):
            require_activation(wrong)
    model.activation = "tanh"
    with pytest.raises(OptionError, match="got 'tanh'"):
        TemporalGradient(model)


def test_the_command_line_takes_an_activation(tmp_path):
    video = Motion(frames=6, size=32).sample(0).write(tmp_path / "planted.webm")
    call = ["explain", str(video), "--model=tests.helpers.factories:small_recurrent", "--frames=4"]
    out = tmp_path / "out"
    assert main([*call, "--method=temporal-gradient", "--activation=none", f"--out={out}"]) == 0
    result = load_result(out)
    assert result.activation == "none"
    record = json.loads((out / "explained.json").read_text())
    assert record["top_classes"] == result.top_classes()
    assert "output" in record["top_classes"][0]
    assert record["result"]["activation"] == "none"
