"""The first sentence of a summary of shuffled clips, and that no other contradicts it."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torchvision

from temporal_attr import OptionError, ShuffleProbe, wrap
from temporal_attr.attributions.shuffle_probe._notes import leading_sentence
from temporal_attr.clips import Preprocessing
from temporal_attr.measures import _categories
from temporal_attr.synthetic import Motion
from temporal_attr.zoo import build_model

PUBLISHED = [
    name
    for table in (_categories._RELIANCE, _categories._CONTEXT, _categories._TRACKING)
    for _, name in table
]
NEED = [name for _, name in _categories._NEED]


@pytest.fixture(scope="module")
def of_random_weights():
    """Shuffled clips of a random r3d_18, with an FCD whose category contradicted the first line."""
    torch.manual_seed(0)
    model = wrap(torchvision.models.video.r3d_18(num_classes=5).eval())
    small = Preprocessing(normalization=model.normalization)
    clip = Motion(frames=6, size=32).sample(0).clip(small)
    found = ShuffleProbe(model, 3).explain(clip.tensor, 1)
    tracks = torch.full_like(found.flow_correlation_drop, 0.37)
    categories = ({**found.categories[0], "flow_correlation_drop": "strongly tracks motion"},)
    return replace(found, flow_correlation_drop=tracks, categories=categories)


def test_a_summary_of_random_weights_has_one_verdict(of_random_weights):
    text = of_random_weights.summary()
    first, *others = text.splitlines()[2:]
    assert first.strip().startswith("the prediction hardly depends on the order: ")
    assert sum(text.count(name) for name in NEED) == 1
    assert not [name for name in PUBLISHED if name in text]
    # All that follows is numbers, and notes on them.
    measures = [line for line in others if "95 %" in line]
    assert len(measures) == len(of_random_weights.intervals) == 8
    number = r"-?\d+\.\d\d"
    form = rf"  [^:]+: {number} \(95 % {number} to {number}\)"
    assert all(re.fullmatch(form, line) for line in measures)


def test_published_categories_are_given_where_they_are_asked_for(of_random_weights):
    text = of_random_weights.summary(categories=True)
    for name in ("mrr", "relative_drop", "flow_correlation_drop"):
        assert f"; category: {of_random_weights.categories[0][name]}\n" in text
    plain = re.sub("; category: .*", "", text)
    assert plain == of_random_weights.summary()
    # The first sentence is of the fourth, which has no second word beside it.
    assert text.count("depends on the order") == 1


@pytest.mark.usefixtures("as_user")
def test_categories_are_asked_for_by_true_or_false(of_random_weights):
    with pytest.raises(OptionError, match="categories to be True or False, got 'no'"):
        of_random_weights.summary(categories="no")


@pytest.mark.parametrize(
    ("in_order", "drop", "says"),
    [
        (0.9, 0.6, "the prediction depends on the order: "),
        (0.9, 0.2, "the prediction partly depends on the order: "),
        (0.9, 0.004, "the prediction hardly depends on the order: "),
        (0.3, -0.5, "the probability is higher when shuffled: "),
    ],
)
def test_the_first_sentence_is_of_the_drop_of_the_probability(in_order, drop, says):
    shuffled = f"{in_order:.1%} in order, {in_order - drop:.1%} on average when shuffled"
    expected = f"{says}the target's probability is {shuffled}"
    assert leading_sentence(in_order, drop, "softmax") == expected


def test_of_an_improbable_class_nothing_is_claimed():
    # Of 400 classes of random weights each has a quarter of a percent, in any order.
    text = leading_sentence(0.0025, 0.0005, "softmax")
    assert text.endswith("0.2% on average when shuffled: too low to tell whether the prediction "
                         "depends on the order")  # fmt: skip
    assert "hardly" not in text
    # Probable in one of the two is enough.
    assert leading_sentence(0.0025, -0.4, "softmax").startswith("the probability is higher when")


def test_each_clip_of_a_batch_has_its_own_sentence():
    torch.manual_seed(1)
    model = build_model("inflated-resnet", 4, widths=(4, 8))
    found = ShuffleProbe(model, 3).explain(torch.rand(2, 5, 3, 32, 32), [1, 2], flow=None)
    lines = found.summary().splitlines()
    after = [line for before, line in pairwise(lines) if before.startswith("clip ")]
    chances = [found.probabilities[n, n + 1].item() for n in range(2)]
    for line, chance in zip(after, chances, strict=True):
        assert f"the target's probability is {chance:.1%} in order" in line
