"""All that a record holds, to the last bit: `python -m tests.results.fingerprint FOLDER ...`."""

import json
import sys
from dataclasses import fields, is_dataclass
from hashlib import sha256
from pathlib import Path

import torch

from temporal_attr import load_result


def fingerprint(value):
    """Types, shapes, bits and texts, all the way down."""
    kind = type(value).__name__
    if isinstance(value, torch.Tensor):
        bits = value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return [kind, str(value.dtype), list(value.shape), sha256(bits).hexdigest()]
    if is_dataclass(value):
        return [kind, {one.name: fingerprint(getattr(value, one.name)) for one in fields(value)}]
    if isinstance(value, dict):
        return [kind, [[fingerprint(key), fingerprint(entry)] for key, entry in value.items()]]
    if isinstance(value, (list, tuple)):
        return [kind, [fingerprint(entry) for entry in value]]
    return [kind, value.hex() if isinstance(value, float) else value]


if __name__ == "__main__":
    found = {folder: fingerprint(load_result(Path(folder))) for folder in sys.argv[1:]}
    json.dump(found, sys.stdout)
