"""What came of a bad value: refused by name, taken rightly, taken though it is nonsense, or raw."""

import inspect
import itertools
import json
import os
import resource
import select
import signal
import tempfile
import typing
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from temporal_attr import TemporalAttrError
from tests.contract.hostile import bad
from tests.contract.hostile.calls import NOT_DEFINED, calls

SECONDS = 10
"""Of a processor: a call that takes longer hangs."""

SILENCE = 120
"""Seconds without a word, after which a process waits for ever; on a busy machine it may just wait
for its turn."""

MEMORY = 12 * 2**30
"""Address space: what asks for more gets an error, and not the machine."""


@dataclass(frozen=True)
class Outcome:
    """What came of a bad value.

    Attributes:
        call: Of which function.
        parameter: Where the value was put.
        value: What kind of value it was.
        came: "named", "right", "raw" or "silent".
        detail: The error, or what was taken.
    """

    call: str
    parameter: str
    value: str
    came: str
    detail: str

    asdict = asdict


class HangError(Exception):
    """A call did not come back in time."""


def outcomes(begin="", every=1, offset=0):
    """What came of all values, or of each `every`-th, over calls whose names begin so.

    The first that is tried is the one at `offset`.
    """
    room, dot, _ = begin.partition(".")
    trials = (
        (name, call, parameter, one)
        for name, call in calls(room if dot else None).items()
        if name.startswith(begin)
        for parameter, hint, base in parameters(call)
        for one in bad.values_for(parameter, hint, base, name in NOT_DEFINED)
    )
    chosen = list(itertools.islice(trials, offset, None, every))
    with hostile_place():
        yield from apart(chosen)


def apart(trials):
    """What came of trials in a process of their own, in another where one hangs or crashes."""
    done = 0
    while done < len(trials):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.close(reader)
            try:
                for trial in trials[done:]:
                    os.write(writer, json.dumps(judged(*trial).asdict()).encode() + b"\n")
            finally:
                os._exit(0)
        os.close(writer)
        for line in _lines(reader):
            yield Outcome(**json.loads(line))
            done += 1
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if done < len(trials):
            name, _, parameter, one = trials[done]
            yield Outcome(name, parameter, one.name, "raw", "hangs, or ends the process")
            done += 1


def _lines(reader):
    """The lines of a pipe, until it ends or nothing comes for longer than a call may take."""
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        rest = b""
        while select.select([pipe], [], [], SILENCE)[0]:
            more = pipe.read(65536)
            if not more:
                return
            *lines, rest = (rest + more).split(b"\n")
            yield from lines


@contextmanager
def hostile_place():
    """A folder that may be littered, and no more memory than is sane."""
    before, limits = Path.cwd(), resource.getrlimit(resource.RLIMIT_AS)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, limits[1]))
        try:
            yield
        finally:
            os.chdir(before)
            resource.setrlimit(resource.RLIMIT_AS, limits)


def parameters(call):
    """The parameters of a call: name, annotation, and the value of the valid call."""
    function = call.function
    hints = _hints(function)
    for one in inspect.signature(function).parameters.values():
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            continue
        base = call.arguments.get(one.name, None if one.default is one.empty else one.default)
        yield one.name, hints.get(one.name, typing.Any), base


def _hints(function):
    plain = function.__init__ if inspect.isclass(function) else function
    plain = inspect.unwrap(getattr(plain, "__func__", plain))
    found = {}
    for name, hint in plain.__annotations__.items():
        if name != "return":
            found[name] = _resolved(function, plain, name, hint)
    return found


def _resolved(function, plain, name, hint):
    # Fields of a base are annotated by names of the file that the base stands in.
    owners = [plain.__globals__]
    if inspect.isclass(function):
        owners += [vars(inspect.getmodule(base)) for base in function.__mro__]
    for known in owners:
        holder = type("Holder", (), {"__annotations__": {name: hint}})
        try:
            return typing.get_type_hints(holder, known)[name]
        except NameError:
            continue
    raise NameError(f"{function}: {name}: {hint}")


def judged(name, call, parameter, one):
    """What came of one value."""
    outcome = partial(Outcome, name, parameter, one.name)
    try:
        with alarm():
            found = run(call, {parameter: one.value})
    except TemporalAttrError as error:
        came = "named" if one.right in (bad.NEVER, bad.FREE) else "raw"
        return outcome(came, f"{type(error).__name__}: {error}")
    except HangError:
        return outcome("raw", "hangs")
    except Exception as error:  # noqa: BLE001 - that is what is counted
        return outcome("raw", f"{type(error).__name__}: {' '.join(str(error).split())[:160]}")
    if one.right == bad.NEVER:
        return outcome("silent", f"taken: {type(found).__name__}")
    if one.right != bad.FREE:
        (other,) = one.right
        if not same(found, run(call, {parameter: other})):
            return outcome("silent", "taken as another value")
    return outcome("right", "")


def run(call, other):
    """Call with other arguments, all by their names, and use what comes."""
    torch.manual_seed(0)
    found = call.function(**{**call.arguments, **other})
    if isinstance(found, AbstractContextManager) and not isinstance(found, Tensor | nn.Module):
        with found as entered:
            return entered
    if isinstance(found, Iterator):
        return list(itertools.islice(found, 3))
    return found


@contextmanager
def alarm():
    """End what is inside after `SECONDS`."""

    def hang(*_):
        raise HangError

    # Processor time, as the machine may be busy with something else.
    signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def same(one, other):
    """Whether two outputs are the same numbers."""
    if type(one) is not type(other) and not (_number(one) and _number(other)):
        return False
    if isinstance(one, Tensor):
        return one.dtype == other.dtype and torch.allclose(one, other, 1e-5, 1e-8, equal_nan=True)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, nn.Module):
        return same(dict(one.state_dict()), dict(other.state_dict()))
    if is_dataclass(one):
        names = [field.name for field in fields(one) if field.name not in ("run", "seconds")]
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if _number(one) or isinstance(one, str | bytes):
        return one == other or one != one
    # Whatever else there is shows what it was made of, or is compared by its own tests.
    return not isinstance(one, Figure) or len(one.axes) == len(other.axes)


def _number(value):
    return isinstance(value, int | float | np.number)
