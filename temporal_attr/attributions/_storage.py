"""Records that last: saved to a folder, and loaded again in another process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from temporal_attr._errors import ResultError, TemporalAttrError
from temporal_attr._run import Run
from temporal_attr.attributions._encoding import DAMAGED, Encoder, decoded, plain, record_of
from temporal_attr.attributions._notebook import notebook_html
from temporal_attr.attributions._result_files import RECORD, read_files, write_files
from temporal_attr.measures import Interval

S = TypeVar("S", bound="Stored")


class Stored:
    """Base of what lasts: frozen dataclasses of tensors, numbers, text and records of such.

    A subclass is a dataclass, and has a `summary`; it need not say more to be saved and loaded.

    Attributes:
        large: Fields that are as large as the input; `to_dict` describes them instead.

    Example:
        >>> import tempfile
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, eq=False)
        ... class Peak(Stored):
        ...     scores: torch.Tensor
        ...     frame: int
        ...
        ...     def summary(self) -> str:
        ...         return f"frame {self.frame}"
        >>> peak = Peak(torch.tensor([0.5, float("nan")]), 0)
        >>> peak
        Peak(scores (2,))
        >>> Peak.load(peak.save(tempfile.mkdtemp())).scores
        tensor([0.5000,    nan])
    """

    large: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init_subclass__(**kwargs)
        # Among the class's own names, or dataclass() would write one that prints all tensors.
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def summary(self) -> str:
        """The record in a few lines of text."""
        raise NotImplementedError(f"{type(self).__name__} must say what it holds")

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, contiguous and on the CPU, by the names that they have in a saved file.

        That is the field's name, and for one inside a dict, tuple or record the way to it, such as
        `intervals.mrr`.
        """
        encoder = Encoder(is_record)
        encoder.fields(self)
        return encoder.tensors

    def to_dict(self) -> dict[str, Any]:
        """Plain Python, ready for JSON; input-sized tensors appear as shape and norm only.

        JSON has no NaN or infinity, so such numbers become None. What must come back as it was is
        for `save`.
        """
        return {entry.name: self._plain(entry.name) for entry in fields(self)}  # type: ignore[arg-type]

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write all of it to a folder, from which `load` gives it back as it is.

        The folder gets two files: `result.json`, strict JSON with the name of the type, versions,
        the run and all numbers and text; and `tensors.safetensors`. They are written beside their
        places and renamed when they are whole: at every moment, also after a kill, the folder holds
        the old result or the new one, and `load` finds it. Other files of the folder, such as
        pictures, are left alone.

        Args:
            folder: Where to; made if need be.
            overwrite: Replace a result that is there already.

        Returns:
            The folder.

        Raises:
            ResultError: If the folder holds a result and `overwrite` is False, a file of either
                name that is not ours, or it cannot be written to; or if a field is of a kind that
                cannot be kept.
        """
        where = Path(folder)
        encoder = Encoder(is_record)
        kind = type(self)
        record = {"type": kind.__name__, "module": kind.__module__, "fields": encoder.fields(self)}
        write_files(where, record, encoder.tensors, overwrite)
        return where

    @classmethod
    def load(cls: type[S], folder: str | Path) -> S:
        """What `save` wrote, as it was; tensors are on the CPU.

        Args:
            folder: Which it was saved to.

        Raises:
            ResultError: If there is no result, it is of another type or format version, a file is
                missing or damaged.
        """
        where = Path(folder)
        record, tensors = read_files(where)
        kind = _class_named(cls, record["type"], record["module"])
        if kind is None:
            raise _other_type(cls, where, record)
        try:
            values = decoded(record["fields"], tensors, _record_class)
            _require_run(kind, values)
            loaded: S = record_of(kind, values)
        except TemporalAttrError:
            raise
        # Whatever else the text of the record holds: it may have been written by anybody.
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            got = f"something else ({error})"
            raise ResultError(f"a result in {where / RECORD}", got, DAMAGED) from None
        return loaded

    def _plain(self, name: str) -> Any:  # noqa: ANN401
        value = getattr(self, name)
        if isinstance(value, Tensor) and name in self.large:
            norm = torch.linalg.vector_norm(value.double()).item()
            return {"shape": list(value.shape), "norm": plain(norm)}
        return plain(value)

    def _at_a_glance(self) -> list[str]:
        """What the short text of a record says of it."""
        shapes = {
            entry.name: tuple(value.shape)
            for entry in fields(self)  # type: ignore[arg-type]
            if isinstance(value := getattr(self, entry.name), Tensor)
        }
        return short_shapes(shapes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'; '.join(self._at_a_glance())})"

    def _repr_html_(self) -> str:
        return notebook_html(self)


def load_result(folder: str | Path) -> Any:  # noqa: ANN401 - whatever was saved
    """What `save` wrote to a folder, of whatever type it was.

    Args:
        folder: Which it was saved to.

    Raises:
        ResultError: As for `Result.load`; of a type of your own, its module must be imported.

    Example:
        >>> import tempfile
        >>> from temporal_attr import TemporalGradient
        >>> from temporal_attr.zoo import build_model
        >>> model = build_model("gru", classes=4, widths=(4, 8))
        >>> result = TemporalGradient(model).explain(torch.rand(1, 4, 3, 16, 16), target=2)
        >>> folder = result.save(f"{tempfile.mkdtemp()}/explained")
        >>> sorted(path.name for path in folder.iterdir())
        ['result.json', 'tensors.safetensors']
        >>> load_result(folder)
        TemporalGradientResult(attribution (1, 4, 3, 16, 16); frame_scores (1, 4); ...)
    """
    return Stored.load(folder)


def short_shapes(shapes: dict[str, tuple[int, ...]], shown: int = 3) -> list[str]:
    """The first shapes by name, and how many more there are."""
    texts = [f"{name} {shape}" for name, shape in list(shapes.items())[:shown]]
    more = len(shapes) - shown
    return texts if more <= 0 else [*texts, f"{more} more tensor{'s' if more > 1 else ''}"]


def _require_run(kind: type[Any], values: dict[str, Any]) -> None:
    """Raise unless a record whose class says that it has a run has one."""
    for entry in fields(kind):
        if entry.type in ("Run", Run) and not isinstance(values.get(entry.name), Run):
            got = f"{values.get(entry.name)!r:.60}"
            raise ResultError(f"a run as {entry.name} of a {kind.__name__}", got, DAMAGED)


def is_record(value: object) -> bool:
    """Whether a value is written field by field: a `Stored`, a `Run` or an `Interval`."""
    return isinstance(value, (Stored, Run, Interval))


def _classes(base: type[Any]) -> Iterator[type[Any]]:
    yield base
    for kind in base.__subclasses__():
        yield from _classes(kind)


def _class_named(base: type[Any], name: str, module: str) -> type[Any] | None:
    """A class and what derives from it, by name; if several have it, that of the module."""
    found = [kind for kind in _classes(base) if kind.__name__ == name]
    # The latest: a cell of a notebook that runs twice makes two.
    return max(found, key=lambda kind: (kind.__module__ == module, found.index(kind)), default=None)


def _record_class(name: str, module: str) -> type[Any]:
    plain_records: dict[str, type[Any]] = {"Run": Run, "Interval": Interval}
    kind = plain_records.get(name) or _class_named(Stored, name, module)
    if kind is None:
        raise _unknown_type(name, module)
    return kind


def _other_type(base: type[Any], where: Path, record: dict[str, Any]) -> ResultError:
    name = record["type"]
    if _class_named(Stored, name, record["module"]) is None:
        return _unknown_type(name, record["module"])
    return ResultError(
        f"a {base.__name__} in {where}", f"a {name}", f"Use {name}.load or load_result."
    )


def _unknown_type(name: str, module: str) -> ResultError:
    return ResultError(
        "a type of result that is known here",
        f"{name} of {module}",
        f"Import {module}, or the module that defines it now, before loading.",
    )
