"""One valid call of everything that is public: what bad values are then put into."""

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn

import temporal_attr as ta
from temporal_attr import (
    attributions,
    clips,
    evaluation,
    gradients,
    measures,
    models,
    perturbations,
    relevance,
    synthetic,
    views,
    zoo,
)
from temporal_attr._run import RunContext
from tests.contract.hostile import values
from tests.helpers.blocks import two_pathways

ACTIVATIONS = [
    getattr(ta, name)
    for name in ("GradCAM", "GradCAMPlusPlus", "HiResCAM", "LayerCAM", "ScoreCAM")
    if hasattr(ta, name)
]

ROOMS = {
    room.__name__.rpartition(".")[2]: room
    for room in (
        clips, models, zoo, synthetic, gradients, perturbations, relevance, measures,
        attributions, evaluation, views,
    )
}  # fmt: skip

LEFT_OUT = {
    # They have no parameters, or only those of a base that is in the table.
    "clips.Shuffling", "clips.FullShuffle", "clips.Reversal", "perturbations.FeatureMask",
    "perturbations.Pixels", "synthetic.Task", "attributions.Stored", "attributions.Result",
    "attributions.PixelResult", "attributions.VideoMethod", "attributions.PerturbingMethod",
    "models.VideoModel", "models.FramewiseModel", "relevance.Rule", "zoo.SteppedModel",
    "attributions.ClassActivationMethod", "attributions.AttentionResult",
    "relevance.AttentionCall", "relevance.AttentionGradients", "relevance.token_means",
    # Names of types.
    "perturbations.Labels", "relevance.Handler", "clips.Sampling",
    "perturbations.FrameBaselines",
    # Records that engines make of what is checked already, and tools of the engines' own.
    "evaluation.Case", "evaluation.Explain", "evaluation.Metric", "evaluation.MetricTraits",
    "evaluation.Score", "evaluation.Row", "evaluation.Ranked", "evaluation.Difference",
    "evaluation.LeftOut", "evaluation.MetricSummary", "evaluation.PlantedClips",
    "evaluation.TaskSet", "evaluation.TaskSetEntry", "evaluation.TaskSetPart",
    # They need videos of the user's, or a network that is no part of the package.
    "evaluation.shared_clips",
    "evaluation.CutsSet", "evaluation.FootageSet", "evaluation.CutDetector",
    "evaluation.TrainingRecipe",
    "evaluation.Comparison", "evaluation.CHANCE", "evaluation.METRICS", "evaluation.TASK_SETS",
    "relevance.Call", "relevance.Handled", "relevance.Sink", "relevance.Term", "relevance.Trace",
    "relevance.AuditLog", "relevance.AuditedCall", "models.Derived", "models.DerivedFunction",
    "gradients.Gradients", "attributions.RunContext", "attributions.Traits", "attributions.started",
    "attributions.Estimate", "models.LayerTable", "models.WithoutTimesteps",
    "attributions.register_painter", "attributions.Run", "relevance.NoRuleError",
    "gradients.is_out_of_memory", "perturbations.ComposedClips", "perturbations.FrameTable",
    "perturbations.MaskedFrames", "perturbations.BlendedFrames", "perturbations.StoredFrames",
    "perturbations.masked_compositions", "perturbations.whole_clips", "attributions.ScoreResult",
}  # fmt: skip


NOT_DEFINED = {
    # Records, in which NaN is what is not defined, and the words for such numbers.
    "measures.Correlation", "measures.Interval", "measures.Overlap", "measures.context_category",
    "measures.need_category", "measures.reliance_category", "measures.tracking_category",
    "attributions.ShuffleSet", "zoo.Card",
}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A valid call.

    Attributes:
        function: What is called.
        arguments: By name.
        free: Parameters that take what their annotation does not say.
    """

    function: Any
    arguments: dict[str, Any]
    free: tuple[str, ...] = field(default=())


@cache
def calls(room=None):
    """All of them, or those of a room, by name: "room.name" or "room.Class.method"."""
    tables = (
        _clips, _models, _zoo, _synthetic, _gradients, _perturbations, _relevance, _measures,
        _attributions, _evaluation, _views,
    )  # fmt: skip
    found = {}
    for table in tables:
        if room in (None, table.__name__.removeprefix("_")):
            found.update(table())
    return found


def _room(name, **entries):
    room = ROOMS[name]
    # An earlier state, which the benchmark compares with, does not have all of them.
    return {
        f"{name}.{one}": Call(getattr(room, one), given)
        for one, given in entries.items()
        if hasattr(room, one)
    }


def _methods(room, thing, kind=None, **entries):
    name = kind or type(thing).__name__
    return {
        f"{room}.{name}.{one}": Call(getattr(thing, one), given) for one, given in entries.items()
    }


def _clips():
    frames = (values.drawn(3, 3, 12, 16) * 255).to(torch.uint8)
    normalization = clips.Normalization((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    where = {"source": values.video()}
    return {
        **_room(
            "clips",
            BlockShuffle={"length": 2},
            ImageSequence={"path": values.images()},
            LocalShuffle={"radius": 1},
            Clip={
                "tensor": values.single().tensor, "indices": (0, 1, 2, 3),
                "timestamps": (0.0, 0.25, 0.5, 0.75), "fps": 4.0, "source": "tensor",
            },
            Normalization={"mean": (0.5, 0.5, 0.5), "std": (0.2, 0.2, 0.2)},
            Preprocessing={"resize": 8, "crop": (6, 6)},
            VideoFile={"path": values.video()},
            check_finite={"clip": values.clip()},
            check_layout={"clip": values.clip()},
            clip_windows={**where, "size": 4},
            count_orders={"shuffling": clips.FullShuffle(), "frames": 4, "limit": 5},
            dense_indices={"total": 20, "frames": 3},
            draw_orders={"shuffling": clips.BlockShuffle(2), "frames": 6, "count": 2},
            load_clip={**where, "frames": 3},
            open_source=where,
            require_positive={"name": "frames", "value": 2},
            uniform_indices={"total": 20, "frames": 3},
            window_starts={"total": 20},
            window_step={"size": 12, "overlap": 0.5},
            write_video={
                "frames": values.frames_of_bytes(3), "path": values.folder() / "out.webm",
                "fps": 5.0,
            },
        ),
        **_methods("clips", values.single(), to={"device": "cpu"}),
        **_methods("clips", clips.Clip, "Clip", from_tensor={"tensor": values.single().tensor}),
        **_methods(
            "clips", normalization,
            apply={"pixels": values.drawn(2, 3, 4, 4)}, invert={"values": values.drawn(2, 3, 4, 4)},
        ),
        **_methods(
            "clips", clips.Preprocessing(resize=8, normalization=normalization),
            __call__={"frames": frames},
        ),
    }  # fmt: skip


def _models():
    linear, clip = nn.Linear(5, 3).eval(), values.clip()
    return _room(
        "models",
        Conv3D={
            "model": values.volume(), "stages": ("stem",), "pool": "pool", "classifier": "fc",
        },
        EarlyFusion={"model": nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)).eval(), "frames": 4},
        FrameLogits={"logits": values.drawn(1, 4, 3), "weights": torch.full((4,), 0.25)},
        FrameRecurrent={
            "encoder": values.encoder(), "recurrent": nn.LSTM(5, 5).eval(), "classifier": linear,
        },
        FrameTransformer={
            "encoder": values.encoder(), "head": linear, "pool": "first",
            "transformer": nn.TransformerEncoder(
                nn.TransformerEncoderLayer(5, 1, 8, batch_first=True), 1, enable_nested_tensor=False
            ).eval(),
            "positions": values.drawn(9, 5), "class_token": values.drawn(5),
        },
        LateFusion={"encoder": values.encoder(), "head": linear},
        LayerTimesteps={"model": values.volume(), "layer": "stem"},
        layers={"model": values.volume(), "clip": clip},
        ReducedOutput={"model": values.volume(), "reduce": lambda logits: logits},
        StepOutputs={"model": values.volume(), "pick": lambda logits: logits[:, None]},
        SlowFast={"model": two_pathways().eval()},
        Trial={"model": values.model(), "clips": (clip,)},
        at_timestep={"model": values.model(), "timestep": 1},
        check_fits={"model": values.model(), "clip": clip},
        check_weights_of_gradients={"model": values.model()},
        check_logits={"logits": values.drawn(2, 3), "batch": 2},
        check_wrapper={"wrapper": values.model(), "network": values.model().forward, "clip": clip},
        class_names={"path": None},
        layer_features={"model": values.model(), "layer": "encoder"},
        linear_outputs={"model": values.model(), "weights": values.drawn(2, 3)},
        load_model={"name": "torchvision:mc3_18", "classes": 3},
        # Refused as it is: a checkpoint would take the import of transformers, each time.
        load_transformers={"folder": values.folder()},
        model_logits={"model": values.model(), "clips": (clip,)},
        named_misfit={"model": values.model()},
        rather_than={"model": values.model(), "other": 1},
        require_as_assumed={"trial": values.trial()},
        predicts_by_frame={"model": values.model(), "clip": clip},
        require_evaluation_mode={"model": values.model()},
        require_framewise={"model": values.model(), "frames": clip[0, :3]},
        require_visible_attention={"model": values.model()},
        require_wrapped={"model": values.model()},
        similarity_to={"model": values.model(), "references": values.drawn(2, 3)},
        wrap={"model": values.model()},
    )  # fmt: skip


def _zoo():
    small = {"classes": 3, "widths": (4, 8)}
    card = zoo.pretrained_card("mixed-appearance-late-fusion")
    return _room(
        "zoo",
        AttentionPooling={"features": 8},
        NetVLAD={"features": 8},
        TemporalPyramid={"features": 8},
        FrameEncoder={"widths": (4, 8)},
        InputCellAttention={"features": 8, "hidden": 4},
        TemporalAggregation={"channels": 4},
        SlowFast=small,
        TemporalTransformer={**small, "features": 8, "heads": 2, "depth": 1},
        TubeletTransformer={"classes": 3, "features": 8, "heads": 2, "depth": 1},
        DividedTransformer={"classes": 3, "features": 8, "heads": 2, "depth": 1},
        Card={one.name: getattr(card, one.name) for one in fields(card)},
        build_model={"architecture": "late-fusion", "classes": 3},
        early_fusion=small,
        factorised_resnet=small,
        factorised_width={"temporal_kernel": 3, "kernel": 3, "inside": 4, "outside": 8},
        inflated_resnet=small,
        late_fusion=small,
        load_pretrained={"name": "mixed-appearance-late-fusion"},
        pretrained_card={"name": "mixed-appearance-late-fusion"},
        pretrained_names={},
        recurrent={**small, "hidden": 4},
        save_checkpoint={
            "model": zoo.load_pretrained("mixed-appearance-late-fusion"), "card": card,
            "folder": values.folder() / "weights",
        },
        tam2d=small,
    )  # fmt: skip


def _synthetic():
    planted = values.planted()
    tasks = {name: {"size": 32} for name in ("Appearance", "Gait", "Mixed", "Motion", "Order")}
    return {
        **_room(
            "synthetic",
            Keyframe={"size": 32},
            PlantedVideo={one.name: getattr(planted, one.name) for one in fields(planted)},
            **tasks,
        ),
        **_methods("synthetic", planted, clip={}, write={"path": values.folder() / "planted.webm"}),
        **_methods("synthetic", synthetic.Motion(frames=4, size=16), "Task", sample={"index": 0}),
    }


def _gradients():
    model, clip = values.model(), values.clip()
    frames = clip.flatten(0, 1)
    doubled = frames.clone().requires_grad_()
    query = gradients.GradientQuery(model, lambda logits: logits[:, :1])
    return _room(
        "gradients",
        GradientQuery={"model": model, "scalars": lambda logits: logits[:, :1]},
        encode_frames={"model": model, "frames": frames},
        frame_graph={"model": model, "frames": frames},
        gradient_at_features={
            "model": model, "features": model.features(clip), "objective": lambda x: x[:, 0],
        },
        gradients_of={"query": query, "clips": (clip,), "run": RunContext()},
        halving={
            "attempt": lambda size: size, "size": 4, "fixed": False, "run": RunContext(),
            "path": "whole",
        },
        isolated_autograd={"clips": (clip,)},
        logit={"logits": values.drawn(2, 3), "target": torch.tensor([0, 1])},
        mended={"output": values.model()(clip)},
        native_recurrence={"on_cuda": False},
        reliable_backward={"on_cuda": False},
        require_memory={"memory": "auto"},
        resolve_objective={"objective": "logit"},
        resolve_target={"target": 1, "logits": values.drawn(2, 3)},
        vector_jacobian_products={
            "encoded": doubled + doubled, "leaf": doubled,
            "vectors": values.drawn(2, *frames.shape),
            "reduction": torch.clone, "run": RunContext(),
        },
    )  # fmt: skip


def _perturbations():
    clip, numbers = values.clip(), values.drawn(3)
    masks = perturbations.frame_masks(2, 4, 1)[:2]
    blocks = perturbations.Blocks(4, 8)
    return {
        **_room(
            "perturbations",
            AbsentFrames={"clip": clip, "baselines": "neighbour"},
            Blocks={"height": 4, "width": 8},
            Superpixels={"n_segments": 4},
            Tubes={"time": 2},
            FlowSegments={"n_segments": 4},
            Supervoxels={"n_segments": 4},
            ChunkEffects={"change": numbers, "logits": None},
            Effects={"change": numbers, "logits": None, "done": torch.ones(3, dtype=torch.bool)},
            EffectsSoFar={"masks": 3, "like": clip},
            Mask={"example": 0, "first": 0, "end": 1},
            MaskQuery={"masks": masks, "description": "masks"},
            as_feature_mask={"feature_mask": blocks},
            at_least_single={"dtype": torch.float16},
            baseline_of={"clip": clip, "baselines": 0.0},
            check_baselines={"baselines": 0.0},
            check_frame_baselines={"baselines": 0.0},
            is_relational={"baselines": "removal"},
            check_clip_baselines={"baselines": 0.0},
            clip_baseline_of={"clip": clip, "baselines": 0.0},
            feature_masks={"labels": blocks.labels(clip), "example": 0, "frame": 1},
            frame_masks={"batch": 2, "frames": 4, "window": 1},
            masked_clips={"clip": clip, "masks": masks, "baseline": torch.zeros_like(clip)},
            masked_frames={"clip": clip, "masks": masks, "baseline": torch.zeros_like(clip)},
            mean_over_windows={"numbers": values.drawn(2, 3), "frames": 4, "window": 2},
            neighbour_of={"first": 1, "end": 2, "frames": 4},
            require_on_stop={"on_stop": "raise"},
            seeded={"seed": 0},
            stopping={"on_stop": "raise"},
        ),
        **_methods("perturbations", blocks, labels={"clip": clip}, divide={"clip": clip}),
        **_methods(
            "perturbations", perturbations.Superpixels(4),
            labels={"clip": clip, "normalization": clips.IDENTITY},
        ),
        **_methods(
            "perturbations", perturbations.Supervoxels(4),
            labels={"clip": clip, "normalization": clips.IDENTITY},
        ),
        **_methods("perturbations", perturbations.Tubes(2, 2, 2), labels={"clip": clip}),
        **_methods("perturbations", perturbations.Pixels(), labels={"clip": clip}),
        **_methods(
            "perturbations", masks[0],
            applied={"clip": clip, "baseline": torch.zeros_like(clip)},
        ),
    }  # fmt: skip


def _relevance():
    return _room(
        "relevance",
        Absolute={},
        AttentionFlow={},
        Box={"low": -1.0, "high": 1.0},
        Composite={},
        Epsilon={},
        Flat={},
        Gamma={},
        WSquare={},
        ZPlus={},
        attention_gradients={
            "forward": values.attending(), "clip": values.clip(), "number": torch.sum,
        },
        trace={
            "forward": values.model(), "clip": values.clip(), "bounds": None,
            "composite": relevance.Composite(input=relevance.Box(-9.0, 9.0)),
        },
    )  # fmt: skip


def _measures():
    scores, shuffled, matrix = values.drawn(2, 6), values.drawn(2, 5, 6), values.drawn(2, 4, 4)
    pairs = {"first": values.drawn(9), "second": values.drawn(2, 9)[1]}
    clip = values.drawn(1, 4, 3, 16, 16)
    maps = {"saliency": values.drawn(1, 5, 4, 4), "flow": values.drawn(1, 4, 4, 4)}
    logits = {"logits": values.drawn(2, 3), "shuffled_logits": values.drawn(2, 5, 3)}
    known = torch.rand(2, 6, generator=torch.Generator().manual_seed(1)) > 0.6
    mean = measures.average_matrices(matrix, torch.ones(2))
    agreement = measures.flow_agreement(**maps)
    interval = {"value": 0.5, "low": 0.25, "high": 0.75, "confidence": 0.95}
    array = values.drawn(12).numpy()
    pixels = {"pixels": clip}
    both = {"ordered": scores, "shuffled": shuffled}
    average = {"matrices": matrix, "scores": torch.full((2,), 0.75)}
    return _room(
        "measures",
        Agreement=_fields(agreement.intersection),
        Correlation={"value": 0.5, "low": 0.25, "high": 0.75, "p_value": 0.01, "count": 9},
        FlowAgreement=_fields(agreement),
        Interval=interval,
        KeyframeAgreement=_fields(measures.keyframe_agreement(scores, known)),
        MatrixAverage=_fields(mean),
        Overlap={"share": 0.5, "chance": 0.25, "p_value": 0.05},
        ShuffleMeasure=_fields(next(iter(measures.SHUFFLE_MEASURES.values()))),
        average_by_class={**average, "targets": torch.tensor([0, 1])},
        average_matrices=average,
        average_range={"ranges": measures.ranges(matrix), "step_logits": values.drawn(2, 4)},
        bootstrap={"values": array, "statistic": _mean},
        context_category={"relative_drop": 0.25},
        correlation=pairs,
        flow_agreement=maps,
        flow_correlations={"flow": values.drawn(2, 5), "scores": shuffled},
        flow_magnitude=pixels,
        frame_changes=pixels,
        frame_scores={"attribution": clip},
        hierarchical_bootstrap={"groups": [array, array[:6]], "statistic": _mean, "resamples": 99},
        histogram_changes=pixels,
        keyframe_agreement={"relevance": scores, "keyframes": known},
        keyframes=pixels,
        maximum_range={"ranges": measures.ranges(matrix)},
        measure_label={"name": "logit_drop", "activation": "softmax"},
        median_log_ratio={"ratios": shuffled},
        motion_reliance_ratio={"ratios": shuffled},
        natural_order_p_value={"levels": scores},
        need_category={"probability_drop": 0.25, "probability": 0.5},
        optical_flow=pixels,
        paired_permutation_test=pairs,
        profile_correlations=both,
        ranges={"matrix": matrix},
        rank_correlation=pairs,
        reliance_category={"motion_reliance_ratio": 0.5},
        require_reduction={"reduction": "l2"},
        rising_share={"ratios": shuffled},
        saliency_video={"attribution": clip},
        score_ratios=both,
        shortest_runs={"matrix": matrix},
        shuffle_samples={**both, **logits, "target": torch.tensor([0, 1])},
        stand_out={"keyframes": known},
        temporal_overlap={"values": values.drawn(9), "temporal": (1, 2, 3), "k": 3},
        tracking_category={"flow_correlation_drop": 0.25},
        window_bounds={"windows": 3, "steps": 4, "frames": 4},
        windowed_clip={"clip": clip, "bounds": torch.tensor([[1, 2]])},
    )


def _mean(drawn):
    return drawn.mean(1)


def _fields(record):
    return {one.name: getattr(record, one.name) for one in fields(record)}


def _attributions():
    model, clip = values.model(), values.clip()
    explained = {"inputs": clip, "target": 1}
    free = clips.IDENTITY
    wide = relevance.Composite(input=relevance.Box(-9.0, 9.0))
    gradient = ta.TemporalGradient(model)
    probe = ta.ShuffleProbe(values.stepped(), shuffles=2, normalization=free)
    contrastive = ta.ContrastiveLRPTemporal(values.stepped(), composite=wide)
    tsr = ta.FrameMaskingTSR(gradient)
    rollout, attention = (
        kind(values.attending()) for kind in (ta.AttentionRollout, ta.GradientAttention)
    )
    selective = ta.SelectiveRelevance(gradient, "frozen")
    expected = ta.ExpectedGradients(model, n_samples=2)
    integrated = ta.IntegratedGradients(model, n_steps=2)
    masks = ta.ExtremalPerturbation(model, max_iterations=2)
    saved = values.results()["lrp"].save(values.folder() / "result", overwrite=True)
    return {
        **_room(
            "attributions",
            LRP={"model": model},
            **{kind.__name__: {"model": model} for kind in ACTIVATIONS},
            AttentionRollout={"model": model},
            ContrastiveLRPTemporal={"model": model},
            GradientAttention={"model": model},
            ExtremalPerturbation={"model": model},
            FrameMaskingTSR={"method": model},
            FrameShapley={"model": model},
            DeletionCurve={"model": model},
            KernelSHAP={"model": model},
            Occlusion={"model": model},
            RISE={"model": model},
            SlidingFrames={"model": model},
            VideoLIME={"model": model},
            ExpectedGradients={"model": model},
            IntegratedGradients={"model": model},
            SelectiveRelevance={"method": model},
            ShuffleProbe={"model": model},
            TemporalGradient={"model": model},
            load_result={"folder": saved},
            require_free={"where": values.folder() / "nothing", "overwrite": False},
        ),
        **_methods("attributions", ta.LRP(model, wide), attribute=explained, explain=explained),
        **_each_activation(model, explained),
        **_methods("attributions", contrastive, attribute=explained, explain=explained),
        **_methods("attributions", rollout, attribute=explained, explain=explained),
        **_methods("attributions", attention, attribute=explained, explain=explained),
        **_methods("attributions", tsr, attribute=explained, explain=explained),
        **_methods("attributions", selective, attribute=explained, explain=explained),
        **_methods("attributions", expected, attribute=explained, explain=explained),
        **_methods(
            "attributions",
            integrated,
            attribute=explained,
            explain=explained,
            compute_convergence_delta={
                "attributions": clip,
                "start_point": clip,
                "end_point": clip,
                "target": 1,
            },
        ),
        **_methods("attributions", gradient, attribute=explained, explain=explained),
        **_methods("attributions", ta.FrameShapley(model), attribute=explained, explain=explained),
        **_methods("attributions", ta.DeletionCurve(model), attribute=explained, explain=explained),
        **_methods("attributions", ta.SlidingFrames(model), attribute=explained, explain=explained),
        **_methods("attributions", masks, attribute=explained, explain=explained),
        **_methods("attributions", gradient, kind="VideoMethod", estimate=explained),
        **_methods("attributions", probe, attribute=explained, explain=explained, curve=explained),
        **_results(),
    }


def _each_activation(model, explained):
    found = {}
    for kind in ACTIVATIONS:
        found |= _methods("attributions", kind(model), attribute=explained, explain=explained)
    return found


def _results():
    found, made = {}, values.results()
    names = (
        "gradient lrp contrastive shuffles rescaled shapley curve sliding occlusion rise "
        "kernel_shap video_lime activation rollout attention integrated expected selective masks"
    )
    for name in names.split():
        result = made[name]
        kind = type(result)
        found[f"attributions.{kind.__name__}"] = Call(kind, _fields(result))
        found |= _methods(
            "attributions", result,
            class_label={"example": 0}, to_dataframe={},
            save={"folder": values.folder() / f"saved-{name}", "overwrite": True},
        )  # fmt: skip
    shuffles = made["shuffles"]
    several = {"results": [shuffles, shuffles], "names": ["a", "b", "c", "d"]}
    found |= _methods(
        "attributions", shuffles,
        row={"example": 0}, samples={"example": 0}, levels={"example": 0},
        target_logits={"example": 0}, interval={"name": "mrr"}, gather=several,
    )  # fmt: skip
    found |= _methods(
        "attributions", attributions.ShuffleSet, "ShuffleSet", of={"clips": [shuffles]}
    )
    for name in ("shuffle_curve", "shuffle_set"):
        kind = type(made[name])
        found[f"attributions.{kind.__name__}"] = Call(kind, _fields(made[name]))
    return found


def _evaluation():
    model, clip = values.stepped(), values.clip()
    return _numbers() | _room(
        "evaluation",
        WindowAccuracy=_fields(values.curve()),
        accuracy_by_window={
            "model": model, "batches": [(clip, torch.tensor([0, 1]))], "sizes": (1, 2),
        },
        windowed_logits={"model": model, "clip": clip, "windows": 2},
    ) | _faithfulness() | _suite() | _asked_again()  # fmt: skip


def _faithfulness():
    """Metrics that remove features, and the functions that they are made of."""
    first, second = np.array([3.0, 1.0, 0.5]), np.array([0.4, 0.2, 0.1])
    whole = {"whole": 0.5, "masked": 0.25}
    return _room(
        "evaluation",
        ABPC={}, AverageDrop={}, AverageIncrease={}, Deletion={}, Infidelity={}, Insertion={},
        LeaveOneOut={}, MinimalNecessaryFrames={}, MinimalSufficientFrames={}, ROAD={}, SaCo={},
        SensitivityN={},
        area_between_curves={"counts": [0, 1, 2], "least": first, "most": second},
        average_drop=whole,
        average_increase=whole,
        curve_area={"counts": [0, 1, 2], "values": first},
        imputed={"clip": values.clip()[0], "missing": values.clip()[0, :, 0] > 0.5},
        infidelity_of_samples={"told": first, "drops": second},
        leave_one_out={"scores": first, "drops": second},
        removal_area={"shares": [0.0, 0.2, 0.5], "values": first},
        salience_coefficient={"saliences": first, "drops": second},
        sensitivity_n={"sums": first, "drops": second},
        smallest_share={"holds": np.array([False, True])},
    )  # fmt: skip


def _asked_again():
    """Metrics that ask a method again, what they are made of, and named task sets."""
    model, clip = values.model(), values.clip()
    return _room(
        "evaluation",
        **{
            name: {}
            for name in (
                "AverageSensitivity", "CascadingRandomization", "EfficientRandomization",
                "FrameRate", "FrameShift", "IndependentRandomization", "InputShift",
                "LocalLipschitz", "MaxSensitivity", "OtherClass", "PixelShift", "RandomLogit",
                "Recompression", "Repeats", "ShuffledTwin", "SmoothRandomization", "StaticClip",
            )
        },
        OrderBlind={"base": values.stepped(), "orders": 2},
        displaced_clip={"clip": clip, "pixels": 1},
        histogram_entropy={"scores": np.array([1.0, 2.0, 2.5])},
        later_clip={"clip": clip},
        order_blind={"model": values.stepped(), "orders": 2},
        parameter_modules={"model": model, "clip": clip},
        random_orders={"frames": 4, "count": 2},
        randomized={"model": model, "modules": ["classifier"]},
        recompressed={"clip": clip, "normalization": clips.IDENTITY},
        shifted={"model": model, "constant": torch.ones(3)},
        slower_clip={"clip": clip},
        still_clip={"clip": clip},
        PlantedSet={},
        task_set={"name": "planted-v1"},
    )  # fmt: skip


def _suite():
    """The suite, what it takes, and what it gives."""
    model, clip = values.model(), values.clip()
    suite, found = values.suite(), values.comparison()
    judged = {"metric": "gini-frames"}
    return {
        **_room(
            "evaluation",
            Suite={"models": model, "methods": ["random"], "clips": [clip[:1]],
                   "metrics": ["gini-frames"]},
            Example={"clip": clip[:1]},
            Explanation={"frame_scores": torch.ones(4)},
            Truth={"frames": torch.ones(4).bool()},
            metric_names={},
            planted_clips={"task": synthetic.Keyframe(frames=4, size=16, classes=2),
                           "model": values.certain, "count": 1},
        ),
        **_methods("evaluation", suite, run={"store": values.folder() / "suite",
                                             "show_progress": False}),
        **_methods(
            "evaluation", found,
            values={**judged, "method": "random"}, ranking=judged, differences=judged,
            critical_difference=judged, agreement={}, summary={},
            save={"folder": values.folder() / "compared"},
            load={"folder": found.save(values.folder() / "kept")},
        ),
    }  # fmt: skip


def _numbers():
    """Metrics that take numbers only, and the functions that they are made of."""
    scores, truth = np.array([3.0, -1.0, 2.0, 0.5]), np.array([True, False, True, False])
    judged = {"scores": scores, "truth": truth}
    return _room(
        "evaluation",
        AUP={}, AUPRC={}, AUR={}, EffectiveFrames={}, Entropy={}, Gini={}, IoU={}, MassAccuracy={},
        PairAP={}, PeakDistance={}, PointingGame={}, RankAccuracy={}, TemporalRoughness={},
        TopKIntersection={},
        Areas=dict.fromkeys(("aup", "aur", "aupr", "ranked_aup", "ranked_aur", "ap"), 0.5),
        areas={"scores": np.abs(scores), "truth": truth},
        average_precision=judged,
        effective_frames={"scores": scores},
        entropy={"scores": scores},
        gini={"scores": scores},
        intersection_over_union=judged,
        mass_accuracy=judged,
        pair_average_precision={
            "matrix": scores[:, None] + scores, "pairs": truth[:, None] & truth,
        },
        peak_distance=judged,
        pointing_game=judged,
        rank_accuracy=judged,
        temporal_roughness={"scores": scores},
        top_k_intersection=judged,
    )  # fmt: skip


def _views():
    made, clip = values.results(), values.shown()
    pixels = {"attribution": made["lrp"], "clip": clip}
    curve, whole = made["shuffle_curve"], made["shuffle_set"]
    probed = {"result": made["shuffles"], "clip": clip}
    return _room(
        "views",
        attention_over_time={"attention": made["rollout"]},
        average_heatmap={"averages": values.averages()},
        clip_overview={"clips": whole},
        flow_profile=probed,
        flow_saliency=pixels,
        frame_strip=pixels,
        glance={"result": made["lrp"]},
        influence_map={"influence": made["gradient"]},
        keyframe_strip={"result": made["rescaled"], "clip": clip},
        method_ranking={"comparison": values.comparison()},
        metric_agreement={"comparison": values.comparison()},
        metric_curves={"comparison": values.comparison(), "metric": "deletion-frames"},
        metric_table={"comparison": values.comparison()},
        overlay_grid=pixels,
        overlay_video={**pixels, "path": values.folder() / "overlay.webm"},
        pictures={"result": made["lrp"], "clip": clip},
        pictures_of_comparison={"comparison": values.comparison()},
        pictures_of_set={"clips": whole},
        planted_sheet={"videos": [values.planted()]},
        range_curve={"curve": curve},
        ratio_distribution={"result": made["shuffles"]},
        relevance_heatmap={"relevance": made["contrastive"]},
        score_against_cost={"comparison": values.comparison(), "metric": "gini-frames"},
        segment_timeline={"segments": made["shuffles_of_segments"].segments[0]},
        shuffle_profile=probed,
        side_by_side={"attributions": {"one": made["lrp"]}, "clip": clip},
        window_accuracy={"curve": values.curve()},
    )
