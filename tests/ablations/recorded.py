"""Studies put on record by hand: runs with the errors that a test wants, and nothing trained."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from ablations.findings.record import StudyRecord
from ablations.planning.plan import Hypothesis, Work
from ablations.study.reading import create_study
from ablations.study.study import Study
from lab.settings.data import DataConfig
from lab.store.tables import Results, run_params
from lab.training.window_errors import keep_window_errors

SHA = "0" * 64
CHANNELS = ("A", "B")
WINDOWS = 150
BEGUN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Errors = Mapping[str, Sequence[float | str]]  # arm -> test MSE by seed, or a status other than complete


def small_study(**fields: Any) -> Study:
    baseline = {
        "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
        "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5, "training.batch_size": 64,
        "training.max_epochs": 3,
    }  # fmt: skip
    content = {"name": "mine", "question": "What are these parts for?", "arms": ["no_film", "no_mixer"], "seeds": 8}
    return create_study({"baseline": baseline, **content, **fields})


def sha_of(data: DataConfig) -> str:
    """An identity a synthetic seed and place of the splits; that of the first seed and its own splits is SHA."""
    moved = data.origin or data.origins_back
    return f"{1000 * data.synthetic.seed}{moved}".rjust(64, "0")


def begin(results: Results, study: Study, inert: Mapping[Hypothesis, str] | None = None) -> StudyRecord:
    data = {cell: sha_of(study.baseline_of(cell).data) for cell in study.cell_names}
    return StudyRecord.begin(results, study.name, study, data, inert or {})


def add_runs(
    results: Results,
    record: StudyRecord,
    errors: Mapping[str, Errors],
    seeds: Sequence[int] | None = None,
    windows: Mapping[str, int] | None = None,
    order: int = 1,
    **columns: Any,
) -> None:
    """Puts the runs of some arms on record.

    Args:
        errors: by cell. "missing" leaves a run out.
        seeds: of the errors; the first ones by default.
        windows: of test, by arm, where it is not WINDOWS.
        order: -1 writes them backwards.
        columns: of table `runs`, for all of them.
    """
    study = record.study
    count = len(study.seed_list(record.seeds))
    plan = Work.of(study, sha_of, inert=record.inert, train_inert=True, seeds=count)
    rows, histories, readings = [], [], []
    count = 0
    for cell, by_arm in errors.items():
        for arm, values in by_arm.items():
            for seed, value in zip(seeds or study.seed_list(), values, strict=False):
                planned = next(r for r in plan.runs if (r.arm, r.cell, r.seed) == (arm, cell, seed))
                record.add_members(results, [planned])
                if value == "missing":
                    continue
                count += 1
                at = BEGUN + timedelta(minutes=count)
                good = not isinstance(value, str)
                key = {"run": planned.run, "attempt": 1}
                rows.append({
                    **run_params(planned.config), **key, "status": "complete" if good else value, "model": "dynonet",
                    "val_mse": 2 * value if good else None, "val_mae": 3 * value if good else None,
                    "channels": CHANNELS, "best_epoch": 2, "epochs": 3, "parameters": 1000, "cpu_seconds": 1.5,
                    "device": "cpu", "kernel": "numba", "git_commit": "abc", "git_dirty": False, "versions": "{}",
                    "host": "here", "started": at, "ended": at, **columns,
                    **{f"signal_range.{name}": 0.0 for name in ("lr_scale", "grad_clip")},
                })  # fmt: skip
                for step in (1, 2, 3):
                    for metric, number in (("val_mse", 3.0 / step), ("signal.lr_scale", 1.0)):
                        histories.append({**key, "step": step, "metric": metric, "value": number})
                if good:
                    kept = (windows or {}).get(arm, WINDOWS)
                    reading = {**key, "split": "test", "purpose": "ablation mine", "windows": kept, "time": at}
                    for metric, number in (("mse", value), ("mae", value + 1)):
                        readings.append({**reading, "metric": metric, "value": number})
                        for shift, channel in ((-0.1, "A"), (0.1, "B")):
                            readings.append({**reading, "metric": metric, "channel": channel, "value": number + shift})
                    noise = np.random.default_rng([seed, len(arm)]).normal(0, 0.1, kept)
                    keep_window_errors(results, planned.run, value + noise - noise.mean())
    for table, content in (("history", histories), ("evaluations", readings), ("runs", rows)):
        results.add(table, content[::order])
