"""How much memory something takes at most."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """Bytes in use at most beyond those before; NaN until it is known, or if nobody can say."""

    value: float = math.nan


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch the memory of a device.

    On a CUDA card it is what PyTorch has allocated there. On a CPU it is what the process has
    resident, which only Linux tells; memory that it took before and kept is not seen again.
    """
    peak = Peak()
    if device.type == "cuda":
        before = float(torch.cuda.memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.value = torch.cuda.max_memory_allocated(device) - before
        return
    before = _resident("VmRSS") if _forget_peak() else math.nan
    yield peak
    peak.value = max(0.0, _resident("VmHWM") - before) if math.isfinite(before) else math.nan


def _forget_peak() -> bool:
    """Let the kernel count anew; False where it does not."""
    try:
        _RESET.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident(name: str) -> float:
    """Bytes, from the kernel's table of the process."""
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return float(line.split()[1]) * 1024
    return math.nan
