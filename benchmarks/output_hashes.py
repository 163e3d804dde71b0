"""Every method on every model: a hash of each output, to show that a change of code changed none.

    python benchmarks/output_hashes.py --write benchmarks/results/outputs_before.json
    python benchmarks/output_hashes.py --against benchmarks/results/outputs_before.json

The first command keeps what a version computes. The second compares another version with it: it
lists what differs, counts the outputs that are identical, and exits with 1 if any is not. Where the
first also kept the tensors (`--save before.safetensors`, 220 MB), the second can say which parts of
an output differ, and how far (`--compare before.safetensors`).

An output is what one call of a method returns: its parts (such as the fields of a result) by name,
in float64 on one thread, apart from memory paths in float32. Kept are half of the SHA-256 of the
names, shapes, types and bytes of the parts, the number of values, and their L2 norm. All NaNs hash
alike, and -0 like 0. Where a method refuses a model, its error is kept; another text or class is
listed, but it is no number that changed.

Bits depend on the processor and on versions of libraries, which are kept as well: compare runs of
one machine. Takes about five minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections import Counter
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Read when the libraries load. Without the first, MKL may choose kernels by where memory lies.
os.environ["MKL_CBWR"] = "COMPATIBLE"
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

import torch
from output_calls import Outputs, Subject, output_calls
from output_models import CASES, CLASSES, Case, clip_for, varied
from safetensors.torch import load_file, save_file
from torch import Tensor

from temporal_attr import TemporalAttrError


def run_case(name: str, case: Case) -> tuple[dict[str, Outputs], dict[str, str]]:
    """What each call gives for a model, and the errors of those that give none."""
    torch.manual_seed(0)
    model = varied(case.build(), case.shape)
    clip = clip_for(model, case.shape)
    # The top class of the first clip, and another of the others.
    target = model(clip).argmax(1)
    target[1:] = (target[1:] + 1) % CLASSES
    found: dict[str, Outputs] = {}
    errors: dict[str, str] = {}
    for label, call in output_calls(Subject(model, clip, target)):
        if not any(fnmatch(label, pattern) for pattern in case.asked):
            continue
        key = f"{name}/{label}"
        try:
            parts = call()
        except TemporalAttrError as error:
            errors[key] = f"{type(error).__name__}: {error}"[:120]
        else:
            found[key] = {part: plain(value) for part, value in parts.items()}
    return found, errors


def plain(tensor: Tensor) -> Tensor:
    """The values by themselves, with one NaN and one zero."""
    values = tensor.detach().contiguous().clone()
    if not values.is_floating_point():
        return values
    return torch.where(values.isnan(), torch.nan, values + 0.0)


def fingerprint(parts: Outputs) -> str:
    """Hash, number of values and norm of an output."""
    digest = hashlib.sha256()
    squares, count = 0.0, 0
    for name, value in sorted(parts.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.numpy().tobytes())
        squares += value.double().nan_to_num(0, 0, 0).square().sum().item()
        count += value.numel()
    return f"{digest.hexdigest()[:32]} {count} {squares**0.5:.7g}"


def difference(tensor: Tensor, before: Tensor) -> float:
    """The largest difference, over the largest magnitude before; infinite if they do not fit."""
    if tensor.shape != before.shape or not torch.equal(tensor.isnan(), before.isnan()):
        return float("inf")
    new, old = tensor.double().nan_to_num(), before.double().nan_to_num()
    largest = (new - old).abs().max().item() if new.numel() else 0.0
    return largest / (old.abs().max().item() or 1.0) if largest else 0.0


def differences(parts: Outputs, before: Outputs) -> str:
    """Which parts of an output differ, and how far."""
    texts = []
    for name in sorted({*parts, *before}):
        if name not in parts or name not in before:
            texts.append(f"{name} is {'new' if name in parts else 'missing'}")
        elif parts[name].dtype != before[name].dtype:
            texts.append(f"{name} was {before[name].dtype}")
        elif change := difference(parts[name], before[name]):
            texts.append(f"{name} {change:.1e}")
    return ", ".join(texts)


def circumstances() -> dict[str, str]:
    """What bits depend on."""
    packages = ("torch", "torchvision", "timm", "captum", "numpy", "scipy", "scikit-image")
    return {
        "processor": f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}",
        **{name: version(name) for name in (*packages, "opencv-python-headless")},
    }


def report(
    record: dict[str, Any], before: dict[str, Any], models: list[str], sizes: dict[str, str]
) -> int:
    """Print what differs, and say how many outputs do."""
    if record["made_with"] != before["made_with"]:
        print(f"made with other things, so bits may differ: {before['made_with']}")
    counts = {"outputs": Counter[str](), "errors": Counter[str]()}
    wrong = {"outputs": Counter[str](), "errors": Counter[str]()}
    for kind, count in counts.items():
        now, old = record[kind], before[kind]
        for key in (key for key in {**old, **now} if key.split("/")[0] in models):
            method = key.split("/")[1]
            count[method] += 1
            if now.get(key) != old.get(key):
                wrong[kind][method] += 1
                print(f"other {kind.removesuffix('s')}  {key}  {sizes.get(key, '')}")
                print(f"    before  {old.get(key)}\n    now     {now.get(key)}")
    print("\n| method | identical outputs | different | identical errors | different |")
    print("|---|---|---|---|---|")
    for method in counts["outputs"] | counts["errors"]:
        cells = [
            (counts[kind][method] - wrong[kind][method], wrong[kind][method]) for kind in wrong
        ]
        print("|", method, "|", " | ".join(f"{same} | {other}" for same, other in cells), "|")
    return wrong["outputs"].total()


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", type=Path, help="file for the hashes")
    parser.add_argument("--save", type=Path, help="file for the tensors themselves, large")
    parser.add_argument("--against", type=Path, help="hashes of another run")
    parser.add_argument("--compare", type=Path, help="tensors of another run")
    parser.add_argument("--models", nargs="*", choices=list(CASES), default=list(CASES))
    return parser.parse_args()


def by_output(tensors: Outputs) -> dict[str, Outputs]:
    """Tensors from a file, as parts of their outputs."""
    found: dict[str, Outputs] = {}
    for name, tensor in tensors.items():
        key, _, part = name.rpartition("/")
        found.setdefault(key, {})[part] = tensor
    return found


def main() -> None:
    """Compute, and keep or compare."""
    options = parsed()
    torch.set_num_threads(1)
    before = by_output(load_file(options.compare)) if options.compare else {}
    kept: Outputs = {}
    record: dict[str, Any] = {"made_with": circumstances(), "outputs": {}, "errors": {}}
    sizes: dict[str, str] = {}
    for name in options.models:
        start = time.perf_counter()
        found, errors = run_case(name, CASES[name])
        record["errors"].update(errors)
        for key, parts in found.items():
            record["outputs"][key] = fingerprint(parts)
            sizes[key] = differences(parts, before[key]) if key in before else ""
            if options.save:
                kept.update({f"{key}/{part}": value for part, value in parts.items()})
        seconds = time.perf_counter() - start
        print(f"{name}: {len(found)} outputs, {seconds:.1f} s", file=sys.stderr, flush=True)
    if options.write:
        options.write.write_text(json.dumps(record, indent=0) + "\n")
    if options.save:
        save_file(kept, options.save)
    if options.against:
        reference = json.loads(options.against.read_text())
        sys.exit(1 if report(record, reference, options.models, sizes) else 0)


if __name__ == "__main__":
    main()
