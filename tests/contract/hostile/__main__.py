"""Run the table, or a part of it, and print what came of it as JSON.

python -m tests.contract.hostile [--every N] [--offset N] [--only PREFIX] [--show raw,silent]
"""

import argparse
import json
import sys
from collections import Counter

import torch

from tests.contract.hostile.judge import outcomes

parser = argparse.ArgumentParser()
parser.add_argument("--every", type=int, default=1, help="try each N-th value only")
parser.add_argument("--offset", type=int, default=0, help="begin with the value at this place")
parser.add_argument("--only", default="", help="calls whose name begins so")
parser.add_argument("--show", default="", help="print these outcomes as text")
options = parser.parse_args()

# A process that is forked waits for ever for the threads that its parent had.
torch.set_num_threads(1)
tried = outcomes(options.only, options.every, options.offset)
if options.show:
    counts = Counter()
    for one in tried:
        counts[one.came] += 1
        if one.came in options.show.split(","):
            sys.stdout.write(f"{one.came}\t{one.call}({one.parameter}={one.value})\t{one.detail}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{counts}\n")
else:
    json.dump([one.asdict() for one in tried], sys.stdout)
