"""What tables call the references beside what was trained, by the column `model` of their runs."""

from collections.abc import Mapping
from typing import Any

from lab.series.bars import BARS
from lab.settings.files import dotted
from lab.store.schema import START

START_TITLE = "before the first step"
TITLES: Mapping[str, str] = {**{name: bar.title for name, bar in BARS.items()}, START: START_TITLE}


def title_with(title: str, preset: str | None, settings: Mapping[str, Any]) -> str:
    """A model by its title, with what its settings have of their own."""
    changes = ", ".join(filter(None, (preset, *(f"{key}={value}" for key, value in dotted(settings).items()))))
    return f"{title} ({changes})" if changes else title
