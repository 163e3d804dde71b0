"""Did memory run out?"""

from __future__ import annotations

import torch

_OUT_OF_MEMORY_TEXTS = (
    "out of memory",
    "can't allocate memory",  # the CPU's allocator
    "not enough memory",
    "status_alloc_failed",  # cuBLAS and cuDNN
    "unable to find an engine to execute",  # cuDNN, where none fits into what memory is left
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device.

    Example:
        >>> is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
        True
    """
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(part in text for part in _OUT_OF_MEMORY_TEXTS)
