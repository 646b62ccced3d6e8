"""All checks of the contract, in their order, run on one forecaster."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from lab.compute.device import use_threads
from lab.console.printing import one_line
from lab.contract import behaviour, interface
from lab.contract.report import Broken, ContractBroken, Report, Row
from lab.contract.subject import SETTINGS, Subject
from lab.errors import ConfigError, check_kind
from lab.forecaster import Forecaster
from lab.registry import forecaster, names

Check = Callable[[Subject], str]  # raises Broken; says what it saw

CHECKS: dict[str, Check] = {
    "names and texts": interface.names_and_texts,
    "refuses unknown keys": interface.refuses_unknown_keys,
    "settings come back": interface.settings_come_back,
    "builds at both ends": interface.builds_at_both_ends,
    "parameters counted": interface.parameters_counted,
    "loss goes down": behaviour.loss_goes_down,
    "alone as stacked": behaviour.alone_as_stacked,
    "resumes exactly": behaviour.resumes_exactly,
    "neighbours change nothing": behaviour.neighbours_change_nothing,
    "reads its windows alone": behaviour.reads_its_windows_alone,
    "sees no future": behaviour.sees_no_future,
    "forecasts from weights": behaviour.forecasts_from_weights,
    "arms differ": interface.arms_differ,
}


def check_forecaster(model: Forecaster | str, settings: Mapping[str, Any] | None = None) -> Report:
    """Whether a forecaster does what every one must; some seconds of one core, on a small synthetic series.

    Args:
        model: its name, `package.module:OBJECT`, or the object itself, which some imported module must hold.
        settings: dotted settings other than those of `SETTINGS` and `Forecaster.small`, such as a longer data.seq_len.
    Returns:
        what each check saw, which prints as a table.
    Raises:
        ContractBroken: a sentence for each check that fails; it holds the whole report.
        ConfigError: a model or settings that there are not.
    """
    check_kind("model", model, (str, Forecaster), "a forecaster, or its name,")
    if settings is not None:
        check_kind("settings", settings, Mapping, "a mapping of dotted settings")
    found = forecaster(model if isinstance(model, str) else name_of(model))
    subject = Subject(found, {**SETTINGS, **found.small, **(settings or {})})
    _ = subject.base, subject.series  # settings and data that cannot be are no fault of the forecaster
    use_threads(1)
    report = Report(found.name, tuple(_checked(name, check, subject) for name, check in CHECKS.items()))
    if report.broken:
        raise ContractBroken(report)
    return report


def _checked(name: str, check: Check, subject: Subject) -> Row:
    began = time.process_time()
    try:
        seen, broken = check(subject), False
    except Broken as error:
        seen, broken = str(error), True
    except Exception as error:  # whatever a forecaster of somebody's raises
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        line = f" ({where.tb_frame.f_code.co_filename}, line {where.tb_lineno})" if where is not None else ""
        seen, broken = f"{type(error).__name__}: {one_line(str(error), 500)}{line}", True
    return Row(name, seen, time.process_time() - began, broken)


def name_of(model: Forecaster) -> str:
    """Under which the registry finds a forecaster, so that what is made of its configs does.

    Raises ConfigError for one that no imported module holds.
    """
    for name in names():
        module, _, attribute = names()[name].partition(":")
        if getattr(sys.modules.get(module), attribute, None) is model:
            return name
    homes = [
        f"{name}:{key}"
        for name, module in list(sys.modules.items())
        for key, value in list(getattr(module, "__dict__", {}).items())
        if value is model and name != "__main__"
    ]
    if not homes:
        raise ConfigError(
            f"forecaster {model.name}: no module holds it; give a module's attribute, or package.module:OBJECT"
        )
    return min(homes, key=lambda home: (home.partition(":")[0] != model.config.__module__, home))
