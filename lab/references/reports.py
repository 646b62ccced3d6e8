"""What a paper, or its authors' code, reports of a model; beside what was measured here, and why the two may differ."""

from dataclasses import dataclass

from lab.pages.formats import decimal
from lab.settings.config import Config


@dataclass(frozen=True)
class Report:
    """On the test split of one series and horizon. None: the source does not say."""

    mse: float
    mae: float | None = None
    seq_len: int | None = None
    seeds: int | None = None
    dropped: bool | None = None  # whether the last batch of test was left out
    searched: bool = False  # whether the lookback was chosen by the test error
    said: str = ""  # what else differs, in words

    def differs(self, config: Config, seeds: int) -> str:
        """Why it may differ from the mean of so many seeds of this config, every test window counted."""
        why = []
        if self.seq_len is not None and self.seq_len != config.data.seq_len:
            why.append(f"reads {self.seq_len} steps there, {config.data.seq_len} here")
        if self.searched:
            why.append("its lookback was chosen on test there")
        if self.dropped:
            why.append("the last test batch is left out there")
        if self.seeds == 1 and seeds > 1:
            why.append(f"one seed there, {seeds} here")
        return "; ".join([*why, *filter(None, [self.said])])

    def farther(self, config: Config) -> int | None:
        """Rows by which its lookback differs from that of a config; None where it is not said."""
        return None if self.seq_len is None else abs(self.seq_len - config.data.seq_len)

    def text(self) -> str:
        return decimal(self.mse) if self.mae is None else f"{decimal(self.mse)} / {decimal(self.mae)}"
