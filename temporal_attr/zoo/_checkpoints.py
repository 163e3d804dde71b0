"""Trained weights: files beside a card that says what they are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from temporal_attr._errors import ModelError, OptionError
from temporal_attr._files import is_unfinished, named_errors, whole_file
from temporal_attr._require import require_seed
from temporal_attr.models import VideoModel
from temporal_attr.zoo._architectures import build_model

SHIPPED = Path(__file__).parent / "checkpoints"


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint is, and how good.

    Attributes:
        name: Of the checkpoint.
        task: Name of the planted task that it was trained on; `synthetic.TASKS[task]`.
        task_options: Its settings, `synthetic.TASKS[task](**task_options)`.
        architecture: Name for `build_model`.
        options: Its options.
        class_names: What each class is called.
        seed: Of weights, videos and batches.
        steps: Of the optimiser.
        training: Whatever else training was set to.
        accuracy: Share of fresh videos that it gets right.
        videos: How many those were.
        seconds: That training took.
        expected: What accuracy the architecture can reach on the task, and why, if not all.
        sha256: Of the file of weights.

    Example:
        >>> pretrained_card("mixed-motion-inflated-resnet").architecture
        'inflated-resnet'
    """

    name: str
    task: str
    task_options: dict[str, Any] = field(default_factory=dict)
    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...]
    seed: int
    steps: int
    training: dict[str, Any] = field(default_factory=dict)
    accuracy: float
    videos: int
    seconds: float
    expected: str = ""
    sha256: str = ""

    def __post_init__(self) -> None:
        require_seed(self.seed)


def pretrained_names(folder: Path | str | None = None) -> tuple[str, ...]:
    """Names of the trained checkpoints in a folder; by default of those that come along.

    Example:
        >>> "mixed-appearance-late-fusion" in pretrained_names()
        True
    """
    found = (path for path in _place(folder).glob("*.json") if not is_unfinished(path))
    return tuple(sorted(path.stem for path in found))


def _place(folder: Path | str | None) -> Path:
    return SHIPPED if folder is None else Path(folder)


def pretrained_card(name: str, folder: Path | str | None = None) -> Card:
    """The card of a checkpoint.

    Raises:
        OptionError: If there is no checkpoint of that name.
        ModelError: If the card cannot be read.

    Example:
        >>> pretrained_card("mixed-appearance-late-fusion").accuracy > 0.95
        True
    """
    # Names only, never paths: what is not listed is not read.
    if name not in pretrained_names(folder):
        known = ", ".join(pretrained_names(folder)) or "none there"
        raise OptionError(f"a trained checkpoint, one of: {known}", repr(name), "Choose one.")
    path = _place(folder) / f"{name}.json"
    try:
        return _card(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelError(f"the card of a checkpoint in {path.name}", str(error), _REMEDY) from None


_REMEDY = "Write the checkpoint again, or install the package anew."
_KINDS: dict[str, type | tuple[type, ...]] = {
    "tuple[str, ...]": list,
    "dict[str, Any]": dict,
    "float": (int, float),
    "int": int,
    "str": str,
}


def _card(entries: Any) -> Card:  # noqa: ANN401
    """A card from what JSON made of it."""
    wanted = {entry.name: str(entry.type) for entry in fields(Card)}
    if not isinstance(entries, dict) or set(entries) != set(wanted):
        odd = sorted(set(entries) ^ set(wanted)) if isinstance(entries, dict) else entries
        raise ValueError(f"other entries: {odd}")
    for name, kind in wanted.items():
        if not isinstance(entries[name], _KINDS[kind]):
            raise TypeError(f"{name} of type {type(entries[name]).__name__}")
    return Card(**{**entries, "class_names": tuple(map(str, entries["class_names"]))})


def load_pretrained(name: str, folder: Path | str | None = None) -> VideoModel:
    """A trained reference model, in evaluation mode, with the class names of its card.

    Args:
        name: One of `pretrained_names()`.
        folder: Where checkpoints lie, for those that you trained; by default those that come
            along.

    Raises:
        OptionError: If there is no checkpoint of that name.
        ModelError: If the file is damaged or does not fit the architecture.

    Example:
        >>> import torch
        >>> model = load_pretrained("mixed-appearance-late-fusion")
        >>> logits = model(model.preprocessing(torch.rand(16, 3, 48, 48))[None])
        >>> logits.shape, len(model.class_names)
        (torch.Size([1, 4]), 4)
    """
    card = pretrained_card(name, folder)
    path = _place(folder) / f"{name}.safetensors"
    if not path.is_file():
        raise ModelError(f"the weights of {name} in {path.name}", "no file there", _REMEDY)
    weights = path.read_bytes()
    if sha256(weights).hexdigest() != card.sha256:
        raise ModelError(
            f"weights in {path.name} as its card describes them", "other bytes: damaged", _REMEDY
        )
    try:
        model = _model_of(card)
        model.load_state_dict(load(weights))
    except (SafetensorError, RuntimeError, TypeError, OptionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"weights of {card.architecture} in {path.name}", reason, _REMEDY
        ) from None
    return model


def _model_of(card: Card) -> VideoModel:
    model = build_model(card.architecture, len(card.class_names), **card.options)
    model.class_names = card.class_names
    return model


def save_checkpoint(model: VideoModel, card: Card, folder: Path | str) -> Path:
    """Write weights and card to a folder, under the card's name.

    The same weights give the same bytes. Both are written beside their places and renamed when they
    are whole, the card last: a checkpoint is there whole, or is not listed.

    Args:
        model: Built by `build_model(card.architecture, ..., **card.options)`.
        card: Its `sha256` is filled in.
        folder: Where to; made if need be.

    Returns:
        The path of the weights.

    Raises:
        ModelError: If the model is not what the card says.
        ResultError: If nothing can be written there; an earlier checkpoint is then still there.

    Example:
        >>> import tempfile
        >>> name = "mixed-appearance-late-fusion"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_checkpoint(load_pretrained(name), pretrained_card(name), folder).name
        'mixed-appearance-late-fusion.safetensors'
    """
    where = Path(folder)
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    wanted = {key: value.shape for key, value in _model_of(card).state_dict().items()}
    if {key: value.shape for key, value in state.items()} != wanted:
        raise ModelError(
            f"a model of the card's architecture, {card.architecture} with {card.options}",
            "one with other weights",
            "Build it with build_model from what the card says.",
        )
    weights = save(state)
    path = where / f"{card.name}.safetensors"
    entries = {**asdict(card), "sha256": sha256(weights).hexdigest()}
    text = json.dumps(entries, indent=1, sort_keys=True) + "\n"
    with named_errors(where):
        where.mkdir(parents=True, exist_ok=True)
        with whole_file(path.with_suffix(".json")) as listed, whole_file(path) as partial:
            listed.write_text(text, encoding="utf-8")
            partial.write_bytes(weights)
            # What is listed is whole: an old card goes before its weights do.
            path.with_suffix(".json").unlink(missing_ok=True)
    return path
