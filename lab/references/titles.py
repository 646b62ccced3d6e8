"""What tables call the references beside what was trained, by the column `model` of their runs."""

from collections.abc import Mapping

from lab.series.bars import BARS
from lab.store.schema import START

START_TITLE = "before the first step"
TITLES: Mapping[str, str] = {**{name: bar.title for name, bar in BARS.items()}, START: START_TITLE}
