"""The registry of methods. A method joins the contract suite with one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from captum.attr import Attribution

from temporal_attr import (
    LRP,
    RISE,
    AttentionRollout,
    Blocks,
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
    ScoreCAM,
    SelectiveRelevance,
    ShuffleProbe,
    SlidingFrames,
    TemporalGradient,
    Tubes,
    VideoLIME,
    frame_scores,
)
from temporal_attr.attributions import VideoMethod
from temporal_attr.clips import IDENTITY
from temporal_attr.relevance import Box, Composite

# Small families with attention.
ATTENDING = ("frame_transformer", "zoo_tubelets")
# The clips of the suite are no pixels, and noise is added to them.
WIDE = Composite(input=Box(low=-9.0, high=9.0))


@dataclass(frozen=True)
class Method:
    """A method with options, and what its attribution promises.

    Attributes:
        kind: The class of the method, whose traits say what it is.
        build: From a model to the method, with a chunk size or None.
        framewise_only: Whether it needs a `FramewiseModel`.
        is_sensitivity: Whether it says what a small change of the input would do to the logit.
        exact_cost: Whether its estimate knows the passes exactly, of models that are not framewise.
        variant: Whether another entry of the same class goes through all of the contract, so that
            what is alike of both is tried of this one on demand.
        models: The families that it is tried on, if not on all; the first where one is enough.
        class_blind: Whether its attribution is the same for every class.
    """

    name: str
    kind: type[VideoMethod]
    build: Callable[..., Attribution]
    framewise_only: bool = False
    is_sensitivity: bool = True
    exact_cost: bool = True
    variant: bool = False

    @property
    def goes_back(self) -> bool:
        """Whether it runs the model backwards."""
        return self.kind.traits.needs != ("forward passes",)

    models: tuple[str, ...] = ()
    class_blind: bool = False

    @property
    def model(self) -> str:
        """The family that it is tried on where one is enough."""
        return self.models[0] if self.models else "gru_mean"

    @property
    def input_shaped(self) -> bool:
        """Whether the attribution is shaped like the clip."""
        return self.kind.traits.input_shaped

    @property
    def takes_functions(self) -> bool:
        """Whether the method takes a function in place of a `VideoModel`."""
        return not self.framewise_only and not {"frame logits", "layers"} & {
            *self.kind.traits.needs
        }

    @property
    def finds_layers(self) -> bool:
        """Whether it first finds a layer and its axes, once a model: no part of a run."""
        return "layers" in self.kind.traits.needs


METHODS = [
    Method(
        "temporal_gradient",
        TemporalGradient,
        lambda model, chunk=None: TemporalGradient(model, chunk_size=chunk),
    ),
    Method(
        "temporal_gradient_probability",
        TemporalGradient,
        lambda model, chunk=None: TemporalGradient(model, "probability", chunk_size=chunk),
        is_sensitivity=False,
        variant=True,
    ),
    Method(
        "temporal_gradient_framewise",
        TemporalGradient,
        lambda model, chunk=None: TemporalGradient(model, memory="framewise", chunk_size=chunk),
        framewise_only=True,
    ),
    Method("lrp", LRP, lambda model, chunk=None: LRP(model, WIDE), is_sensitivity=False),
    Method(
        "contrastive_lrp",
        ContrastiveLRPTemporal,
        lambda model, chunk=None: ContrastiveLRPTemporal(
            model, composite=WIDE, rows_per_backward=chunk
        ),
    ),
    Method(
        "lrp_temporal",
        ContrastiveLRPTemporal,
        lambda model, chunk=None: ContrastiveLRPTemporal(
            model, contrastive=False, composite=WIDE, rows_per_backward=chunk
        ),
        variant=True,
    ),
    Method(
        "shuffle_probe",
        ShuffleProbe,
        lambda model, chunk=None: ShuffleProbe(
            model, shuffles=5, normalization=IDENTITY, chunk_size=chunk
        ),
    ),
    Method(
        "shuffle_probe_of_a_method",
        ShuffleProbe,
        lambda model, chunk=None: ShuffleProbe(
            TemporalGradient(model),
            shuffles=3,
            reduction=frame_scores,
            normalization=IDENTITY,
            chunk_size=chunk,
        ),
        variant=True,
    ),
    Method(
        "tsr",
        FrameMaskingTSR,
        lambda model, chunk=None: FrameMaskingTSR(
            TemporalGradient(model), perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
    ),
    Method(
        "tsr_in_two_steps",
        FrameMaskingTSR,
        lambda model, chunk=None: FrameMaskingTSR(
            TemporalGradient(model), "two", Blocks(8, 16), perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
        variant=True,
    ),
    Method(
        "frame_shapley",
        FrameShapley,
        lambda model, chunk=None: FrameShapley(model, perturbations_per_eval=chunk),
        is_sensitivity=False,
    ),
    Method(
        "frame_shapley_of_regions",
        FrameShapley,
        lambda model, chunk=None: FrameShapley(
            model, 0.0, 4, feature_mask=Blocks(8, 16), perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
        exact_cost=False,
        variant=True,
    ),
    Method(
        "deletion_curve",
        DeletionCurve,
        lambda model, chunk=None: DeletionCurve(model, perturbations_per_eval=chunk),
        is_sensitivity=False,
    ),
    Method(
        "sliding_frames",
        SlidingFrames,
        lambda model, chunk=None: SlidingFrames(model, perturbations_per_eval=chunk),
        is_sensitivity=False,
    ),
    Method(
        "sliding_frames_in_reverse",
        SlidingFrames,
        lambda model, chunk=None: SlidingFrames(model, 3, "reverse", perturbations_per_eval=chunk),
        is_sensitivity=False,
        variant=True,
    ),
    Method(
        "occlusion",
        Occlusion,
        lambda model, chunk=None: Occlusion(
            model, (2, 8, 8), baselines=0.0, perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
    ),
    Method(
        "rise",
        RISE,
        lambda model, chunk=None: RISE(model, 12, baselines=0.0, perturbations_per_eval=chunk),
        is_sensitivity=False,
    ),
    Method(
        "kernel_shap",
        KernelSHAP,
        lambda model, chunk=None: KernelSHAP(
            model, Tubes(3, 2, 1), 24, perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
        exact_cost=False,
    ),
    Method(
        "video_lime",
        VideoLIME,
        lambda model, chunk=None: VideoLIME(
            model, Tubes(3, 2, 1), 24, perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
        exact_cost=False,
    ),
    # Rectified, a map of so few channels would often be 0 everywhere.
    Method(
        "grad_cam",
        GradCAM,
        lambda model, chunk=None: GradCAM(model, relu=False),
        is_sensitivity=False,
    ),
    Method(
        "score_cam",
        ScoreCAM,
        lambda model, chunk=None: ScoreCAM(model, relu=False, perturbations_per_eval=chunk),
        is_sensitivity=False,
    ),
    Method(
        "attention_rollout",
        AttentionRollout,
        lambda model, chunk=None: AttentionRollout(model),
        is_sensitivity=False,
        models=ATTENDING,
        class_blind=True,
    ),
    Method(
        "gradient_attention",
        GradientAttention,
        lambda model, chunk=None: GradientAttention(model),
        is_sensitivity=False,
        models=ATTENDING,
    ),
    Method(
        "gradient_attention_alone",
        GradientAttention,
        lambda model, chunk=None: GradientAttention(model, identity=False),
        is_sensitivity=False,
        models=ATTENDING[:1],
        variant=True,
    ),
    Method(
        "integrated_gradients",
        IntegratedGradients,
        lambda model, chunk=None: IntegratedGradients(model, n_steps=2, internal_batch_size=chunk),
        is_sensitivity=False,
    ),
    Method(
        "expected_gradients",
        ExpectedGradients,
        lambda model, chunk=None: ExpectedGradients(model, n_samples=2, internal_batch_size=chunk),
        is_sensitivity=False,
    ),
    Method(
        "selective_relevance",
        SelectiveRelevance,
        lambda model, chunk=None: SelectiveRelevance(
            TemporalGradient(model), perturbations_per_eval=chunk
        ),
        is_sensitivity=False,
    ),
    Method(
        "extremal_perturbation",
        ExtremalPerturbation,
        lambda model, chunk=None: ExtremalPerturbation(
            model, 0.3, grid=(3, 4, 2), baselines=0.0, max_iterations=4
        ),
        is_sensitivity=False,
        exact_cost=False,
    ),
]
