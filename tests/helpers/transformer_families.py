"""Video transformers small enough to test, with weights that make their outputs vary."""

from functools import partial

import timm
import torch
import torchvision
import transformers
from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.models.video.swin_transformer import SwinTransformer3d

from temporal_attr import wrap
from tests.helpers.families import CLASSES, Family

SHAPE = (2, 8, 3, 32, 32)
WIDTH = {
    "hidden_size": 24,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_labels": CLASSES,
}
SIZE = {"image_size": 32, "num_frames": 8}


@torch.no_grad()
def lively(model):
    """All weights, biases, affines, positions and queries random.

    The libraries' own start at zero or at 0.02, where attention is uniform.
    """
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    for part in model.modules():
        if type(part) is nn.LayerNorm:
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return model.eval()


def of_transformers(kind, config, attention="sdpa"):
    """A model of the transformers library; attention that is there for it."""
    return lively(kind._from_config(config, attn_implementation=attention))


def videomae(attention="sdpa", **options):
    config = transformers.VideoMAEConfig(
        **WIDTH, **SIZE, patch_size=16, num_hidden_layers=2, **options
    )
    return of_transformers(transformers.VideoMAEForVideoClassification, config, attention)


def vivit(attention="sdpa", **options):
    config = transformers.VivitConfig(
        **WIDTH, **SIZE, tubelet_size=[2, 16, 16], num_hidden_layers=2, **options
    )
    return of_transformers(transformers.VivitForVideoClassification, config, attention)


def timesformer(kind="divided_space_time", **options):
    config = transformers.TimesformerConfig(
        **WIDTH, **SIZE, patch_size=16, num_hidden_layers=2, attention_type=kind, **options
    )
    return of_transformers(transformers.TimesformerForVideoClassification, config, "eager")


def vjepa2(attention="sdpa", **options):
    config = transformers.VJEPA2Config(
        hidden_size=24,
        num_attention_heads=2,
        mlp_ratio=2,
        num_labels=CLASSES,
        num_hidden_layers=2,
        num_pooler_layers=1,
        crop_size=32,
        patch_size=16,
        frames_per_clip=8,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        **options,
    )
    return of_transformers(transformers.VJEPA2ForVideoClassification, config, attention)


def videoprism(**options):
    config = transformers.VideoPrismVisionConfig(
        **WIDTH,
        **SIZE,
        tubelet_size=[1, 16, 16],
        num_spatial_layers=1,
        num_temporal_layers=1,
        **options,
    )
    return of_transformers(transformers.VideoPrismForVideoClassification, config, "eager")


def swin3d(depths=(2, 1)):
    return lively(
        SwinTransformer3d(
            [2, 4, 4], 8, depths, [2, 2], [2, 3, 3], stochastic_depth_prob=0.0, num_classes=CLASSES
        )
    )


def mvit(version=2, **options):
    """Two blocks, of which the first pools; as torchvision's versions are put together."""
    pooled = ([3, 3, 3], [1, 1, 1]) if version == 2 else ([], [])
    settings = [
        MSBlockConfig(1, 8, 16, [3, 3, 3], [3, 3, 3], [1, 2, 2], [1, 2, 2]),
        MSBlockConfig(2, 16, 24, pooled[0], [3, 3, 3], pooled[1], [1, 1, 1]),
    ]
    parts = {
        "residual_pool": version == 2,
        "residual_with_cls_embed": version != 2,
        "rel_pos_embed": version == 2,
        "proj_after_attn": version == 2,
    }
    return lively(MViT((32, 32), 8, settings, num_classes=CLASSES, **{**parts, **options}))


def image_vit(kind="vit_b_32"):
    """Torchvision's ViT, on small patches."""
    return lively(torchvision.models.VisionTransformer(32, 16, 2, 2, 24, 32, num_classes=CLASSES))


def _build(make, bare):
    def build():
        network = make()
        return wrap(network), partial(bare, network)

    return build


def _logits(network, clip):
    return network(clip).logits


def _channels_first(network, clip):
    return network(clip.transpose(1, 2))


def _by_frame(network, clip):
    frames = torch.stack([network(frame) for frame in clip.unbind(1)], 1)
    return frames.mean(1)


def _space_only(network, clip):
    return network(clip).logits.unflatten(0, clip.shape[:2]).mean(1)


def _image_logits(network, clip):
    return _by_frame(lambda frame: network(frame).logits, clip)


def _timm(name, **options):
    return lambda: lively(
        timm.create_model(name, num_classes=CLASSES, img_size=32, embed_dim=24, **options)
    )


def hf_vit():
    config = transformers.ViTConfig(**WIDTH, image_size=32, patch_size=16, num_hidden_layers=1)
    return of_transformers(transformers.ViTForImageClassification, config)


_VIT = {"depth": 1, "num_heads": 2, "patch_size": 16}


def _clip_family(name, make, bare=_logits, steps=4, exactness="frozen", shape=SHAPE):
    return Family(name, _build(make, bare), shape, steps, exactness)


TRANSFORMERS = [
    _clip_family("videomae", videomae),
    _clip_family("videomae_eager", partial(videomae, "eager")),
    _clip_family("videomae_token", partial(videomae, use_mean_pooling=False)),
    _clip_family("vivit", vivit),
    _clip_family("vivit_eager", partial(vivit, "eager")),
    _clip_family("timesformer", timesformer, steps=8),
    _clip_family("timesformer_joint", partial(timesformer, "joint_space_time"), steps=8),
    _clip_family("timesformer_space", partial(timesformer, "space_only"), _space_only, 8, "linear"),
    _clip_family("vjepa2", vjepa2),
    _clip_family("vjepa2_eager", partial(vjepa2, "eager")),
    _clip_family("vjepa2_longer", vjepa2, steps=5, shape=(2, 10, 3, 32, 32)),
    _clip_family("videoprism", videoprism, lambda m, clip: m(clip).logits.squeeze(1), steps=8),
    _clip_family("swin3d", swin3d, _channels_first, exactness="linear", shape=(2, 7, 3, 32, 32)),
    _clip_family("mvit_v1", partial(mvit, 1), _channels_first),
    _clip_family("mvit_v2", mvit, _channels_first),
    _clip_family(
        "mvit_residual_with_class",
        partial(mvit, 2, residual_with_cls_embed=True, proj_after_attn=False),
        _channels_first,
    ),
    *(
        _clip_family(name, make, bare, 2, "linear", (2, 2, 3, 32, 32))
        for name, make, bare in (
            ("torchvision_vit", image_vit, _by_frame),
            ("timm_vit", _timm("vit_tiny_patch16_224", **_VIT), _by_frame),
            ("timm_deit_distilled", _timm("deit_tiny_distilled_patch16_224", **_VIT), _by_frame),
            ("hf_vit", hf_vit, _image_logits),
        )
    ),
]
