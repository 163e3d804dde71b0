"""Autograd for the library's own use, whatever the caller or cuDNN has switched off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from temporal_attr._errors import ClipError

_CUDNN_OFF = threading.RLock()
"""Held while the flag of the process is off: of two threads, the second would note "off" as what
the user had, and leave it so. One thread can hold it twice, as a method inside of another does."""

_RECURRENT_CALLS = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
_NORM_CALLS = {F.batch_norm, F.instance_norm, torch.batch_norm, torch.instance_norm}


@contextmanager
def isolated_autograd(clips: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    """Copies of clips that gradients can be taken of, under no_grad, inference mode and autocast.

    What is computed inside is in no graph of the caller's, and the caller's modes are back
    afterwards, also after an exception.

    Example:
        >>> with torch.no_grad(), isolated_autograd((torch.ones(2),)) as (clip,):
        ...     torch.is_grad_enabled()
        True
    """
    if not clips:
        raise ClipError("at least one clip", "none", "Pass them in a tuple.")
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        # A method that lowers the precision does so itself, and says so.
        torch.autocast(clips[0].device.type, enabled=False),
    ):
        # An inference tensor can never be part of a graph, but a copy of it can.
        yield tuple(clip.clone() if clip.is_inference() else clip.detach() for clip in clips)


class _NativeRecurrence(TorchFunctionMode):
    """Run recurrent layers without cuDNN, and everything else as usual."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        if func not in _RECURRENT_CALLS:
            return func(*args, **(kwargs or {}))
        # This one flag only: PyTorch's own context manager also reads the precision flags, and
        # refuses where the newer ones have been set.
        with _CUDNN_OFF:
            enabled = torch.backends.cudnn.enabled
            torch.backends.cudnn.enabled = False
            try:
                return func(*args, **(kwargs or {}))
            finally:
                torch.backends.cudnn.enabled = enabled


@contextmanager
def native_recurrence(on_cuda: bool) -> Iterator[None]:
    """Let gradients through `nn.LSTM`, `nn.GRU` and `nn.RNN` in evaluation mode work on CUDA.

    cuDNN keeps what its backward pass needs in training mode only, and otherwise fails with "cudnn
    RNN backward can only be called in training mode". PyTorch's own kernels have no such limit.
    Which kernel runs is settled in the forward pass, so only that is wrapped, and convolutions
    keep cuDNN. Layers inside `torch.jit.script` are out of reach. The flag that says so is one for
    the process: a convolution that another thread starts in that moment runs without cuDNN, too,
    with the same numbers to rounding.

    Example:
        >>> from torch import nn
        >>> lstm = nn.LSTM(3, 4, batch_first=True).eval()
        >>> x = torch.rand(1, 5, 3, requires_grad=True)
        >>> with native_recurrence(x.is_cuda):
        ...     outputs, _ = lstm(x)
        >>> outputs.sum().backward()
    """
    if not on_cuda:
        yield
        return
    with _NativeRecurrence():
        yield


class _ContiguousNormGradients(TorchFunctionMode):
    """Hand batch and instance norm a gradient in their output's own memory layout."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        output = func(*args, **(kwargs or {}))
        if func in _NORM_CALLS and output.requires_grad and output.is_contiguous():
            # Costs nothing where it is so already.
            output.register_hook(torch.Tensor.contiguous)
        return output


@lru_cache
def norm_backward_is_wrong() -> bool:
    """Whether this PyTorch takes a gradient of batch norm for one in another memory layout.

    So does 2.14.1 on the CPU, for a batch of one whose gradient lies in memory channel by channel,
    such as that of `flatten(2).transpose(1, 2).mean(1)` after it: every channel gets the mean over
    others. Tried once a process, on eight numbers.

    Example:
        >>> isinstance(norm_backward_is_wrong(), bool)
        True
    """
    with isolated_autograd((torch.zeros(1, 2, 2, 2, dtype=torch.float32, device="cpu"),)) as (x,):
        leaf = x.requires_grad_()
        zeros = torch.zeros_like(leaf[0, :, 0, 0], requires_grad=False)
        output = F.batch_norm(leaf, zeros, zeros + 1).flatten(2).transpose(1, 2).mean(1)
        (found,) = torch.autograd.grad(output[0, 1], leaf)
    return bool(found[0, 0].any())


def mended(output: Tensor) -> Tensor:
    """An output itself, whose graph differentiates batch and instance norm rightly.

    Where this PyTorch needs it, the norms in the graph get their gradients in the usual memory
    layout. On CUDA there is nothing to mend.

    Example:
        >>> norm = torch.nn.BatchNorm2d(2).eval()
        >>> x = torch.rand(1, 2, 3, 3, requires_grad=True)
        >>> output = mended(norm(x).flatten(2).transpose(1, 2).mean(1))
        >>> (gradient,) = torch.autograd.grad(output[0, 1], x)  # of the second channel only
        >>> gradient.sum((2, 3))
        tensor([[0.0000, 1.0000]])
    """
    if output.is_cuda or output.grad_fn is None or not norm_backward_is_wrong():
        return output
    seen: set[Any] = set()
    waiting: list[Any] = [output.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "NativeBatchNormBackward0":  # of instance norm, too
            node.register_prehook(_contiguous)
        waiting += [parent for parent, _ in node.next_functions]
    return output


def _contiguous(gradients: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if one is None else one.contiguous() for one in gradients)


def reliable_backward(on_cuda: bool) -> AbstractContextManager[None]:
    """The same and `native_recurrence`, where somebody else takes the gradients of a pass inside.

    It sees every function that the model calls, which takes microseconds each; `mended` does not.

    Example:
        >>> norm = torch.nn.BatchNorm2d(2).eval()
        >>> x = torch.rand(1, 2, 3, 3, requires_grad=True)
        >>> with reliable_backward(x.is_cuda):
        ...     output = norm(x).flatten(2).transpose(1, 2).mean(1)
        >>> (gradient,) = torch.autograd.grad(output[0, 1], x)
        >>> gradient.sum((2, 3))
        tensor([[0.0000, 1.0000]])
    """
    if on_cuda:
        return native_recurrence(on_cuda)
    return _ContiguousNormGradients() if norm_backward_is_wrong() else nullcontext()
