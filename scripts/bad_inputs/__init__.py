"""The bad inputs of check_inputs.py: what a user may bring to each command that must not get past its door.

An input is a command line, with files made for it, and what the refusal has to name: the thing that is wrong and what
was got. A few good ones of each command show that it is the fault that is refused, and nothing beside it.
"""

import os
from pathlib import Path

from scripts.bad_inputs import files, records, searches, settings, studies
from scripts.bad_inputs.base import Input, csv


def all_inputs(folder: Path) -> list[Input]:
    """Every input, its files made in `folder`."""
    os.chdir(folder)
    Path("plain.csv").write_text(csv())
    return [
        *files.files(), *files.tables(), *files.data_settings(), *settings.settings(), *settings.yaml(),
        *settings.options(), *settings.environment(), *searches.spaces(), *searches.searches(), *studies.studies(),
        *studies.study_options(), *records.stores(), *records.forecasts(),
        *records.clusters(), *records.good(),
    ]  # fmt: skip
