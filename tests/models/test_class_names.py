"""Names of classes, which reach terminals and pictures wherever they come from."""

from dataclasses import replace

import torch

from temporal_attr import LRP, load_result
from temporal_attr.models._wrap import checked_names
from temporal_attr.relevance import Composite

NAMES = ("walk\x1b[2J", "\udcff", "l\ni")
SHOWN = (r"walk\x1b[2J", r"\udcff", r"l\ni")


def test_names_of_classes_are_text_that_no_terminal_acts_on(tmp_path):
    assert checked_names(NAMES) == SHOWN
    method = LRP(lambda clip: clip.mean((1, 3, 4)), Composite(input=None))
    named = replace(method.explain(torch.zeros(1, 2, 3, 4, 4), target=0), class_names=NAMES)
    assert named.class_names == SHOWN
    assert r"target walk\x1b[2J (0)" in named.summary()
    assert load_result(named.save(tmp_path / "named")).class_names == SHOWN
