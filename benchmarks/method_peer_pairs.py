"""What method_peers.py compares: the same question to a method of this library and to a peer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import (
    FeatureAblation,
    KernelShap,
    LayerGradCam,
    Lime,
    ShapleyValueSampling,
)
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from captum.attr import Occlusion as CaptumOcclusion
from torch import Tensor, nn

from temporal_attr import (
    FrameShapley,
    GradCAM,
    HiResCAM,
    IntegratedGradients,
    KernelSHAP,
    LayerCAM,
    Occlusion,
    Tubes,
    VideoLIME,
)
from temporal_attr.attributions.video_lime._compute import random_coalitions, similarity
from temporal_attr.models import VideoModel

TARGET, AT_A_TIME, SEED = 1, 4, 0
"""The class, perturbed clips in a forward pass, and the seed of what is drawn."""
COALITIONS, PERMUTATIONS, STEPS, WIDTH = 32, 4, 8, 0.25

Explain = Callable[[], Tensor]


@dataclass(frozen=True)
class Setting:
    """A model, a clip, and a layer that gives a map.

    Attributes:
        network: The model without its wrapper, which takes `(batch, channel, time, ...)`.
        layer: Its path within the network.
    """

    name: str
    model: VideoModel
    network: nn.Module
    layer: str
    clip: Tensor

    @property
    def part(self) -> nn.Module:
        """The layer."""
        return self.network.get_submodule(self.layer)

    @cached_property
    def by_frame(self) -> Tensor:
        """Captum's feature mask for whole frames."""
        return torch.arange(self.clip.shape[1])[None, :, None, None, None]

    @cached_property
    def exact(self) -> Tensor:
        """The Shapley values of frames, by all coalitions."""
        method = FrameShapley(self.model, 0.0, perturbations_per_eval=AT_A_TIME)
        return method.explain(self.clip, TARGET).frame_scores[0]


@dataclass(frozen=True)
class Pair:
    """The same question twice.

    Attributes:
        truth: What both estimate; None where both should give the same.
        why: Why they do not give the same, if they do not.
    """

    ours: str
    peer: str
    run: Explain
    peer_run: Explain
    truth: Tensor | None = None
    why: str = ""


def per_frame(attribution: Tensor) -> Tensor:
    """`(time,)`: the number that all of a frame's values have."""
    return attribution[0, :, 0, 0, 0]


def drops(setting: Setting) -> Iterator[Pair]:
    """Windows that are hidden, and frames."""
    model, clip = setting.model, setting.clip
    side = clip.shape[-1] // 2
    window, stride = (2, side, side), (2, side, side // 2)
    ours = Occlusion(model, window, stride, 0.0, perturbations_per_eval=AT_A_TIME)
    yield Pair(
        "Occlusion",
        "Captum Occlusion",
        lambda: ours.attribute(clip, TARGET),
        lambda: CaptumOcclusion(model).attribute(
            clip,
            (window[0], 3, *window[1:]),
            (stride[0], 3, *stride[1:]),
            0.0,
            TARGET,
            perturbations_per_eval=AT_A_TIME,
        ),
    )
    frame = (1, *clip.shape[-2:])
    whole = Occlusion(model, frame, frame, 0.0, perturbations_per_eval=AT_A_TIME)
    yield Pair(
        "Occlusion of frames",
        "Captum FeatureAblation",
        lambda: whole.attribute(clip, TARGET),
        lambda: FeatureAblation(model).attribute(
            clip, 0.0, TARGET, feature_mask=setting.by_frame, perturbations_per_eval=AT_A_TIME
        ),
    )


def estimates(
    setting: Setting, coalitions: int = 64, permutations: int = 8
) -> dict[str, Callable[[int], Tensor]]:
    """From a seed to an estimate `(time,)` of the Shapley values of frames, ours and Captum's."""
    model, clip = setting.model, setting.clip
    tubes = Tubes(clip.shape[1], 1, 1)

    def captums(method: Any, samples: int) -> Callable[[int], Tensor]:  # noqa: ANN401
        def estimate(seed: int) -> Tensor:
            torch.manual_seed(seed)
            found = method.attribute(
                clip,
                baselines=0.0,
                target=TARGET,
                feature_mask=setting.by_frame,
                n_samples=samples,
                perturbations_per_eval=AT_A_TIME,
            )
            return per_frame(found)

        return estimate

    def kernel(seed: int) -> Tensor:
        method = KernelSHAP(
            model, tubes, coalitions - 1, 0.0, perturbations_per_eval=AT_A_TIME, seed=seed
        )
        return per_frame(method.explain(clip, TARGET).attribution)

    def drawn(seed: int) -> Tensor:
        method = FrameShapley(model, 0.0, permutations, perturbations_per_eval=AT_A_TIME, seed=seed)
        return method.explain(clip, TARGET).frame_scores[0]

    return {
        "KernelSHAP": kernel,
        "Captum KernelShap": captums(KernelShap(model), coalitions),
        "FrameShapley": drawn,
        "Captum ShapleyValueSampling": captums(ShapleyValueSampling(model), permutations),
    }


def shapley_values(setting: Setting) -> Iterator[Pair]:
    """Estimates of the Shapley values of frames, one draw of each."""
    kernel, captum_kernel, frames, captum_sampling = (
        (name, partial(estimate, SEED))
        for name, estimate in estimates(setting, COALITIONS, PERMUTATIONS).items()
    )
    for (ours, run), (peer, peer_run), drawn in (
        (kernel, captum_kernel, "coalitions; ours each with its complement"),
        (frames, captum_sampling, "permutations; ours each with its reverse"),
    ):
        yield Pair(ours, peer, run, peer_run, setting.exact, f"both draw {drawn}")


def captum_lime(setting: Setting, labels: Tensor) -> Callable[[], Tensor]:
    """Captum's Lime with the coalitions, weights and ridge of `VideoLIME`."""
    coalitions = random_coalitions(int(labels.max()) + 1, COALITIONS, SEED)

    def drawn(*_: Any, **__: Any) -> Iterator[Tensor]:  # noqa: ANN401 - Captum's
        yield from coalitions.float().split(1)

    def weight(_: Tensor, __: Tensor, present: Tensor, **___: Any) -> Tensor:  # noqa: ANN401
        return similarity(present > 0, WIDTH)

    method = Lime(setting.model, SkLearnRidge(alpha=1.0), weight, drawn)
    return lambda: method.attribute(
        setting.clip,
        0.0,
        TARGET,
        feature_mask=labels[:, :, None],
        n_samples=COALITIONS,
        perturbations_per_eval=AT_A_TIME,
    )


def regressions(setting: Setting) -> Iterator[Pair]:
    """LIME, by Captum's defaults and by ours."""
    model, clip = setting.model, setting.clip
    tubes = Tubes(4, 2, 2)
    labels = tubes.labels(clip)
    ours = VideoLIME(
        model, tubes, COALITIONS, 0.0, WIDTH, seed=SEED, perturbations_per_eval=AT_A_TIME
    )

    def default() -> Tensor:
        torch.manual_seed(SEED)
        found: Tensor = Lime(model).attribute(
            clip,
            0.0,
            TARGET,
            feature_mask=labels[:, :, None],
            n_samples=COALITIONS,
            perturbations_per_eval=AT_A_TIME,
        )
        return found

    yield Pair(
        "VideoLIME",
        "Captum Lime, told of our coalitions, weights and ridge",
        lambda: ours.attribute(clip, TARGET),
        captum_lime(setting, labels),
    )
    yield Pair(
        "VideoLIME",
        "Captum Lime, defaults",
        lambda: ours.attribute(clip, TARGET),
        default,
        why="its defaults are a lasso, weights by the cosine between pixels, and other draws",
    )


def gradients(setting: Setting) -> Iterator[Pair]:
    """The path, and class activation maps by Captum."""
    model, clip = setting.model, setting.clip
    path = IntegratedGradients(model, 0.0, STEPS, internal_batch_size=AT_A_TIME)
    yield Pair(
        "IntegratedGradients",
        "Captum IntegratedGradients",
        lambda: path.attribute(clip, TARGET),
        lambda: CaptumIntegratedGradients(model).attribute(
            clip, 0.0, TARGET, n_steps=STEPS, internal_batch_size=AT_A_TIME
        ),
    )
    cam = GradCAM(model, setting.part, relu=False)
    yield Pair(
        "GradCAM, its map",
        "Captum LayerGradCam",
        lambda: only_map(cam.explain(clip, TARGET)),
        lambda: LayerGradCam(model, setting.part).attribute(clip, TARGET).detach()[:, 0],
    )


def only_map(found: Any) -> Tensor:  # noqa: ANN401 - a result of class activation
    """Before it is enlarged."""
    own: Tensor
    (own,) = found.maps.values()
    return own


def activations(setting: Setting) -> Iterator[Pair]:
    """Class activation maps by grad-cam, which takes the bare network."""
    peers = import_module("pytorch_grad_cam")
    targets = import_module("pytorch_grad_cam.utils.model_targets")
    volume = setting.clip.transpose(1, 2)

    def map_of(kind: Any) -> Tensor:  # noqa: ANN401 - a class of grad-cam
        with kind(setting.network, [setting.part]) as method:
            method.activations_and_grads(volume)[0, TARGET].backward()
            kept = method.activations_and_grads
            values, slopes = (part[0].numpy() for part in (kept.activations, kept.gradients))
            image = method.get_cam_image(volume, setting.part, [], values, slopes, False)
            found: Tensor = torch.from_numpy(image)
            return found

    def whole(kind: Any) -> Tensor:  # noqa: ANN401 - a class of grad-cam
        with kind(setting.network, [setting.part]) as method:
            found: Tensor = torch.from_numpy(
                method(volume, [targets.ClassifierOutputTarget(TARGET)])
            )
            return found

    for kind in (GradCAM, HiResCAM, LayerCAM):
        peer = getattr(peers, kind.__name__)
        raw = kind(setting.model, setting.part, relu=False)
        yield Pair(
            f"{kind.__name__}, its map",
            f"grad-cam {peer.__name__}, its map",
            lambda raw=raw: only_map(raw.explain(setting.clip, TARGET)),  # type: ignore[misc]
            lambda peer=peer: map_of(peer),  # type: ignore[misc]
        )
    shown = GradCAM(setting.model, setting.part)

    def scaled() -> Tensor:
        cam = shown.attribute(setting.clip, TARGET)[:, :, 0]
        own: Tensor = (cam - cam.min()) / (cam.max() - cam.min() + 1e-7)
        return own

    yield Pair(
        "GradCAM, enlarged, scaled to [0, 1] here",
        "grad-cam GradCAM, its result",
        scaled,
        lambda: whole(peers.GradCAM),
        why="it scales the map first, and enlarges it by cubic splines, over time as well",
    )
