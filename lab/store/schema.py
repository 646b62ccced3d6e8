"""The tables of the results: their columns, what makes a row one of a kind, and the checks on the way in.

A row is written once and never changed. Tables with a column `study` lie in one folder per study
(`trials/study=NAME/`); the column then stands in the folder's name and not in the files. Table `runs` has
columns beside those listed here, each model its own (see lab.store.columns).
"""

import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from lab.errors import nearest, unknown
from lab.series import Series, bars
from lab.settings.config import Config
from lab.store.columns import PARAMS, in_order, is_open, typed
from lab.store.objects.storage import utc_now

# Raise it when a reader of today could misread the files of tomorrow; new columns alone don't need it.
SCHEMA_VERSION = 2  # 2: the names of files end in their checksum
VERSION_KEY = b"dynonet_schema_version"

DONE = ("complete", "diverged")  # statuses of a run that is never trained again
START = "start"  # model of a run that is a network before its first step, where that is a closed form
# Models of runs that are references beside what was trained, which nothing trained.
BARS = (*bars.BARS, START)
EVENTS = (
    "resumed", "node_joined", "node_leaving", "node_lost", "process_died", "memory_short", "raised", "moved", "halved",
    "storage_outage",
)  # fmt: skip


class ResultsError(ValueError):
    """A record that does not fit its table, or results that are asked for and not there."""


_TEXT, _INT, _REAL, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")

_REALS = pa.list_(pa.field("element", _REAL))  # "element" is what Parquet calls it
_TEXTS = pa.list_(pa.field("element", _TEXT))
_REPORTS = pa.list_(pa.field("element", pa.struct([("epoch", _INT), ("value", _REAL)])))

_COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    # One row per run and attempt. Open columns beside these: `params.*`, its settings, and `GROUP_range.*`, largest
    # less smallest value of what the model tells of itself, over channels, validation windows, epochs and its start: 0
    # means that it never moved.
    "runs": [
        ("run", _TEXT),  # content id
        ("attempt", _INT),
        ("model", _TEXT),  # a forecaster's name, or one of BARS
        ("seed", _INT),
        ("status", _TEXT),
        ("protocol", _TEXT),
        ("dataset", _TEXT),
        ("val_mse", _REAL),  # of the best epoch, as the three below
        ("val_mae", _REAL),
        ("val_mse_channels", _REALS),  # in the order of `channels`
        ("val_mae_channels", _REALS),
        ("channels", _TEXTS),
        ("best_epoch", _INT),
        ("epochs", _INT),  # trained
        ("parameters", _INT),  # trainable numbers of the model
        ("cpu_seconds", _REAL),
        ("gpu_seconds", _REAL),
        ("wall_seconds", _REAL),
        ("peak_memory_bytes", _INT),
        ("stack_size", _INT),  # models trained in the same stack
        ("error", _TEXT),
        ("started", _TIME),
        ("ended", _TIME),
        ("git_commit", _TEXT),
        ("git_dirty", pa.bool_()),
        ("versions", _TEXT),  # JSON, package to version
        ("data_sha256", _TEXT),  # identity of the series: part of the run's id
        ("data_file_sha256", _TEXT),  # of the file as it lay on the disk
        ("data_notes", _TEXTS),  # what a reader must know of the data, a sentence each
        ("host", _TEXT),
        ("device", _TEXT),
        ("trained_for", _TEXT),  # the study
        ("kernel", _TEXT),  # what computed it: numba, triton or torch; of modules, whether stacked or why not
        ("weights", _TEXT),  # path in the store of the best epoch's weights
        ("config", _TEXT),  # JSON, every setting
    ],
    "history": [  # long: one row per number
        ("run", _TEXT),
        ("attempt", _INT),
        ("step", _INT),  # epoch
        ("metric", _TEXT),
        ("value", _REAL),
    ],
    "members": [  # which run belongs to which study, trial and arm
        ("study", _TEXT),
        ("trial", _TEXT),  # null for a final or a baseline
        ("arm", _TEXT),
        ("cell", _TEXT),  # of an ablation: the conditions under which its arms are compared
        ("role", _TEXT),
        ("run", _TEXT),
        ("time", _TIME),
    ],
    "trials": [  # events, enough to rebuild Optuna's study
        ("study", _TEXT),
        ("trial", _TEXT),
        ("number", _INT),
        ("event", _TEXT),
        ("params", _TEXT),  # JSON
        ("distributions", _TEXT),  # JSON
        ("config", _TEXT),  # JSON
        ("state", _TEXT),  # null for a proposal; `pruned` in records of before: stopped
        ("values", _REALS),  # one per objective
        ("reports", _REPORTS),
        ("error", _TEXT),
        ("retry_of", _TEXT),
        ("time", _TIME),
        ("seed", _INT),  # of the search
        # Of a search that races over seeds alone:
        ("seeds", _INT),  # that it has, or of `raced` has from now on
        ("losses", _REALS),  # of its first seeds, as many as came to their end
        ("reason", _TEXT),  # why it has no more seeds, or gets more
    ],
    "evaluations": [  # every reading of a split, of test above all
        ("run", _TEXT),
        ("attempt", _INT),
        ("split", _TEXT),
        ("metric", _TEXT),
        ("channel", _TEXT),  # null: over all channels
        ("value", _REAL),
        ("windows", _INT),  # that the value is a mean over
        ("purpose", _TEXT),
        ("time", _TIME),
    ],
    "looks": [  # the ledger of the data: one row per look at test or at sealed rows (see lab.ledger)
        ("look", _TEXT),  # id
        ("series", _TEXT),  # identity, as `data_sha256` of a run
        ("dataset", _TEXT),
        ("split", _TEXT),
        ("origin", _INT),  # the row where training ends
        ("first", _INT),  # rows [first, end) of the split
        ("end", _INT),
        ("runs", _INT),  # that were read, or judged
        ("run_ids", _TEXTS),
        ("purpose", _TEXT),
        ("read_for", _TEXT),  # the study
        ("mark", _TEXT),  # of verdicts: names the question, the rule and the seeds
        ("content", _TEXTS),  # marks of what the rows hold (see lab.ledger.content)
        ("again", _TEXT),  # of sealed rows that were read before: why once more
        ("command", _TEXT),
        ("user", _TEXT),
        ("host", _TEXT),
        ("time", _TIME),
    ],
    "studies": [  # one row per creation or accepted change of settings
        ("study", _TEXT),
        ("settings", _TEXT),  # JSON
        ("time", _TIME),
    ],
    "events": [  # what befell a study: machines lost, trials that went on, storage that was gone
        ("study", _TEXT),
        ("kind", _TEXT),
        ("text", _TEXT),  # one sentence
        ("trial", _TEXT),  # null where it befell none
        ("host", _TEXT),  # that noticed it
        ("time", _TIME),
    ],
}
TABLES = tuple(_COLUMNS)
SCHEMAS: dict[str, pa.Schema] = {name: pa.schema(columns) for name, columns in _COLUMNS.items()}
PARTITIONED = tuple(name for name in TABLES if "study" in SCHEMAS[name].names)
OPEN = ("runs",)  # tables with open columns

# Columns that no row may leave empty.
REQUIRED: dict[str, tuple[str, ...]] = {
    "runs": ("run", "attempt", "status"),
    "history": ("run", "attempt", "step", "metric"),
    "members": ("study", "role", "run"),
    "trials": ("study", "trial", "event"),
    "evaluations": ("run", "split", "metric"),
    "looks": ("look", "series", "split", "origin", "runs"),
    "studies": ("study", "settings"),
    "events": ("study", "kind", "text"),
}
# Rows equal in these are one record, written twice by drivers that raced; other tables keep every row.
IDENTITY: dict[str, tuple[str, ...]] = {
    "runs": ("run", "attempt"),
    "history": ("run", "attempt", "step", "metric"),
    "members": ("study", "trial", "arm", "cell", "role", "run"),
    "looks": ("look",),
}
# By what the files of a table without a study are named.
NAMED_BY = {"looks": "look"}
# Texts that repeat row by row in the millions: read as indices into distinct values.
_REPEATED = {"history": ("run", "metric")}
_ALLOWED: dict[tuple[str, str], tuple[str, ...]] = {
    ("runs", "status"): (*DONE, "stopped", "failed"),
    ("members", "role"): ("search", "final", "baseline", "arm"),
    ("trials", "event"): ("proposed", "raced", "outcome"),
    ("trials", "state"): ("complete", "stopped", "failed"),
    ("events", "kind"): EVENTS,
}

# A name that starts with a letter is read back as text from `study=NAME`, never as a number or a date.
STUDY_NAME = "[A-Za-z][A-Za-z0-9._-]{0,127}"


def file_schema(table: str) -> pa.Schema:
    """The columns that all of the table's files hold."""
    return pa.schema([f for f in SCHEMAS[table] if f.name != "study"])


def repeated_texts(table: str) -> tuple[str, ...]:
    """Columns that are read as dictionaries."""
    return _REPEATED.get(table, ())


def memory_schema(table: str) -> pa.Schema:
    """The table's columns as they are read: repeated texts as dictionaries."""
    texts = pa.dictionary(pa.int32(), pa.string())
    return pa.schema([f.with_type(texts) if f.name in repeated_texts(table) else f for f in SCHEMAS[table]])


def check_table(table: str) -> None:
    if table not in SCHEMAS:
        raise unknown("table", table, TABLES, ResultsError)


def is_study(name: Any) -> bool:
    """Whether a study can be called so."""
    return isinstance(name, str) and re.fullmatch(STUDY_NAME, name) is not None


def check_study(study: str) -> str:
    if not is_study(study):
        raise ResultsError(f"study name {study!r}: a letter first, then letters, digits, '.', '_' or '-' are allowed")
    return study


def run_params(config: Config) -> dict[str, Any]:
    """The typed `params.*` columns of a run, and its `config`, `seed`, `protocol` and `dataset`."""
    row: dict[str, Any] = {
        f"{PARAMS}{key}": _as_recorded(value, config.setting_type(key)) for key, value in config.flat().items()
    }
    return row | {
        "config": config.to_json(),
        "seed": config.training.seed,
        "protocol": config.protocol or None,
        "dataset": config.data.name,
    }


def _as_recorded(value: Any, kind: type) -> Any:
    """A setting in the type that it is recorded with, whatever it is set to."""
    if value is None:
        return None
    if kind is str:
        return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return kind(value)


def series_columns(series: Series) -> dict[str, Any]:
    """The columns of a run that say which series it saw."""
    return {
        "channels": list(series.channels), "data_sha256": series.identity,
        "data_file_sha256": series.file_sha256 or None, "data_notes": list(series.notes) or None,
    }  # fmt: skip


def to_table(table: str, rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Checked rows with every column of the table (what a row lacks is null, NaN too), and the open ones it fills.

    Raises:
        ResultsError: an unknown column, a value of the wrong type, or a required one left out.
    """
    check_table(table)
    schema = SCHEMAS[table]
    rows = list(rows)
    listed = set(schema.names)
    filled: set[str] = set()
    for row in rows:
        for name, value in row.items():
            if name in listed:
                continue
            if table not in OPEN or not is_open(name):
                raise ResultsError(f"table '{table}' has no column '{name}'{nearest(name, schema.names)}")
            if _no_nan(value) is not None:
                filled.add(name)
        if "study" in schema.names:
            check_study(row.get("study", ""))
    columns = []
    for field in schema:
        default = utc_now() if field.name == "time" else None
        values = [_clean(table, field, row.get(field.name, default)) for row in rows]
        if field.name in REQUIRED[table] and any(value is None for value in values):
            raise ResultsError(f"table '{table}': column '{field.name}' is required, and a row lacks it")
        try:
            columns.append(pa.array(values, field.type))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ResultsError(f"table '{table}', column '{field.name}' ({field.type}): {error}") from None
    names = list(schema.names)
    for name in in_order({tuple(row): None for row in rows}):
        if name not in filled:
            continue
        try:
            columns.append(typed(name, [_no_nan(row.get(name)) for row in rows]))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise ResultsError(f"table '{table}', column '{name}': {error}") from None
        names.append(name)
    return pa.Table.from_arrays(columns, names=names)


def _clean(table: str, field: pa.Field, value: Any) -> Any:
    """One value as its column takes it; raises ResultsError where Arrow would bend it silently."""
    kind = field.type
    value = _no_nan(value)
    if value is None:
        return None
    problem = ""
    if pa.types.is_floating(kind):
        if isinstance(value, (bool, str)):
            problem = "expected a number"
    elif pa.types.is_integer(kind):
        if isinstance(value, (bool, str)) or not math.isfinite(value) or value != int(value):
            problem = "expected a whole number"
        else:
            value = int(value)
    elif pa.types.is_boolean(kind):
        problem = "" if isinstance(value, bool) else "expected True or False"
    elif pa.types.is_string(kind):
        value = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    elif pa.types.is_timestamp(kind):
        if isinstance(value, (int, float)):
            value = datetime.fromtimestamp(value, UTC)
        if not isinstance(value, datetime) or value.tzinfo is None:
            problem = "expected a datetime with a time zone, or seconds since 1970"
    elif pa.types.is_list(kind):
        if isinstance(value, (str, Mapping)) or not isinstance(value, Iterable):
            problem = "expected a list"
        else:
            value = [_no_nan(item) for item in value]
    allowed = _ALLOWED.get((table, field.name))
    if allowed and not problem and value not in allowed:
        problem = f"allowed: {', '.join(allowed)}{nearest(value, allowed)}"
    if problem:
        raise ResultsError(f"table '{table}', column '{field.name}': got {value!r}; {problem}")
    return value


def _no_nan(value: Any) -> Any:
    """NaN is a missing number; numpy scalars become Python's."""
    if isinstance(value, Mapping):
        return {key: _no_nan(item) for key, item in value.items()}
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
