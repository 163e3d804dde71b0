"""Masks of a given area that keep or delete what decides a prediction: options and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from captum.attr import GradientAttribution
from captum.log import log_usage
from torch import Tensor

from temporal_attr._activation import Activation
from temporal_attr._errors import ClipError
from temporal_attr._require import require_count, require_within
from temporal_attr._run import started
from temporal_attr._typing import ClipTensor, TargetLike
from temporal_attr.attributions._by_timestep import by_timestep
from temporal_attr.attributions._estimate import Call, Work
from temporal_attr.attributions._method import VideoMethod, as_given
from temporal_attr.attributions._traits import CLIP_AXES, Traits
from temporal_attr.attributions.extremal_perturbation._compute import (
    FoundMasks,
    MaskRequest,
    learned_masks,
    mask_work,
)
from temporal_attr.attributions.extremal_perturbation._learning import Rules
from temporal_attr.attributions.extremal_perturbation._options import (
    require_choice,
    require_grid,
    require_part,
)
from temporal_attr.attributions.extremal_perturbation._result import (
    ExtremalPerturbationResult,
    Game,
    MaskKind,
)
from temporal_attr.gradients import (
    Memory,
    Objective,
    require_memory,
    resolve_objective,
)
from temporal_attr.gradients._objectives import name_of
from temporal_attr.models import VideoModel
from temporal_attr.perturbations import OnStop, check_baselines, require_on_stop

PlaceBaselines: TypeAlias = float | int | Literal["mean", "blur"] | Tensor
"""Those that have a value for every place, which a mask between 0 and 1 can mix with the clip."""

Rising: TypeAlias = Literal["logit", "probability", "log_probability"]
"""Objectives that are higher the more the target is predicted."""

CELLS = 8
"""Of the default grid, along the shorter side of a frame."""

SMOOTHNESS: dict[MaskKind, float] = {"space-time": 0.3, "frames": 0.0}


class ExtremalPerturbation(VideoMethod, GradientAttribution):  # type: ignore[misc]
    r"""A mask of a given area that keeps, or deletes, what decides the prediction.

    m is a mask in [0, 1], one number for each place of each frame, x the clip, b the baseline.
    With `game="preserve"` the mask raises the objective of :math:`m x + (1 - m) b`, with
    `game="delete"` it lowers that of :math:`(1 - m) x + m b`, by gradient steps, under an area that
    is given: the extremal perturbation of :cite:t:`fong2019`, of images, taken to space and time
    as :cite:t:`li2021` do. What is lowered is

    .. math:: \mp \frac{S - S_b}{u} + \lambda \, \frac{1}{N} \lVert m - r_a(m) \rVert^2
              + \mu \, \overline{\lvert m_{t+1} - m_t \rvert},

    where S is the objective and :math:`S_b` that of the baseline; :math:`r_a(m)` is 1 at the
    largest `area` of the N places and 0 elsewhere (their :math:`\mathrm{vecsort}` constraint);
    :math:`\lambda` rises from 0.3 to 300 in the first half of `max_iterations`. The mask is the
    smooth maximum, along each axis, of a kernel around each cell of a grid (their smooth masks).
    `kind="frames"` has one number for each frame instead, as the dynamic masks of
    :cite:t:`crabbe2021`, from whom the last term is.

    Deviations. The objective is measured in units u of the difference that the whole mask can
    make, so that the result does not depend on the unit of the logits. Places with equal values
    share what the area grants them; sorting alone would prefer some by their order in memory.
    The steps are those of Adam, and cells are kept in [0, 1]. The mask returned is that with the
    lowest loss after the weight has risen. No random number is drawn.

    A masked clip is none that the model was trained on: the mask says what suffices for (or is
    needed by) this model, with this baseline. See :doc:`/learned_masks`.

    Args:
        model: A `VideoModel`, or a function of clips that returns logits `(batch, classes)`.
        area: The share of the clip that the mask keeps or deletes, more than 0 and less than 1.
        kind: `"space-time"`, a number for each cell of a grid, or `"frames"`, one for each frame.
        game: `"preserve"`, keep what raises the objective, or `"delete"` what lowers it.
        baselines: What is seen where the clip is not: a number in input values, `"mean"` of each
            channel, `"blur"`, or a tensor that fits the clip, such as another clip.
        grid: Cells along time, height and width, for `kind="space-time"`; by default one for each
            frame, and 8 along the shorter side. The spot of one cell must not exceed the area.
        smoothness_in_time: The weight of the mean absolute change of the mask from frame to frame;
            a change of 1 everywhere costs as much as this share of the unit u. By default 0.3 for
            `"space-time"`, and 0 for `"frames"`, where it would prefer the first and the last.
        objective: `"logit"` of the target, `"probability"`, `"log_probability"`, or a function
            `(logits, target) -> (batch,)` that is higher the more the target is predicted.
        max_iterations: Gradient steps at most.
        tolerance: Stop when the mean loss of ten iterations is that of the ten before, to this
            share of u, after the weight of the area has risen; 0 for never.
        learning_rate: How far a cell moves in a step, about.
        memory: How gradients are computed; see `TemporalGradient`.
        activation: What turns the model's outputs into probabilities; see `TemporalGradient`.

    Costs (P = forward and backward pass): `max_iterations` P at most, and half of that at least,
    one clip at a time. `estimate` says it of a clip at hand.

    Example:
        >>> import torch
        >>> from temporal_attr.models import LateFusion
        >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 5)).eval()
        >>> clip = torch.rand(1, 4, 3, 8, 8)
        >>> method = ExtremalPerturbation(LateFusion(network), 0.25, "frames", baselines=0.0)
        >>> mask = method.attribute(clip, target=2)[0, :, 0, 0, 0]
        >>> best = network(clip[0])[:, 2].argmax()
        >>> bool(mask.argmax() == best), bool(mask[best] > 0.9)
        (True, True)
    """

    name = "Extremal Perturbation"
    traits = Traits(
        slug="extremal-perturbation",
        question="Which part of the clip, of a given size, suffices for the prediction, or is "
        "needed for it?",
        gives="mask",
        axes=CLIP_AXES,
        sign="non-negative",
        unit="share kept or deleted",
        needs=("gradients",),
        cost="at most I P and 2 F (I iterations)",
        source="fong2019",
    )

    def __init__(
        self,
        model: VideoModel | Callable[..., Any],
        area: float = 0.1,
        kind: MaskKind = "space-time",
        game: Game = "preserve",
        baselines: PlaceBaselines = "blur",
        grid: Sequence[int] | None = None,
        smoothness_in_time: float | None = None,
        objective: Rising | Objective = "logit",
        max_iterations: int = 400,
        tolerance: float = 1e-3,
        learning_rate: float = 0.05,
        memory: Memory = "auto",
        activation: Activation | None = None,
    ) -> None:
        super().__init__(model, activation)
        require_choice("kind", kind, MaskKind)
        require_choice("game", game, Game)
        require_part("area", area)
        check_baselines(baselines)
        require_grid(grid, kind)
        if smoothness_in_time is None:
            smoothness_in_time = SMOOTHNESS[kind]
        require_within("smoothness_in_time", smoothness_in_time, 0)
        require_count("max_iterations", max_iterations, 1)
        require_within("tolerance", tolerance, 0)
        require_part("learning_rate", learning_rate)
        require_memory(memory)
        self.objective = resolve_objective(objective, self.activation)
        self.objective_name = name_of(objective)
        self.kind, self.game, self.baselines, self.memory = kind, game, baselines, memory
        self.grid = None if grid is None else tuple(int(count) for count in grid)
        self._rules = Rules(
            area=float(area),
            keep=game == "preserve",
            smoothness=float(smoothness_in_time),
            learning_rate=float(learning_rate),
            max_iterations=int(max_iterations),
            tolerance=float(tolerance),
        )

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @by_timestep
    def attribute(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
    ) -> ClipTensor | tuple[ClipTensor]:
        """The mask, the same in all channels.

        Args:
            inputs: `(batch, time, channel, height, width)`, or a tuple of one such tensor.
            target: The class to explain: an int for all clips, a list or tensor with one for each,
                or one-element tuples; None only where the model has one class. A tuple
                `(timestep, class)`, or a list with one for each, explains the logits of a timestep.
            additional_forward_args: Handed to the model after the clips; the whole batch then goes
                through the model at a time, to which they belong.
            show_progress: Show a bar, with the time left, on anything over two seconds.

        Returns:
            Shaped like `inputs`, in [0, 1]: how much of a place is kept, or deleted.

        Raises:
            ClipError: If `inputs` is not a clip of finite floats, the grid, the area or
                the baselines do not fit it, or it is its own baseline.
            TargetError: If `target` does not name a class for each clip.
            ModelError: If the model is in training mode, does not return logits, or what it returns
                of masked clips is not finite.
            OptionError: If the model has no such memory path.
        """
        request = self._request(inputs, target, additional_forward_args)
        with started(show_progress) as run:
            found = learned_masks(request, run)
        given: ClipTensor | tuple[ClipTensor] = as_given(_of_channels(found, request.clip), inputs)
        return given

    @by_timestep
    def explain(
        self,
        inputs: ClipTensor | tuple[ClipTensor],
        target: TargetLike = None,
        additional_forward_args: Any = None,  # noqa: ANN401 - Captum's
        *,
        show_progress: bool = False,
        on_stop: OnStop = "raise",
    ) -> ExtremalPerturbationResult:
        """The mask, what the model says of what it keeps, and how learning it went.

        Args:
            inputs: As for `attribute`.
            target: As for `attribute`.
            additional_forward_args: As for `attribute`.
            show_progress: As for `attribute`.
            on_stop: On KeyboardInterrupt, `"raise"` it, or `"keep"` the mask that this clip has by
                then, and go on to the next; the result is then not `complete`. It is raised where
                there is no mask yet.

        Raises:
            ClipError: And the others, as for `attribute`.
        """
        require_on_stop(on_stop)
        request = self._request(inputs, target, additional_forward_args, on_stop)
        with started(show_progress) as run:
            found = learned_masks(request, run)
        clip = request.clip
        precise = found.masks.dtype
        return ExtremalPerturbationResult(
            logits=found.logits,
            target=found.target,
            run=run.finished(clip.shape[0] * clip.shape[1]),
            class_names=self.class_names,
            activation=self.activation,
            attribution=_of_channels(found, clip),
            frame_scores=found.masks.mean((2, 3)),
            score=found.score.to(precise),
            full_value=found.full.to(precise),
            baseline_value=found.empty.to(precise),
            area=found.masks.mean((1, 2, 3)),
            converged=found.converged,
            iterations=found.iterations,
            loss=found.loss.to(precise),
            objective_values=found.values.to(precise),
            complete=found.complete,
            objective=self.objective_name,
            kind=self.kind,
            game=self.game,
        )

    def _work(self, inputs: object, target: TargetLike, arguments: object, of: Call) -> Work:
        """Of both calls."""
        return mask_work(self._request(inputs, target, arguments))

    def _request(
        self,
        inputs: Any,  # noqa: ANN401
        target: TargetLike,
        additional_forward_args: Any,  # noqa: ANN401
        on_stop: OnStop = "raise",
    ) -> MaskRequest:
        """A call's arguments, checked."""
        clip, arguments = self._checked_single(inputs, additional_forward_args)
        return MaskRequest(
            model=self.model,
            clip=clip.detach(),
            target=target,
            arguments=arguments,
            objective=self.objective,
            baselines=self.baselines,
            cells=None if self.kind == "frames" else self._cells(clip),
            rules=replace(self._rules, on_stop=on_stop),
            memory=self.memory,
        )

    def _cells(self, clip: ClipTensor) -> tuple[int, int, int]:
        """Of the grid, along time, height and width."""
        size = (clip.shape[1], clip.shape[3], clip.shape[4])
        if self.grid is None:
            cell = max(1.0, min(size[1:]) / CELLS)
            return size[0], round(size[1] / cell), round(size[2] / cell)
        time, height, width = self.grid
        if time > size[0] or height > size[1] or width > size[2]:
            raise ClipError(
                f"a clip of at least {self.grid} frames, rows and columns, a cell each",
                f"one of {size}",
                "Give a coarser grid, or leave it to the default.",
            )
        return time, height, width


def _of_channels(found: FoundMasks, clip: ClipTensor) -> ClipTensor:
    """The masks, the same in all channels, in the precision of the clip."""
    return found.masks.to(clip.dtype)[:, :, None].expand_as(clip).contiguous()
