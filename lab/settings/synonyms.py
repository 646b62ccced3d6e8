"""What settings and options are called elsewhere in the field, for who types such a name: `learning_rate` is `lr`."""

from collections.abc import Iterable

# Names that mean the same. Each row holds one of ours; the others are those of scikit-learn, PyTorch, Lightning, Keras,
# Darts, GluonTS, NeuralForecast, Optuna and the scripts of published models.
SAME: tuple[tuple[str, ...], ...] = (
    ("lr", "learning_rate", "lrate", "rate", "step_size", "eta"),
    ("max_epochs", "epochs", "epoch", "num_epochs", "n_epochs", "train_epochs", "max_steps", "iterations"),
    ("batch_size", "batch", "bs", "batchsize", "train_batch_size", "windows_batch_size"),
    (
        "seq_len", "lookback", "look_back", "context_length", "context_len", "input_size", "input_len", "input_length",
        "history", "window", "window_size", "seq_length", "sequence_length", "input_chunk_length", "lags",
    ),
    (
        "pred_len", "horizon", "h", "prediction_length", "forecast_horizon", "forecast_length", "output_len",
        "output_length", "output_chunk_length", "pred_length", "steps_ahead", "fh",
    ),
    ("dropout", "drop", "p_drop", "drop_rate", "drop_prob"),
    ("hidden", "hidden_size", "hidden_dim", "n_hidden", "hidden_units", "d_model", "width", "units", "dim"),
    ("num_layers", "layers", "depth", "n_layers", "e_layers", "n_blocks"),
    ("weight_decay", "wd", "l2", "decay", "regularization"),
    ("seed", "random_seed", "random_state", "manual_seed"),
    ("patience", "early_stopping", "early_stop", "early_stopping_patience", "early_stop_patience_steps"),
    ("schedule", "scheduler", "lr_scheduler", "lr_schedule", "lradj"),
    ("dataset", "data", "data_name", "data_set"),
    ("path", "file", "filename", "file_path", "data_path", "csv", "root_path"),
    ("date_column", "date", "time_column", "time_col", "timestamp", "ds", "date_col"),
    ("channels", "columns", "cols", "features", "targets", "target", "variables"),
    ("period", "season", "seasonality", "season_length", "sp", "freq"),
    ("split", "splits", "train_split", "val_split", "test_split", "test_size", "ratio"),
    ("separator", "sep", "delimiter"),
    ("missing_values", "na_values", "na", "nan", "missing"),
    ("fill", "fillna", "ffill", "impute", "imputation"),
    ("trials", "n_trials", "num_trials", "num_samples", "max_trials", "n_iter"),
    ("replicates", "repeats", "n_repeats"),
    ("seeds", "n_seeds", "num_seeds"),
    ("time_budget", "timeout", "time_limit", "max_time", "time_budget_s", "budget"),
    ("results", "output_dir", "save_dir", "log_dir", "logdir", "storage", "output", "out"),
    ("study", "study_name", "name", "experiment", "experiment_name"),
    ("max_concurrent", "jobs", "n_jobs", "num_workers", "parallel", "concurrency"),
    ("dry_run", "plan", "dryrun", "simulate"),
    ("device", "gpu", "cuda", "accelerator"),
    ("preset", "presets", "profile"),
    ("config", "config_file", "settings", "yaml"),
    ("linear", "ridge", "least_squares"),
    ("delete", "remove", "rm"),
    ("rename", "mv", "move"),
    ("list", "ls"),
)  # fmt: skip


def meant(name: str, allowed: Iterable[str]) -> list[str]:
    """Those of the allowed names whose last part means the same as the last part of a name; none where none does.

    Of `hidden_size` they are `model.hidden` where there is one, else all that end in `_hidden`.
    """
    asked, names = _plain(name), list(allowed)
    groups = [{_plain(each) for each in group} for group in SAME]
    words = {asked, *(word for group in groups if asked in group for word in group)}
    first = {_plain(group[0]) for group in SAME if asked in {_plain(each) for each in group}}
    exact = [each for each in names if _plain(each) in words]
    return exact or [each for each in names if any(_plain(each).endswith(word) for word in first)]


def _plain(name: str) -> str:
    """The last part of a dotted name or an option, in letters and digits alone."""
    return "".join(filter(str.isalnum, name.rpartition(".")[2].lower()))
