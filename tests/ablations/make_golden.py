"""Makes tests/golden/study anew: a study on record, and the report that it gives. Look at the difference before you
commit it: `PYTHONPATH=. python tests/ablations/make_golden.py`."""

import shutil
from pathlib import Path

import numpy as np

from ablations.findings.collect import findings_of
from ablations.report import render
from lab.store import schema
from lab.store.tables import Results
from tests.ablations.recorded import BEGUN, add_runs, begin, small_study

GOLDEN = Path(__file__).parents[1] / "golden" / "study"
KEPT = ("effects.csv", "report.md")


def main() -> None:
    shutil.rmtree(GOLDEN, ignore_errors=True)
    results = Results(GOLDEN / "store")
    schema.utc_now = lambda: BEGUN  # type: ignore[assignment]
    study = small_study(
        arms=["no_film", "no_mixer", "no_trend", "no_revin", "no_lr_scale"], factorial=["no_film", "no_gate_masks"],
        seeds=9,
    )  # fmt: skip
    record = begin(results, study, {("no_lr_scale", "main"): "lr_scale gets no gradient in mode alternating"})
    noise = np.random.default_rng(7).normal(0, 0.004, (7, 9)).round(6)
    full = 0.4 + noise[0]
    lost = [*(full[:8] + 0.03 + noise[3, :8]).tolist(), "diverged"]
    errors = {
        "full": full.tolist(), "no_film": (full + 0.01 + noise[1] / 4).tolist(),
        "no_mixer": (full + noise[2] / 50).tolist(), "no_trend": lost, "no_revin": (full + noise[4]).tolist(),
        "no_gate_masks": (full - 0.006 + noise[5] / 4).tolist(),
        "no_film+no_gate_masks": (full + 0.02 + noise[6] / 4).tolist(),
    }  # fmt: skip
    add_runs(results, record, {"main": errors})
    record.add_judgement(results, 9)
    results.compact()
    shutil.rmtree(GOLDEN / "store" / "test_windows")  # a file a run; tests of `collect` have them
    files = render(findings_of(results, "mine"))
    for name in KEPT:
        (GOLDEN / name).write_text(files[name])


if __name__ == "__main__":
    main()
