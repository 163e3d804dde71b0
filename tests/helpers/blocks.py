"""Networks of blocks and a head, as pytorchvideo builds its own: what a fork looks like."""

import torch
from torch import nn

CLASSES = 5


class Swish(nn.Module):
    """x sigmoid(x), with its gradient written by hand, which cannot be differentiated again."""

    def forward(self, x):
        return _Swish.apply(x)


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(x)
        return grad * gate * (1 + x * (1 - gate))


class Head(nn.Module):
    """Pooling, linear layer, activation, and a mean over the windows of the pooling."""

    def __init__(self, features, pool, activation=None):
        super().__init__()
        self.pool = pool
        self.dropout = nn.Dropout(0.5)
        self.proj = nn.Linear(features, CLASSES)
        self.activation = activation
        self.output_pool = nn.AdaptiveAvgPool3d(1)

    def forward(self, x):
        x = x if self.pool is None else self.pool(x)
        scores = self.proj(self.dropout(x).movedim(1, -1)).movedim(-1, 1)
        scores = scores if self.activation is None else self.activation(scores)
        return self.output_pool(scores).flatten(1)


class ProjectedPool(nn.Module):
    """X3D's: a convolution before and after the pooling, each with an activation."""

    def __init__(self, inside, between, outside, pool):
        super().__init__()
        self.pre_conv = nn.Conv3d(inside, between, 1, bias=False)
        self.pre_norm = nn.BatchNorm3d(between)
        self.pre_act = nn.ReLU()
        self.pool = pool
        self.post_conv = nn.Conv3d(between, outside, 1, bias=False)
        self.post_norm = None
        self.post_act = nn.ReLU()

    def forward(self, x):
        return self.post_act(
            self.post_conv(self.pool(self.pre_act(self.pre_norm(self.pre_conv(x)))))
        )


class Blocks(nn.Module):
    """One block after another."""

    def __init__(self, *blocks):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Stage(nn.Module):
    """Residual blocks, by the name that forks keep."""

    def __init__(self, *blocks):
        super().__init__()
        self.res_blocks = nn.ModuleList(blocks)

    def forward(self, x):
        for block in self.res_blocks:
            x = x + block(x)
        return x


class Pathways(nn.Module):
    """A block for each pathway; what it is given is overwritten, as in the original."""

    def __init__(self, slow, fast, fusion):
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, x):
        for place, block in enumerate(self.multipathway_blocks):
            x[place] = block(x[place])
        return self.multipathway_fusion(x)


class Lateral(nn.Module):
    """From the fast to the slow pathway."""

    def __init__(self, width, alpha):
        super().__init__()
        self.conv_fast_to_slow = nn.Conv3d(width, width, (3, 1, 1), (alpha, 1, 1), (1, 0, 0))

    def forward(self, x):
        slow, fast = x
        return [torch.cat([slow, self.conv_fast_to_slow(fast).relu()], 1), fast]


class Concatenation(nn.Module):
    """Each pathway pooled, slow before fast."""

    def __init__(self, slow, fast):
        super().__init__()
        self.pool = nn.ModuleList([slow, fast])

    def forward(self, x):
        return torch.cat([pool(one) for pool, one in zip(self.pool, x, strict=True)], 1)


def convolution(inside, outside, kernel=3, stride=(1, 2, 2), activation=nn.ReLU):
    """A convolution, batch norm and an activation."""
    padding = [side // 2 for side in kernel] if isinstance(kernel, tuple) else kernel // 2
    return nn.Sequential(
        nn.Conv3d(inside, outside, kernel, stride, padding), nn.BatchNorm3d(outside), activation()
    )


def one_pathway(pool=(3, 4, 4), activation=None, inner=nn.ReLU, projected=False):
    """A stem of spatial stride 2, a stage of temporal stride 2 and two residual blocks, a head."""
    window = nn.AdaptiveAvgPool3d(1) if pool is None else nn.AvgPool3d(pool, stride=1)
    width = 6
    if projected:
        window, width = ProjectedPool(6, 7, 8, window), 8
    stride = convolution(4, 6, stride=2)
    stage = Stage(
        convolution(6, 6, stride=1, activation=inner), convolution(6, 6, stride=1, activation=inner)
    )
    return Blocks(convolution(3, 4), stride, stage, Head(width, window, activation))


def two_pathways(alpha=2, pools=None, activation=None):
    """Two blocks of two pathways, the first with a lateral convolution, and a head."""
    slow, fast = (nn.AdaptiveAvgPool3d(1),) * 2 if pools is None else pools
    first = Pathways(convolution(3, 4, (1, 3, 3)), convolution(3, 2), Lateral(2, alpha))
    second = Pathways(convolution(6, 5, (3, 3, 3)), convolution(2, 3), nn.Identity())
    return Blocks(first, second, Concatenation(slow, fast), Head(8, None, activation))


class PathwayStage(nn.Module):
    """A block for each pathway, which writes into the list that it is given."""

    def __init__(self, slow, fast):
        super().__init__()
        self.pathway0, self.pathway1 = slow, fast

    def forward(self, x):
        x[0], x[1] = self.pathway0(x[0]), self.pathway1(x[1])
        return x


class PathwayHead(nn.Module):
    """PySlowFast's: both pooled, slow before fast, and an activation in evaluation mode only."""

    def __init__(self, features, pools, activation):
        super().__init__()
        self.pathway0_avgpool, self.pathway1_avgpool = pools
        self.projection = nn.Linear(features, CLASSES)
        self.act = activation

    def forward(self, x):
        pooled = torch.cat([self.pathway0_avgpool(x[0]), self.pathway1_avgpool(x[1])], 1)
        scores = self.projection(pooled.movedim(1, -1))
        if self.training:
            return scores.flatten(1)
        return self.act(scores).mean((1, 2, 3))


class Stages(nn.Module):
    """Two pathways as PySlowFast builds them: stages by name, a lateral after the first, a head."""

    def __init__(self, alpha=2, activation=None):
        super().__init__()
        self.s1 = PathwayStage(convolution(3, 4, (1, 3, 3)), convolution(3, 2))
        self.s1_fuse = Lateral(2, alpha)
        self.s2 = PathwayStage(convolution(6, 5, (3, 3, 3)), convolution(2, 3))
        pools = nn.AdaptiveAvgPool3d(1), nn.AdaptiveAvgPool3d(1)
        self.head = PathwayHead(8, pools, activation or nn.Softmax(dim=4))

    def forward(self, x):
        return self.head(self.s2(self.s1_fuse(self.s1(x[:]))))
