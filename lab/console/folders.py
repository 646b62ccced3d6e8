"""Folders and files that commands write to."""

import os
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


def write_whole(target: Path, body: bytes) -> Path:
    """A file that appears whole or not at all. Raises ConfigError where it cannot be written."""
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        partial.write_bytes(body)
        os.replace(partial, target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ConfigError(f"{one_line(target)}: cannot be written: {error.strerror}; name another") from None
    return target
