"""What board.py compares: the library's methods, Captum's, and levels of chance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from captum import attr
from torch import Tensor

from temporal_attr.attributions import METHODS
from temporal_attr.evaluation import CHANCE
from temporal_attr.models import VideoModel

BUDGETS = (50, 500)
AT_A_TIME = 16
"""Perturbed clips in a forward pass."""
GRADIENT = 3
"""What a forward and a backward pass count."""

Make = Callable[[VideoModel], attr.Attribution]


class Asked(attr.Attribution):  # type: ignore[misc]  # Captum has no types
    """A method of Captum's with what else its `attribute` is told, which may depend on the clip."""

    def __init__(self, method: attr.Attribution, told: Callable[[Tensor], dict[str, Any]]) -> None:
        super().__init__(method.forward_func)
        # Under this name, as NoiseTunnel has it, what the method is made of is found.
        self.attribution_method, self._told = method, told

    def attribute(self, inputs: Tensor, target: int) -> Tensor:
        """Ask it."""
        found: Tensor = self.attribution_method.attribute(
            inputs, target=target, **self._told(inputs)
        )
        return found


def asked(kind: type, told: Callable[[Tensor], dict[str, Any]], *options: Any) -> Make:  # noqa: ANN401
    """From a model to a method of Captum's that is told more."""
    return lambda model: Asked(kind(model, *options), told)


def frames(clip: Tensor) -> Tensor:
    """Captum's feature mask for whole frames."""
    return torch.arange(clip.shape[1])[None, :, None, None, None]


def tubes(clip: Tensor, parts: tuple[int, int, int]) -> Tensor:
    """Captum's feature mask for tubes, so many along time, height and width."""
    sizes = (clip.shape[1], *clip.shape[-2:])
    along = [torch.arange(size) * part // size for size, part in zip(sizes, parts, strict=True)]
    labels = (along[0][:, None, None] * parts[1] + along[1][:, None]) * parts[2] + along[2]
    numbered: Tensor = labels[None, :, None]
    return numbered


def seeded(told: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Captum draws from the process's own random numbers."""
    torch.manual_seed(seed)
    return told


def captums(budget: int) -> dict[str, Make]:
    """Captum's methods, each with about so many evaluations; those that cost little at any."""
    steps, parts = max(1, budget // GRADIENT), (4, 2, 2) if budget < 100 else (8, 4, 4)
    several: dict[str, Any] = {"perturbations_per_eval": AT_A_TIME}

    def masked(**told: Any) -> Callable[[Tensor], dict[str, Any]]:  # noqa: ANN401
        return lambda clip: seeded(
            {"baselines": 0.0, **several, **told, "feature_mask": tubes(clip, parts)}
        )

    def occluded(clip: Tensor) -> dict[str, Any]:
        window = tuple(
            -(-size // part)
            for size, part in zip((clip.shape[1], *clip.shape[-2:]), parts, strict=True)
        )
        shape = (window[0], clip.shape[2], *window[1:])
        return {"sliding_window_shapes": shape, "strides": shape, "baselines": 0.0, **several}

    cheap: dict[str, Make] = {
        "captum Saliency": attr.Saliency,
        "captum InputXGradient": attr.InputXGradient,
        "captum GuidedBackprop": attr.GuidedBackprop,
        "captum Deconvolution": attr.Deconvolution,
        "captum FeatureAblation of frames": asked(
            attr.FeatureAblation,
            lambda clip: {"baselines": 0.0, "feature_mask": frames(clip), **several},
        ),
    }
    paid: dict[str, Make] = {
        "captum IntegratedGradients": asked(
            attr.IntegratedGradients, lambda _: {"n_steps": steps, "internal_batch_size": AT_A_TIME}
        ),
        "captum GradientShap": asked(
            attr.GradientShap,
            lambda clip: seeded(
                {"baselines": torch.zeros_like(clip), "n_samples": steps, "stdevs": 0.1}
            ),
        ),
        "captum NoiseTunnel of Saliency": lambda model: Asked(
            attr.NoiseTunnel(attr.Saliency(model)),
            lambda _: seeded(
                {"nt_samples": steps, "nt_samples_batch_size": AT_A_TIME, "stdevs": 0.2}
            ),
        ),
        "captum Occlusion": asked(attr.Occlusion, occluded),
        "captum FeatureAblation of tubes": asked(attr.FeatureAblation, masked()),
        "captum KernelShap of tubes": asked(attr.KernelShap, masked(n_samples=budget)),
        "captum Lime of tubes": asked(attr.Lime, masked(n_samples=budget)),
        "captum ShapleyValueSampling of frames": asked(
            attr.ShapleyValueSampling,
            lambda clip: seeded(
                {
                    "baselines": 0.0,
                    "feature_mask": frames(clip),
                    "n_samples": max(1, budget // clip.shape[1]),
                    **several,
                }
            ),
        ),
    }
    return {**cheap, **paid}


def methods(budget: int) -> dict[str, Any]:
    """All that is compared, by the name in the table."""
    ours = {kind.traits.slug: kind for kind in METHODS}
    return {**ours, **captums(budget), **{name: name for name in CHANCE}}
