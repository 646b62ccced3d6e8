"""Two identities compared: what a study was begun with, and what it is asked for now."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from lab.settings.files import dotted

MISSING = "(not set)"


def differences(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    *,
    whole: Collection[str] = (),
    same: Callable[[str, Any, Any], bool] = lambda key, one, other: bool(one == other),
) -> list[str]:
    """One line per setting that differs between two identities, and one more where the reason lies in what they are.

    Args:
        whole: sections whose entries are one value each, whatever they hold.
        same: whether two values of a setting, by its dotted key, are one.
    """
    before, after = _leaves(old, whole), _leaves(new, whole)
    keys = sorted(
        key for key in before.keys() | after.keys() if not same(key, before.get(key, MISSING), after.get(key, MISSING))
    )
    lines = [f"{key}: {before.get(key, MISSING)} -> {after.get(key, MISSING)}{_meant(key)}" for key in keys]
    if any(key.endswith("data.split") and key not in after for key in keys):
        lines.insert(
            0, "a study on a file of one's own from before files were known by their values: it stays readable"
        )
    return lines


def _meant(key: str) -> str:
    return " (other data: a value, a name, the order, a date or a split)" if key.startswith("data_sha256") else ""


def _leaves(identity: Mapping[str, Any], whole: Collection[str]) -> dict[str, Any]:
    """Settings by dotted key."""
    rest = {key: value for key, value in identity.items() if key not in whole}
    return {**dotted(rest), **{f"{name}.{key}": each for name in whole for key, each in identity.get(name, {}).items()}}
