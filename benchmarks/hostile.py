"""Bad inputs over the whole public API: how many are named, right, raw or silent.

    python benchmarks/hostile.py [--before FOLDER] [--every N] [--out FILE]

`--before` is a checkout of an earlier state, which the same table is run against.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
CAME = ("named", "right", "raw", "silent")
HEAD = """# Bad inputs over the whole public API

Every parameter of everything public is given bad values by kind: the wrong type, NaN, numbers out
of any range, tensors of other axes, types and layouts. *Named*: refused by an error of the library.
*Right*: taken, as the annotation allows, and where another value must do the same, it does. *Raw*:
any other error, a crash or a hang. *Silent*: taken though it is nonsense, or as another value.

{share} of each state. What this does not say:

- The annotation of a parameter says what it takes, in each state its own: a parameter that says it
  takes anything is judged by what comes of it only. Numbers and tensors within an annotation may be
  taken or refused: whether the range of a setting is right is for the tests of that setting.
- The library was mended by this table, so that nothing raw or silent is left in it does not mean
  that there is none: a kind of value that is not in the table is tried by nobody.
- One parameter is bad at a time; the models are small, on the CPU. The command line is left out.
- Before, some of what is public today was not there, and some annotations were others, so the two
  states are not tried on quite the same values.

```bash
{command}
```
"""
ROOMS = (
    "clips", "models", "zoo", "synthetic", "gradients", "perturbations", "relevance", "measures",
    "attributions", "evaluation", "views",
)  # fmt: skip


def tried(package: Path, every: int) -> dict[str, Counter[str]]:
    """What came of the table, by room, with the package of a checkout and this table."""
    with tempfile.TemporaryDirectory() as folder:
        # The package alone: the tests of an earlier checkout would hide this table.
        (Path(folder) / "temporal_attr").symlink_to((package / "temporal_attr").resolve())
        code = (
            f"import sys, runpy; sys.path[:0] = [{folder!r}, {str(ROOT)!r}]; "
            f"sys.argv = ['hostile', '--every', '{every}']; "
            "runpy.run_module('tests.contract.hostile', run_name='__main__')"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, Counter[str]] = {room: Counter() for room in ROOMS}
    for one in json.loads(done.stdout):
        found[one["call"].partition(".")[0]][one["came"]] += 1
    return found


def table(name: str, found: dict[str, Counter[str]]) -> list[str]:
    """The figures of one state."""
    lines = [f"## {name}", "", "| room | tried | named | right | raw | silent |"]
    lines.append("|---|---|---|---|---|---|")
    total: Counter[str] = sum(found.values(), Counter())
    for room, counts in [*found.items(), ("**all**", total)]:
        numbers = [sum(counts.values()), *(counts[came] for came in CAME)]
        lines.append(f"| {room} | {' | '.join(map(str, numbers))} |")
    return [*lines, ""]


def _share(every: int) -> str:
    return "All values of the table were tried" if every == 1 else f"One value in {every} was tried"


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Run the table, and write what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", type=Path)
    parser.add_argument("--every", type=int, default=1, help="try each N-th value only")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/hostile.md")
    options = parser.parse_args()
    command = "python benchmarks/hostile.py"
    command += " --before ../earlier" if options.before else ""
    command += f" --every {options.every}" if options.every > 1 else ""
    lines = [HEAD.format(share=_share(options.every), command=command)]
    if options.before:
        before = options.before.resolve()
        lines += table(f"Before ({_commit(before)})", tried(before, options.every))
    lines += table("Now", tried(ROOT, options.every))
    options.out.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    main()
