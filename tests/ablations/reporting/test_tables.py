"""Rows, CSV and LaTeX: what is there is exact, what is missing is empty, and what needs escaping is escaped."""

import csv
import io
import math
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest

from ablations.findings.findings import METRICS, PRIMARY, Findings
from ablations.reporting.console import verdict_lines
from ablations.reporting.tables import LINEAR, arm_rows, effect_rows, effects_csv, effects_tex, tex
from lab.pages.formats import decimal
from tests.ablations import example


@pytest.fixture(scope="module")
def found() -> Findings:
    return example.findings()


def test_a_row_per_finding_and_metric(found: Findings) -> None:
    rows = effect_rows(found)
    assert len(rows) == sum(len(finding.effects) or 1 for finding in found.findings)
    assert sum(row["primary"] for row in rows) == len(found.findings)
    assert {row["metric"] for row in rows if not row["primary"]} == {"test_mae", "val_mse"}
    assert all(not row["verdict"] and math.isnan(row["p_adjusted"]) for row in rows if not row["primary"])


def test_what_is_inert_has_one_row_without_numbers(found: Findings) -> None:
    (row,) = [row for row in effect_rows(found) if (row["finding"], row["cell"]) == ("no_lr_scale", "far")]
    assert (row["verdict"], row["n"], row["reason"]) == ("inert", None, example.INERT)
    assert all(math.isnan(row[name]) for name in ("effect", "interval_low", "p", "p_adjusted", "window_high"))


def test_sides_keep_their_places(found: Findings) -> None:
    row = next(row for row in effect_rows(found) if row["finding"] == "no_film" and row["kind"] == "removes")
    finding, runs = example.named(found, "no_film"), found.runs_of("no_film", "ETTh1")
    assert (row["parameters_without"], row["parameters_with"]) == (runs.parameters, 94264)
    assert (row["window_low"], row["window_high"]) == finding.windows
    assert row["mean"] == pytest.approx(row["without_mean"] - row["with_mean"])
    assert (row["verdict"], row["over_seeds"], row["says"]) == ("helps", "helps", "FiLM helps")
    adding = next(row for row in effect_rows(found) if row["finding"] == "only_film")
    assert (adding["kind"], adding["without"], adding["with_part"]) == ("adds", "only_workers", "only_film")


def test_csv_holds_every_number_exactly(found: Findings) -> None:
    rows, text = effect_rows(found), effects_csv(found)
    read = list(csv.DictReader(io.StringIO(text)))
    assert len(read) == len(rows) and set(read[0]) == set(rows[0])
    for line, row in zip(read, rows, strict=True):
        for name, value in row.items():
            if value is None or (isinstance(value, float) and math.isnan(value)):
                assert line[name] == "", name
            elif isinstance(value, float):
                assert float(line[name]) == value, name
            else:
                assert line[name] == (str(value).lower() if isinstance(value, bool) else str(value)), name
    assert "nan" not in text and "np.float64" not in text


def test_csv_of_numpy_numbers(found: Findings) -> None:
    finding = example.named(found, "no_film")
    effect = replace(finding.effects[PRIMARY], typical=np.float64(0.1), p=np.float64("nan"))
    text = effects_csv(replace(found, findings=(replace(finding, effects={PRIMARY: effect}),)))
    (line,) = csv.DictReader(io.StringIO(text))
    assert (line["effect"], line["p"]) == ("0.1", "")


def test_arms_with_the_linear_baseline_as_a_row_of_its_own(found: Findings) -> None:
    rows = [row for row in arm_rows(found) if row["cell"] == "ETTh1"]
    assert rows[0]["arm"] == "full" and rows[-1]["arm"] == LINEAR
    assert rows[-1][PRIMARY] == found.cells[0].linear[PRIMARY] and math.isnan(rows[-1][f"{PRIMARY}_deviation"])
    runs = found.runs_of("no_trend", "ETTh1")
    row = next(row for row in rows if row["arm"] == "no_trend")
    whole = [loss for loss in runs.errors[PRIMARY] if not math.isnan(loss)]
    assert (row["n"], row["diverged"], len(whole)) == (7, 2, 7)
    assert row[PRIMARY] == statistics.fmean(whole) and row[f"{PRIMARY}_deviation"] == statistics.stdev(whole)


def test_an_arm_without_a_complete_run(found: Findings) -> None:
    runs = replace(found.runs_of("full", "ETTh1"), errors=dict.fromkeys(METRICS, (math.nan,) * 9))
    row = arm_rows(replace(found, arms=(runs,)))[0]
    assert math.isnan(row[PRIMARY]) and math.isnan(row[f"{PRIMARY}_deviation"])


def test_latex_specials() -> None:
    assert tex(r"a_b & 50% #1 {x} $y$ \z") == r"a\_b \& 50\% \#1 \{x\} \$y\$ \textbackslash{}z"
    assert tex("~^<>|") == r"\textasciitilde{}\textasciicircum{}$<$$>$\textbar{}"
    assert tex("−0.5 ± 0.1 – ∞ ×") == r"$-$0.5 $\pm$ 0.1 -- $\infty$ $\times$"


def test_the_latex_table_is_whole(found: Findings) -> None:
    text = effects_tex(replace(found, exploratory="50% of seeds_x & more were added"))
    lines = text.splitlines()
    assert lines[0] == r"\begin{table}[t]" and lines[-1] == r"\end{table}"
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert text.count(r"\midrule") == text.count(r"\multicolumn{5}{l}") == len(found.cells)
    rows = [line for line in lines if line.endswith(r"\\") and "multicolumn" not in line]
    assert all(len(re.findall(r"(?<!\\)&", row)) == 4 for row in rows)
    assert sum("linear baseline" in row for row in rows) == 2
    bare = re.sub(r"\\[a-z]+(\[[a-z]\])?(\{[a-z:-]*\d*\})?", "", text)  # without commands
    assert not re.search(r"(?<!\\)[_#%]|nan|[^\x00-\x7f]", bare)
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert r"50\% of seeds\_x \& more were added." in text


def test_the_latex_table_says_what_was_found(found: Findings) -> None:
    row = next(line for line in effects_tex(found).splitlines() if line.startswith(r"no\_film &"))
    assert row == r"no\_film & 0.4106 $\pm$ 0.0061 & +0.0125 [0.0089 to 0.0163] & 0.0117 & FiLM helps \\"
    assert r"no\_film (main effect) &  & +0.0100 [0.0072 to 0.0128] & 0.0117 & FiLM helps \\" in effects_tex(found)
    assert r"no\_lr\_scale &  &  &  & inert \\" in effects_tex(found)
    linear = found.cells[0].linear
    bar = f"linear baseline & {decimal(linear[PRIMARY])} &  &  & validation MSE {decimal(linear['val_mse'])} "
    assert bar in effects_tex(found)
    row = next(line for line in verdict_lines(found) if line.startswith("linear baseline"))
    assert decimal(linear[PRIMARY]) in row and row.endswith(f"2,304  validation MSE {decimal(linear['val_mse'])}")
    row = next(line for line in verdict_lines(found) if line.startswith("full "))
    assert row.endswith(f"validation MSE {decimal(found.runs_of('full', 'ETTh1').mean('val_mse'))}")
    assert "9 seeds" in effects_tex(found) and "28 comparisons (Holm) and over 2 looks" in effects_tex(found)
