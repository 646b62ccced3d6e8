"""Errors that say what was wrong, what was got, what is allowed and the nearest valid name."""

from collections.abc import Iterable
from difflib import get_close_matches

from lab.console.printing import one_line
from lab.settings.synonyms import meant

MOST_MEANT = 3  # names that a hint says


class ConfigError(ValueError):
    """A setting that cannot be used. Raised before any compute is spent."""


class DataError(ValueError):
    """A dataset that is missing, damaged or too short for the windows asked of it."""


MOST_WHOLE = 2**63 - 1  # that 64 bits hold, as records and seeds have them


def check_number(name: str, value: float, least: float, most: float = MOST_WHOLE) -> None:
    """Raises ConfigError unless a number lies between two: NaN and infinity lie between none."""
    got = (f"{value:g}" if isinstance(value, float) else str(value))[:40]
    if value > most:
        limit = f"{most:g}" if isinstance(most, float) else str(most)
        raise ConfigError(f"{name}: got {got}, at most {limit} are allowed")
    if not least <= value:
        raise ConfigError(f"{name}: got {got}, at least {least} is needed")


def check_kind(name: str, got: object, kinds: type | tuple[type, ...], needed: str) -> None:
    """Raises ConfigError, with what is `needed`, for an argument of another kind."""
    if not isinstance(got, kinds):
        kind = type(got).__name__
        shown = "None" if got is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
        raise ConfigError(f"{name}: got {shown}; {needed} is needed")


def nearest(name: str, allowed: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the allowed name that means the same elsewhere, or else is closest in its letters; an
    empty string if none is close."""
    names, name = list(allowed), str(name)
    whole = [each for each in names if each.startswith(f"{name}_")]  # a first word of it is closer than any letters
    close = meant(name, names)[:MOST_MEANT] or whole[:1] or get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {' or '.join(map(quoted, close))}?" if close else ""


def quoted(name: object) -> str:
    return f"'{one_line(name)}'"


def unknown(kind: str, name: str, allowed: Iterable[str], error: type[ValueError] = ConfigError) -> ValueError:
    """The error for a name that is not among `allowed` (returned, so that the caller raises it)."""
    names = sorted(allowed)
    allowed_names = "; allowed: " + ", ".join(map(one_line, names))
    return error(f"unknown {kind} '{one_line(name)}'{nearest(name, names) or allowed_names}")
