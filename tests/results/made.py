"""A result of every type, small, and with all that is asked for on request."""

from functools import cache

import torch

from temporal_attr import (
    LRP,
    RISE,
    AttentionRollout,
    Blocks,
    Clip,
    ContrastiveLRPTemporal,
    DeletionCurve,
    ExpectedGradients,
    ExtremalPerturbation,
    FrameMaskingTSR,
    FrameShapley,
    GradCAM,
    GradientAttention,
    IntegratedGradients,
    KernelSHAP,
    Occlusion,
    SelectiveRelevance,
    ShuffleProbe,
    SlidingFrames,
    TemporalGradient,
    Tubes,
    VideoLIME,
)
from temporal_attr.attributions import ShuffleSet
from temporal_attr.clips import BlockShuffle
from temporal_attr.zoo import build_model

NAMES = ("walking", "running", "jumping", "sitting")
FRAMES = 6


def model_of(dtype=torch.float32, names=NAMES):
    """A small model whose timesteps have logits, and whose classes have names."""
    torch.manual_seed(3)
    model = build_model("tam2d", classes=4, widths=(4, 8)).to(dtype)
    model.class_names = names
    return model


def attending(dtype):
    """A small model with attention between its tokens."""
    sizes = {"frames": FRAMES, "size": 32, "patch": 16, "features": 8, "heads": 2, "depth": 2}
    torch.manual_seed(3)
    model = build_model("tubelet-transformer", classes=4, **sizes).to(dtype)
    model.class_names = NAMES
    return model


def clip_of(dtype=torch.float32, batch=2):
    """Clips within the bounds of the model's normalization."""
    random = torch.Generator().manual_seed(5)
    return torch.rand(batch, FRAMES, 3, 32, 32, generator=random).to(dtype)


def one_clip():
    """A clip with times of its own."""
    return Clip.from_tensor(clip_of(batch=1), fps=4, source="here.mp4")


EXPLAIN = {
    "gradient": lambda model, clip: TemporalGradient(model).explain(clip, [1, 2]),
    "gradient_alone": lambda model, clip: TemporalGradient(model).explain(clip, 1, influence=False),
    "lrp": lambda model, clip: LRP(model).explain(clip, 1),
    "contrastive": lambda model, clip: ContrastiveLRPTemporal(model).explain(clip, 1),
    "contrastive_rows": lambda model, clip: ContrastiveLRPTemporal(model).explain(
        clip, 1, rows=[0, 3]
    ),
    "shuffles": lambda model, clip: ShuffleProbe(model, shuffles=3).explain(clip, 1),
    "shuffles_of_segments": lambda model, clip: ShuffleProbe(model, shuffles=3, segment=4).explain(
        clip, 1, flow=None, segments=True
    ),
    "shuffle_set": lambda model, clip: ShuffleSet.of(
        [ShuffleProbe(model, shuffles=3).explain(clip, 1)], ["a wave", "a jump"]
    ),
    "shuffle_curve": lambda model, clip: ShuffleProbe(model, shuffles=3).curve(
        clip, 1, shufflings=[BlockShuffle(1), BlockShuffle(3)]
    ),
    "shapley": lambda model, clip: FrameShapley(model, n_samples=2).explain(clip, 1),
    "shapley_of_regions": lambda model, clip: FrameShapley(
        model, 0.0, 2, feature_mask=Blocks(16, 32)
    ).explain(clip, 1),
    "curve": lambda model, clip: DeletionCurve(model).explain(clip, 1),
    "sliding": lambda model, clip: SlidingFrames(model).explain(clip, 1),
    "occlusion": lambda model, clip: Occlusion(model, (3, 16, 16)).explain(clip, 1),
    "rise": lambda model, clip: RISE(model, n_samples=4).explain(clip, 1),
    "kernel_shap": lambda model, clip: KernelSHAP(model, Tubes(2, 1, 2), 9).explain(clip, 1),
    "video_lime": lambda model, clip: VideoLIME(model, Tubes(2, 1, 2), 9).explain(clip, 1),
    "integrated": lambda model, clip: IntegratedGradients(model, "mean_frame", 4).explain(clip, 1),
    "expected": lambda model, clip: ExpectedGradients(model, n_samples=4).explain(clip, 1),
    "selective": lambda model, clip: SelectiveRelevance(model, "frozen").explain(clip, 1),
    "masks": lambda model, clip: ExtremalPerturbation(model, max_iterations=2).explain(clip, 1),
    "rescaled": lambda model, clip: FrameMaskingTSR(TemporalGradient(model)).explain(clip, 1),
    "activation": lambda model, clip: GradCAM(model, relu=False).explain(clip, 1),
    "rollout": lambda model, clip: AttentionRollout(attending(clip.dtype)).explain(clip, 1),
    "attention": lambda model, clip: GradientAttention(attending(clip.dtype)).explain(clip, 1),
}
"""From a model and two clips to a result, by what it is."""


@cache
def made(name, dtype=torch.float32):
    """One of them."""
    return EXPLAIN[name](model_of(dtype), clip_of(dtype))
