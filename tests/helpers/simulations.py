"""What simulations measured, and the table of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A number, where theory expects it, and how many random draws it was measured by.

    Attributes:
        test: The test that measured it.
        what: What was measured.
    """

    test: str
    what: str
    value: float
    low: float
    high: float
    trials: int

    def __str__(self):
        between = f"{self.low:.3g} to {self.high:.3g}"
        return f"| {self.what} | {self.value:.3g} | {between} | {self.trials} | `{self.test}` |"


def table(rows, file):
    """A page of what was measured, with the command that writes it."""
    lines = [
        "# Statistics by simulation",
        "",
        "What the intervals and p-values of the measures do over many random draws, beside what",
        "theory says they should. Each row is a test that the default run leaves out; the nightly",
        "command writes this page:",
        "",
        "```bash",
        f"pytest -n 0 -m simulation --note-simulations {file}",
        "```",
        "",
        "| what | measured | expected | draws | test |",
        "|---|---|---|---|---|",
        *map(str, rows),
    ]
    return "\n".join(lines) + "\n"
