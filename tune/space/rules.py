"""What a search may vary, and why not the rest: neither what is forecast, nor what judges trials, nor luck."""

from lab.settings.config import Config

_SERIES = "a study has one series, by which its runs are named; make a study for each (--study NAME)"
_REASONS: dict[str, str] = {
    "data.pred_len": "errors at different horizons do not compare; make a study for each (--study NAME)",
    "training.seed": "a search would pick lucky seeds; each trial has some of its own (--replicates)",
    "training.max_epochs": (
        "it is the axis along which weak trials are stopped early, the same for all; set it (--max-epochs N)"
    ),
}


def refusal(path: str, kind: str, settings: type[Config]) -> str:
    """Why no search may vary this setting so, "" where it may. `kind` is that of the range: int, float or choice."""
    if reason := {**_REASONS, **settings.not_searched}.get(path):
        return reason
    if path.startswith("data.") and path not in settings.searchable_data:
        return _SERIES
    if settings.setting_type(path) is int and kind == "float":
        return "got a float range, a whole number is needed; take int"
    if settings.setting_type(path) is bool and kind != "choice":
        return "got a range of numbers; take choice: [true, false]"
    return ""
