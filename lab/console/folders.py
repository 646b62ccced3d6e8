"""Folders that commands write to."""

from pathlib import Path

from lab.console.printing import one_line
from lab.errors import ConfigError


def make_folder(folder: Path) -> None:
    """Makes the folder of `--out`. Raises ConfigError where there cannot be one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a name with NUL in it
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--out {one_line(folder)}: cannot be used as a folder: {reason}; name another") from None
