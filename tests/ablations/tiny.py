"""A study that trains in seconds, and what must be on record of one that was trained."""

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from ablations.findings.collect import findings_of
from ablations.findings.record import StudyRecord
from lab.store.tables import Results

TINY: dict[str, Any] = {
    "name": "tiny",
    "question": "Does the command run from the beginning to its end?",
    "baseline": {
        "data.seq_len": 24, "data.pred_len": 6, "data.synthetic.rows": 600, "model.control_hidden": 5,
        "model.worker_hidden": 3, "model.worker_seq_len": 12, "model.moving_average": 5, "training.batch_size": 64,
        "training.max_epochs": 3, "training.lr": 0.01,
    },
    "arms": ["no_film", "no_trend", "no_lr_scale"],
    "seeds": 7,
}  # fmt: skip


def write(folder: Path, **fields: Any) -> str:
    content = {**TINY, **fields}
    path = folder / f"{content['name']}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path.name


def checkpoints(results: Results) -> list[str]:
    """Of stacks that are training."""
    return [p for p in results.storage.list("checkpoints") if p.endswith(".pt") and "/runs/" not in p]


def check_complete(results: Results, name: str, runs: int) -> None:
    """Every run of the study is done once, from its first attempt, and its test was read once."""
    record = StudyRecord.load(results, name)
    members = [row for row in results.table("members", name).to_pylist() if row["role"] == "arm"]
    rows = results.table("runs", name).to_pylist()
    trained = [row for row in rows if row["model"] == "dynonet"]
    assert len(trained) == runs == len({row["run"] for row in members})
    assert {(row["status"], row["attempt"]) for row in trained} == {("complete", 1)}
    history = results.table("history", name).to_pylist()
    for row in trained:
        steps = [h["step"] for h in history if h["run"] == row["run"] and h["metric"] == "val_mse"]
        assert steps == list(range(1, row["epochs"] + 1)), "every epoch is on record once"
    readings = results.table("evaluations", name).to_pylist()
    read = Counter((row["run"], row["metric"], row["channel"]) for row in readings)
    assert set(read.values()) == {1} and {row["run"] for row in readings} >= {row["run"] for row in trained}
    assert not results.storage.list("checkpoints")
    findings = findings_of(results, name)
    known = {"helps", "hurts", "no practical effect", "undecided", "inert"}
    assert {f.shown for f in findings.pooled or findings.findings} <= known
    assert record.judged
