"""The same model, but blind to the order of frames."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from temporal_attr._errors import FrameLogitsError
from temporal_attr._require import LONGEST, require_count, require_seed
from temporal_attr._typing import ClipTensor, Features, Logits
from temporal_attr.attributions._method import require_model
from temporal_attr.evaluation._case import Model
from temporal_attr.evaluation.sanity._changed import Same, function_of
from temporal_attr.models import Derived, DerivedFunction, FrameLogits, FramewiseModel, VideoModel
from temporal_attr.models._base import RunStage
from temporal_attr.models.outputs._derived import FramewiseDerived


def random_orders(frames: int, count: int, seed: int = 0) -> Int[Tensor, "orders time"]:
    """Orders of frames that are all equally likely, the natural one too; all, if so few there are.

    Args:
        frames: How many frames there are.
        count: How many orders are drawn, each independently of the others. If there are no more
            than that, all are given, each once.
        seed: Of what is drawn.

    Returns:
        `(orders, time)`: the frame that is shown at each place.

    Example:
        >>> random_orders(frames=2, count=8)
        tensor([[0, 1],
                [1, 0]])
    """
    require_count("frames", frames, 1, LONGEST)
    require_count("count", count, 1, LONGEST)
    require_seed(seed)
    if math.factorial(min(frames, count + 1)) <= count:
        natural = torch.arange(frames)
        rows: list[Tensor] = [natural[:0]]
        for frame in natural:  # each frame at every place of every order of those before it
            rows = [
                torch.cat([row[:at], frame[None], row[at:]])
                for row in rows
                for at in reversed(range(len(row) + 1))
            ]
        return torch.stack(rows)
    random = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([random.permutation(frames) for _ in range(count)]))


def order_blind(
    model: Model, orders: int = 8, seed: int = 0
) -> OrderBlind | FramewiseOrderBlind | DerivedFunction:
    """A model that cannot tell the order of frames: the mean of another's logits over orders.

    Args:
        model: A `VideoModel`, or a function of clips.
        orders: In how many orders the model sees each clip; see `random_orders`. The mean over a
            few of all orders is a model that uses order much less, and the mean over all, as of 3
            frames and 6 orders, one that cannot use it at all.
        seed: Of the orders, which are the same for all clips of one length.

    Returns:
        A model that any gradient passes, as far as it passes the other. It shares the other's
        parameters, and has no timesteps. A `FramewiseModel` encodes each frame once.

    Raises:
        OptionError: If `orders` is no positive number.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8)).eval()
        >>> clip = torch.rand(1, 3, 3, 16, 16)
        >>> blind = order_blind(model, orders=6)  # which are all
        >>> torch.allclose(blind(clip), blind(clip.flip(1)))
        True
    """
    require_model(model, "a model, or a function of clips", "Pass the model itself.")
    require_count("orders", orders, 1)
    require_seed(seed)
    if isinstance(model, FramewiseModel):
        return FramewiseOrderBlind(model, orders, seed)
    if isinstance(model, VideoModel):
        return OrderBlind(model, orders, seed)
    return function_of(model, _BlindFunction(model, orders, seed))


class OrderBlind(Derived):
    """The mean of a model's logits over orders of frames; see `order_blind`.

    Args:
        base: The model.
        orders: How many orders.
        seed: Of the orders.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("tam2d", classes=4, widths=(4, 8)).eval()
        >>> OrderBlind(model, orders=4)(torch.rand(2, 5, 3, 16, 16)).shape
        torch.Size([2, 4])
    """

    exactness = "none"
    has_timesteps = False

    def __init__(self, base: VideoModel, orders: int = 8, seed: int = 0) -> None:
        require_count("orders", orders, 1)
        require_seed(seed)
        super().__init__(base, Same())
        self.orders = orders
        self.seed = seed

    @property
    def stages(self) -> tuple[Callable[[Tensor], Tensor], ...]:
        """None: each order goes through those of the base."""
        return ()

    def forward(self, clip: ClipTensor) -> Logits:
        """The mean over orders."""
        return _mean_over_orders(self.base, clip, self.orders, self.seed)

    def features(self, clip: ClipTensor, run: RunStage = lambda stage, x: stage(x)) -> Features:
        """There are none, since each order has its own.

        Raises:
            FrameLogitsError: Always.
        """
        _no_timesteps(self)

    def head(self, features: Features) -> Logits:
        """See `features`."""
        _no_timesteps(self)

    def frame_head(self, features: Features) -> FrameLogits:
        """See `features`."""
        _no_timesteps(self)

    def frame_logits(self, clip: ClipTensor) -> FrameLogits:
        """See `features`."""
        _no_timesteps(self)


class FramewiseOrderBlind(FramewiseDerived):
    """The same of a `FramewiseModel`: the features of frames are put in order, not the frames.

    Args:
        base: The model.
        orders: How many orders.
        seed: Of the orders.

    Example:
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("late-fusion", classes=4, widths=(4, 8)).eval()
        >>> clip = torch.rand(1, 5, 3, 16, 16)
        >>> torch.allclose(FramewiseOrderBlind(model)(clip), model(clip), atol=1e-5)
        True
    """

    exactness = "none"
    has_timesteps = False

    def __init__(self, base: FramewiseModel, orders: int = 8, seed: int = 0) -> None:
        super().__init__(base, Same())
        self.orders = orders
        self.seed = seed

    def head(self, features: Features) -> Logits:
        """The mean over orders."""
        return _mean_over_orders(self.base.head, features, self.orders, self.seed)

    def forward(self, clip: ClipTensor) -> Logits:
        """The mean over orders, of features that are found once."""
        return self.head(self.features(clip))

    def frame_head(self, features: Features) -> FrameLogits:
        """There are none.

        Raises:
            FrameLogitsError: Always.
        """
        _no_timesteps(self)

    def frame_logits(self, clip: ClipTensor) -> FrameLogits:
        """See `frame_head`."""
        _no_timesteps(self)


class _BlindFunction(nn.Module):
    """The same of a function of clips."""

    def __init__(self, model: Callable[..., Any], orders: int, seed: int) -> None:
        super().__init__()
        self.model = model
        self.orders = orders
        self.seed = seed

    def forward(self, clip: ClipTensor, *rest: Any) -> Logits:  # noqa: ANN401
        """The mean over orders."""
        return _mean_over_orders(
            lambda shown: self.model(shown, *rest), clip, self.orders, self.seed
        )


def _mean_over_orders(
    run: Callable[[Tensor], Tensor], source: Tensor, orders: int, seed: int
) -> Tensor:
    """The mean of what a function makes of `(batch, time, ...)` in several orders."""
    drawn = random_orders(source.shape[1], orders, seed).to(source.device)
    found = [run(source[:, order]) for order in drawn]
    return torch.stack(found).mean(0)


def _no_timesteps(model: VideoModel) -> NoReturn:
    raise FrameLogitsError(
        "a model whose timesteps each have outputs",
        f"a {type(model).__name__}, which sees each frame at many places",
        "Use a method that needs no timesteps; TemporalGradient can do without (influence=False).",
    )
