"""The attention between times, drawn layer by layer."""

import numpy as np
import pytest
import torch

from temporal_attr import AttentionRollout, ClipError, DataError, OptionError, ResultError, views
from tests.helpers.attending import Joint, lively
from tests.results.made import made

pytestmark = pytest.mark.usefixtures("as_user")


def panels(figure):
    return [axes for axes in figure.axes if axes.get_title()]


def test_each_layer_has_a_panel_of_its_weights_on_one_scale():
    result = made("rollout")
    weights = result.temporal_attention[1].numpy()
    shown = panels(views.attention_over_time(result, example=1))
    assert [axes.get_title() for axes in shown] == ["layer 0", "layer 1"]
    for axes, matrix in zip(shown, weights, strict=True):
        image = axes.images[0]
        np.testing.assert_array_equal(image.get_array(), matrix)
        assert image.get_clim() == pytest.approx((0, weights.max()))


def test_of_many_layers_some_are_drawn_the_first_and_the_last_among_them():
    weights = torch.rand(1, 47, 3, 3)
    shown = panels(views.attention_over_time(weights, title="mine"))
    numbers = [int(axes.get_title().removeprefix("layer ")) for axes in shown]
    assert numbers == list(range(0, 47, 2))
    np.testing.assert_array_equal(shown[1].images[0].get_array(), weights[0, 2].numpy())


def test_a_bare_tensor_is_drawn_as_the_result_is():
    result = made("attention")
    one, other = (
        panels(views.attention_over_time(given)) for given in (result, result.temporal_attention)
    )
    for axes, same in zip(one, other, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), same.images[0].get_array())


def test_what_cannot_be_drawn():
    clip = torch.randn(1, 4, 3, 8, 8, dtype=torch.float64)
    result = AttentionRollout(lively(Joint())).explain(clip, 0, temporal_attention=False)
    assert result.temporal_attention is None
    assert result.token_scores is None
    with pytest.raises(ResultError, match="AttentionRolloutResult without. Call explain"):
        views.attention_over_time(result)
    for broken in (-torch.rand(1, 2, 3, 3), torch.full((1, 1, 2, 2), torch.nan)):
        with pytest.raises(ClipError, match="finite weights .batch, layer, query_time, key_time"):
            views.attention_over_time(broken)
    with pytest.raises(DataError, match="an AttentionResult or a tensor of floats"):
        views.attention_over_time(torch.rand(1, 3, 3))
    with pytest.raises(OptionError, match="an example from 0 to 0, got 1"):
        views.attention_over_time(torch.rand(1, 2, 3, 3), example=1)
    with pytest.raises(OptionError, match="at least one layer"):
        views.attention_over_time(torch.rand(1, 0, 3, 3))
