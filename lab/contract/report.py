"""What the checks of a contract saw, as a table, and what it is called when one is broken."""

import textwrap
from dataclasses import dataclass

WIDTH = 120  # of a line


@dataclass(frozen=True)
class Row:
    """One check."""

    check: str
    seen: str  # what it saw; of a broken one: what, got and expected
    seconds: float  # of CPU
    broken: bool = False


@dataclass(frozen=True)
class Report:
    """The checks of one forecaster, in their order. It prints as a table."""

    forecaster: str
    rows: tuple[Row, ...]

    @property
    def broken(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.broken)

    @property
    def seconds(self) -> float:
        return sum(row.seconds for row in self.rows)

    def __str__(self) -> str:
        wide = max((len(row.check) for row in self.rows), default=0)
        lines = [f"forecaster {self.forecaster}", f"{'check':{wide}}     CPU s  what was seen"]
        for row in self.rows:
            seen = f"BROKEN: {row.seen}" if row.broken else row.seen
            first, *more = textwrap.wrap(seen, WIDTH - wide - 12) or [""]
            lines.append(f"{row.check:{wide}}  {row.seconds:8.2f}  {first}")
            lines += [" " * (wide + 12) + line for line in more]
        kept = f"{len(self.rows) - len(self.broken)} of {len(self.rows)} kept"
        return "\n".join([*lines, f"{kept:{wide}}  {self.seconds:8.2f}"])


class ContractBroken(AssertionError):
    """A forecaster does not do what every forecaster must. Its text is a sentence for each check that it breaks."""

    def __init__(self, report: Report):
        self.report = report
        super().__init__("\n".join(f"{report.forecaster} breaks '{row.check}': {row.seen}" for row in report.broken))


class Broken(AssertionError):
    """Raised by a check: what, got, expected."""


def expect(holds: object, sentence: str) -> None:
    """Raises Broken, with the sentence, where it does not hold."""
    if not holds:
        raise Broken(sentence)
