"""What the benchmark of temporal saliency rescaling measures with."""

import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, Saliency

from temporal_attr import Blocks, FrameMaskingTSR
from temporal_attr.evaluation import areas
from temporal_attr.zoo import build_model
from tests.helpers.checks import BENCHMARKS


@pytest.fixture
def scores(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tsr_scores

    return tsr_scores


@pytest.fixture
def methods(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import tsr_methods

    return tsr_methods


def test_areas_are_of_frames_and_of_the_norm_of_pixels(scores):
    random = np.random.default_rng(0)
    attribution, region = random.normal(size=(4, 3, 5, 6)), random.random((4, 5, 6)) < 0.3
    norm = np.sqrt((attribution**2).sum(1))
    assert scores.pixel_areas(attribution, region) == areas(norm.ravel(), region.ravel())
    relevance, deciding = random.random(4).astype(np.float32), np.array([True, False, True, False])
    found = scores.frame_areas(relevance, deciding)
    assert found == areas(relevance.astype(np.float64), deciding)
    assert found != scores.frame_areas(relevance, ~deciding)


def test_variants_are_what_the_library_gives(methods):
    model = build_model("late-fusion", classes=3, size=32, widths=(4, 8))
    clip = torch.randn(1, 6, 3, 32, 32)
    settings = {"feature_mask": Blocks(*methods.BLOCK), "quantile": methods.QUANTILE}
    found = FrameMaskingTSR(Saliency(model), "two", **settings).explain(clip, target=1)
    every = methods.variants(found, two=True)
    one = FrameMaskingTSR(Saliency(model)).attribute(clip, target=1)
    scaled = FrameMaskingTSR(Saliency(model), "two", normalize=True, **settings)
    torch.testing.assert_close(every["one step"], one)
    torch.testing.assert_close(every["two steps, scaled"], scaled.attribute(clip, target=1))
    alone = Saliency(model).attribute(clip.clone().requires_grad_(), target=1)
    torch.testing.assert_close(every["alone"], alone)


def test_a_block_has_the_mean_of_its_pixels(methods):
    attribution = torch.randn(1, 2, 3, 32, 32)
    blocks = methods.in_blocks(attribution)
    part = attribution[0, 1, :, 8:16, 24:32].norm(dim=0).mean()
    torch.testing.assert_close(blocks[0, 1, 0, 8:16, 24:32], part.expand(8, 8))


@pytest.mark.parametrize("architecture", ["late-fusion", "lstm"])
def test_remembering_frames_changes_nothing(methods, architecture):
    model = build_model(architecture, classes=3, size=32, widths=(4, 8))
    clip = torch.randn(1, 5, 3, 32, 32)
    mask = methods.by_frame(clip)
    found = [
        FeatureAblation(one).attribute(clip, target=2, feature_mask=mask)
        for one in (model, methods.Remembering(model))
    ]
    torch.testing.assert_close(*found)


VARIANTS = {
    "alone": 0.3,
    "one step": 0.5,
    "two steps": 0.2,
    "alone, in blocks": 0.2,
    "one step, in blocks": 0.4,
    "time relevance": 0.305,
    "one step, mean": 0.5,
}


@pytest.fixture
def table(monkeypatch, methods):
    """Saliency on the 3D network, with numbers that are known; random numbers do better alone."""
    import tsr_table

    def outcome(name, variants):
        random = np.random.default_rng(len(name))
        numbers = {
            variant: {
                level: (value + 1e-4 * random.random((20, 6))).tolist()
                for level in ("frames", "pixels")
            }
            for variant, value in variants.items()
        }
        return methods.Outcome(methods.RESNET.name, 0, name, 142.0, 1.0, numbers)

    found = [outcome("chance", {"alone": 0.4}), outcome("Saliency", VARIANTS)]
    found += [outcome("superpixels", {"two steps": 0.6})]
    found += [outcome("blocks of 7 x 8", {"two steps": 0.45})]
    return tsr_table.Table(found)


def test_findings_are_made_from_the_numbers(table):
    from tsr_findings import findings

    lines = findings(table)
    said = "\n".join(lines)
    name = "`keyframe-tsr-inflated-resnet`"
    assert f"- {name}, frames: one step AP: raises 1 of 1 (Saliency +0.200)." in lines
    assert f"- {name}, pixels: one step AP: raises 1 of 1 (Saliency +0.200)." in lines
    relevance = f"- {name}, frames: the time relevance by itself AP: raises to no use 1 (Saliency"
    assert relevance in said
    assert f"{name}, frames: below random numbers are Saliency alone." in said
    blocks = "against the method alone, averaged over blocks, the second step AP: leaves 1 of 1"
    assert f"{name}, pixels: {blocks} undecided." in said
    worse = "against the method one step, averaged over blocks, the second step AP: lowers 1 of 1"
    assert f"{name}, pixels: {worse} (Saliency -0.200)." in said
    assert "superpixels 0.600, blocks of 7 x 8 0.450; of superpixels, AP: raises 1 of 1" in said
    assert "(less blocks of 7 x 8 +0.150)" in said


def test_no_number_gives_no_finding(methods):
    import tsr_table
    from tsr_findings import findings

    assert [line for line in findings(tsr_table.Table([])) if line.startswith("-")] == []
