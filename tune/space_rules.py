"""What a search may vary, and why not the rest: neither what is forecast, nor what judges trials, nor luck."""

from dynonet.config import setting_type

# What a search may vary of the data, for it changes neither what is forecast nor what validation judges: how far back
# the network reads (the targets stay, see tune.space_windows), and which of the training rows teach whom.
OF_DATA = ("data.seq_len", "data.meta_fraction", "data.worker_rows", "data.joint_rows")
_SERIES = "a study has one series, by which its runs are named; make a study for each (--study NAME)"
_REASONS: dict[str, str] = {
    "data.pred_len": "errors at different horizons do not compare; make a study for each (--study NAME)",
    "data.controller_rows": (
        "a controller that learns from validation has seen what judges trials; fix it (data.controller_rows=meta)"
    ),
    "training.protocol": "it stands for other settings, data.controller_rows among them; fix it, or vary those",
    "training.seed": "a search would pick lucky seeds; each trial has some of its own (--replicates)",
    "training.max_epochs": (
        "it is the axis along which weak trials are stopped early, the same for all; set it (--max-epochs N)"
    ),
}


def refusal(path: str, kind: str) -> str:
    """Why no search may vary this setting so, "" where it may. `kind` is that of the range: int, float or choice."""
    if path in _REASONS:
        return _REASONS[path]
    if path.startswith("data.") and path not in OF_DATA:
        return _SERIES
    if setting_type(path) is int and kind == "float":
        return "got a float range, a whole number is needed; take int"
    if setting_type(path) is bool and kind != "choice":
        return "got a range of numbers; take choice: [true, false]"
    return ""
