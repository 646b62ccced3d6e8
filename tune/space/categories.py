"""Choices as Optuna is given them, and as they stand on record and on a page.

Optuna compares choices by ==, by which `off`, 0 and 0.0 are one and 1, 1.0 and `on` another, so it is given a label for
each. Records hold the values themselves: JSON keeps apart what == does not, and records from before there were labels
read alike.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    distribution_to_json,
    json_to_distribution,
)

from lab.errors import ConfigError
from lab.settings.config import Config

_WHOLE = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_SWITCH = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def label(value: Any) -> str:
    """A text of its own for every type and value: JSON, but plain text as it is where it cannot be taken for JSON.

    Raises ConfigError for what is no text, number, switch or null.
    """
    if isinstance(value, str) and not _is_json(value):
        return value
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        kind = type(value).__name__
        raise ConfigError(f"got {value!r} ({kind}); texts, numbers, true and false are allowed") from None


def value_of(text: str) -> Any:
    """What `label` was given."""
    return json.loads(text) if _is_json(text) else text


def shown(path: str, value: Any, settings: type[Config]) -> str:
    """A value of a setting as it is written in a file: `off` where more than true and false can be set."""
    if isinstance(value, bool) and settings.is_switch(path) and settings.annotation(path) is not bool:
        return "on" if value else "off"
    return label(value)


def plain(path: str, value: Any, settings: type[Config]) -> Any:
    """The value as the setting's type has it, where it is a text: YAML 1.1 reads 1e-4 as one.

    Whatever else does not fit is left as it is, for the config to refuse.
    """
    if not isinstance(value, str) or path not in settings.names():
        return value
    kind = settings.setting_type(path)
    if kind is bool:
        return _SWITCH.get(value.strip().lower(), value)
    if kind is int and _WHOLE.fullmatch(value):
        return int(value)
    if (kind is float or float in get_args(settings.annotation(path))) and _NUMBER.fullmatch(value):
        return float(value)
    return value


def labelled(params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The settings of a trial as Optuna keeps them."""
    return {
        path: label(value) if isinstance(distributions[path], CategoricalDistribution) else value
        for path, value in params.items()
    }


def distributions_to_json(distributions: Mapping[str, BaseDistribution]) -> str:
    """Distributions of labels as they go on record: with the choices themselves."""
    content = {path: json.loads(distribution_to_json(each)) for path, each in distributions.items()}
    for each in content.values():
        if "choices" in each["attributes"]:
            each["attributes"]["choices"] = [value_of(text) for text in each["attributes"]["choices"]]
    return json.dumps(content)


def distributions_of_json(text: str, settings: type[Config]) -> dict[str, BaseDistribution]:
    """Distributions of labels from the record."""
    found: dict[str, BaseDistribution] = {}
    for path, content in json.loads(text).items():
        choices = content["attributes"].get("choices")
        if choices is None:
            found[path] = json_to_distribution(json.dumps(content))
        else:
            found[path] = CategoricalDistribution([label(plain(path, value, settings)) for value in choices])
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
