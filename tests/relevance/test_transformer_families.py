"""Relevance through every family of video transformers is accounted for, to rounding."""

from dataclasses import replace

import pytest
import torch

from temporal_attr import LRP, ContrastiveLRPTemporal, ModelError
from temporal_attr.relevance import Box, composites
from tests.helpers.transformer_families import TRANSFORMERS

# Checks of shapes in every small function would take ten times as long as the functions.
pytestmark = pytest.mark.usefixtures("as_user")

PRESETS = ("paper", "transformer", "attnlrp")
MATRICES = ("videomae", "timesformer", "vjepa2", "swin3d", "mvit_v2", "timm_deit_distilled")
"""One family for each way of splitting a clip's logits among timesteps."""

BOUNDS = Box(low=-9.0, high=9.0)


def bounded(preset):
    """A preset whose rule at the input, if it needs bounds, has some for clips that are noise."""
    composite = getattr(composites, preset)()
    return composite if composite.input is None else replace(composite, input=BOUNDS)


def family_named(name):
    return next(family for family in TRANSFORMERS if family.name == name)


def roundings(family, dtype):
    """What a rounding is; the eager attention of transformers has its softmax in float32."""
    eager = family.name.endswith("_eager") or family.name == "videoprism"
    return torch.finfo(torch.float32 if eager else dtype).eps


@pytest.mark.parametrize("family", TRANSFORMERS, ids=lambda family: family.name)
def test_pixels_and_sinks_are_the_logit(family):
    torch.manual_seed(0)
    model = family.build()[0].double()
    clip = family.clip(torch.float64)[:1]
    for preset in PRESETS:
        found = LRP(model, bounded(preset)).explain(clip, target=1)
        # Of the largest sum that was added up: epsilon rules give much of either sign.
        sizes = [found.attribution.abs().sum(), *(got.abs().sum() for got in found.sinks.values())]
        assert found.lost.abs().item() < 100 * roundings(family, torch.float64) * max(sizes)
        if preset != "attnlrp":
            # What does not cancel does not grow.
            assert found.relevance_ratio.item() < 30
            assert found.lost.abs().item() < 1e-12 * found.logits[0, 1].abs().item()


def test_attention_that_is_a_kernel_of_its_own_is_refused():
    model = family_named("videomae").build()[0]
    model.model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ModelError, match=r'flash_attention_2.*attn_implementation="eager"'):
        LRP(model, bounded("paper")).attribute(family_named("videomae").clip()[:1], 1)


@pytest.mark.parametrize(
    "family",
    [family for family in TRANSFORMERS if family.name in MATRICES],
    ids=lambda family: family.name,
)
def test_rows_of_the_matrix_and_sinks_are_the_timesteps_logits(family):
    torch.manual_seed(0)
    model, _ = family.build()
    clip, rules = family.clip()[:1], bounded("transformer")
    for contrastive in (False, True):
        found = ContrastiveLRPTemporal(model, rules, contrastive=contrastive).explain(clip, 1)
        assert found.row_error.max() < 1e-5
        weighted = (found.step_logits * found.step_weights).sum(1)
        torch.testing.assert_close(weighted, found.logits[:, 1], rtol=1e-4, atol=1e-4)
    assert (found.matrix >= 0).all()
    assert (found.frame_matrix.sum(2) > 0).all()
