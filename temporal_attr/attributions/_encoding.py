"""Records as strict JSON, with their tensors beside it: what `save` writes and `load` reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from temporal_attr._errors import ResultError

TAG = "$"
"""The key of what JSON lacks: `{"$": kind, ...}`."""

DTYPES = frozenset({
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
})  # fmt: skip
"""Of the tensors that can be written."""

FieldsOf = Callable[[Any], bool]
ClassNamed = Callable[[str, str], type[Any]]
"""From the name and the module of a record's class to the class."""


class Encoder:
    """Turns records into what JSON has, and collects their tensors by name on the way.

    Args:
        is_record: Whether a value is a record, of which every field is written.
    """

    def __init__(self, is_record: FieldsOf) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._is_record = is_record
        self._storages: set[int] = set()

    def fields(self, record: Any, place: str = "") -> dict[str, Any]:  # noqa: ANN401
        """Every field of a record that its constructor takes, by name."""
        prefix = f"{place}." if place else ""
        return {
            entry.name: self.value(getattr(record, entry.name), f"{prefix}{entry.name}")
            for entry in fields(record)
            if entry.init
        }

    def value(self, value: Any, place: str) -> Any:  # noqa: ANN401
        """Any value; `place` names it in errors, and its tensors."""
        if value is None or type(value) in (bool, int, str):
            return value
        if isinstance(value, float):
            number = float(value)
            return number if math.isfinite(number) else {TAG: "float", "value": str(number)}
        if isinstance(value, Tensor):
            return self._tensor(value, place)
        if type(value) is list or type(value) is torch.Size or type(value) is tuple:
            items = [self.value(entry, f"{place}.{i}") for i, entry in enumerate(value)]
            return items if type(value) is list else {TAG: "tuple", "items": items}
        if type(value) is dict:
            return self._dict(value, place)
        if self._is_record(value):
            kind = type(value)
            names = {"type": kind.__name__, "module": kind.__module__}
            return {TAG: "record", **names, "fields": self.fields(value, place)}
        raise ResultError(
            "numbers, text, tensors, lists, tuples, dicts and records in a result",
            f"{place} of type {type(value).__name__}",
            "Keep it as one of these; a record of your own is a dataclass that derives from "
            "temporal_attr.attributions.Stored.",
        )

    def _dict(self, value: dict[Any, Any], place: str) -> dict[str, Any]:
        if all(type(key) is str for key in value) and TAG not in value:
            return {key: self.value(entry, f"{place}.{key}") for key, entry in value.items()}
        pairs = [
            [self.value(key, f"{place} (a key)"), self.value(entry, f"{place}.{key}")]
            for key, entry in value.items()
        ]
        return {TAG: "dict", "items": pairs}

    def _tensor(self, value: Tensor, place: str) -> dict[str, Any]:
        if value.layout is not torch.strided or value.dtype not in DTYPES or value.is_meta:
            raise ResultError(
                "dense tensors of whole numbers, floats or bools in a result",
                f"{place} of {value.dtype}, {value.layout}, on {value.device}",
                "Convert it before the result is made.",
            )
        name, number = place, 1
        while name in self.tensors:
            # Dots in the keys of a dict can make two places look alike.
            name, number = f"{place}#{number}", number + 1
        self.tensors[name] = self._own(value)
        shape = list(value.shape)
        dtype = str(value.dtype).removeprefix("torch.")
        return {TAG: "tensor", "name": name, "dtype": dtype, "shape": shape}

    def _own(self, value: Tensor) -> Tensor:
        """The tensor on the CPU; the file format allows no two tensors in one storage."""
        tensor = value.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        if storage in self._storages:
            tensor = tensor.clone()
        self._storages.add(storage)
        return tensor


def decoded(value: Any, tensors: Mapping[str, Tensor], class_named: ClassNamed) -> Any:  # noqa: ANN401
    """What was encoded.

    Args:
        value: What JSON made of it.
        tensors: By name.
        class_named: Finds the class of a record.

    Raises:
        ResultError: If a tensor or a field is missing.
        KeyError: Or TypeError, if this was not encoded here.
    """
    if isinstance(value, list):
        return [decoded(entry, tensors, class_named) for entry in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: decoded(entry, tensors, class_named) for key, entry in value.items()}
    return _of_kind(value[TAG], value, tensors, class_named)


def _of_kind(
    kind: str, value: Mapping[str, Any], tensors: Mapping[str, Tensor], class_named: ClassNamed
) -> Any:  # noqa: ANN401
    """What JSON lacks, from the kind that its tag names."""
    match kind:
        case "float":
            return float(value["value"])
        case "tuple":
            return tuple(decoded(value["items"], tensors, class_named))
        case "dict":
            return dict(decoded(value["items"], tensors, class_named))
        case "tensor":
            return _tensor_named(value, tensors)
        case "record":
            known = class_named(value["type"], value["module"])
            return record_of(known, decoded(value["fields"], tensors, class_named))
    raise KeyError(kind)


def record_of(kind: type[Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401
    """A record from its fields.

    Raises:
        ResultError: If the class has other fields by now.
    """
    if not is_dataclass(kind):
        raise TypeError(f"{kind.__name__} is no record")
    known = {entry.name for entry in fields(kind) if entry.init}
    try:
        if values.keys() <= known:
            return kind(**values)
    except TypeError as error:
        # A field that is new and has no default; anything else is for the reader to see.
        if "required" not in str(error):
            raise
    raise ResultError(
        f"the fields of a {kind.__name__}: {', '.join(sorted(known))}",
        ", ".join(sorted(values)) or "none",
        "Load it with the version that wrote it, which result.json names, or explain again.",
    )


def _tensor_named(value: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Tensor:
    name, shape, dtype = value["name"], tuple(value["shape"]), f"torch.{value['dtype']}"
    if name not in tensors:
        raise ResultError(f"the tensor {name}", "a file of tensors without it", DAMAGED)
    tensor = tensors[name]
    if tuple(tensor.shape) != shape or str(tensor.dtype) != dtype:
        raise ResultError(
            f"the tensor {name} of {dtype}, shape {shape}",
            f"{tensor.dtype}, shape {tuple(tensor.shape)}",
            DAMAGED,
        )
    return tensor


DAMAGED = (
    "The files are damaged, or of two results: copy both again, or remove them and explain again."
)


def plain(value: Any) -> Any:  # noqa: ANN401
    """Plain Python from tensors and records, one way: numbers that JSON lacks become None."""
    if isinstance(value, Tensor):
        return plain(value.tolist())
    if is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
