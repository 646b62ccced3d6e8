"""Findings of a pooled study as they could be: four series, eleven origins, every verdict of a pooled row.

Written by hand, so that tests of rendering need no records: verdicts and p-values are given; effects, intervals and
chances are those of the losses.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ablations.findings.findings import (
    METRICS,
    PRIMARY,
    ArmRuns,
    CellData,
    Curve,
    Decision,
    Finding,
    Findings,
    PooledFinding,
)
from ablations.judging.pooling import CellEffect, Pooled, pool
from ablations.judging.statistics import Array
from ablations.judging.verdicts import AT_THESE_ORIGINS, HELPS, HURTS, NO_EFFECT, ON_THESE_SERIES
from ablations.study.reading import create_study
from lab.arms import FULL
from lab.references.standing import Added, BarErrors, Standing
from tests.ablations.example import SEEDS, _effect

NAN = math.nan
INERT = "lr_scale weighs only the workers' loss, so that it stays at its start, 1"
ALL_ROWS = "mode joint trains on all rows already"
# Series -> rows where training ends, their dates, the error of `full` there.
SERIES: Mapping[str, tuple[tuple[int, ...], tuple[str, ...], float]] = {
    "ETTh1": ((2880, 5760, 8640), ("2016-10-28 23:00", "2017-02-25 23:00", "2017-06-25 23:00"), 0.3701),
    "ETTh2": ((2880, 5760, 8640), ("2016-10-28 23:00", "2017-02-25 23:00", "2017-06-25 23:00"), 0.2857),
    "exchange_rate": ((2277, 3794, 5311), ("1996-03-27", "2000-05-22", "2004-07-17"), 0.0822),
    "national_illness": ((482, 676), ("2011-03-29", "2014-12-16"), 2.2952),
}
STUDY = create_study(
    {
        "name": "series_1",
        "question": "Which parts of the network earn their keep on other series and other rows?",
        "preset": "h96",
        "cells": {"ETTh1": {}, "ETTh2": {"data.dataset": "ETTh2"}},
        "arms": [
            *("no_revin", "no_decomposition", "no_mixer", "no_film", "no_context", "no_bilevel", "no_lr_scale"),
            *("no_workers", "no_trend", "only_film"),
        ],
        "factorial": ["no_film", "no_gate_masks"],
        "fixed": ["data.dataset"],
        "seeds": 9,
    }
)
# Arm -> (verdict over seeds, verdict, effects in percent by series, drift from origin to origin, adjusted p, likewise
# of equivalence)
ANSWERS: Mapping[str, tuple[str, str, tuple[float, float, float, float], float, float, float]] = {
    "no_revin": ("helps", "helps", (4.6, 4.9, 5.3, 5.1), 0.6, 0.0117, 1.0),
    "no_decomposition": ("helps", ON_THESE_SERIES, (-1.4, 3.4, 2.2, 17.3), 1.5, 0.0117, 1.0),
    "no_mixer": ("hurts", "hurts", (-2.2, -1.9, -3.1, -2.6), 0.3, 0.0195, 1.0),
    "no_film": ("no practical effect", "no practical effect", (0.1, -0.2, 0.1, 0.2), 0.05, 1.0, 0.0039),
    "no_context": ("no practical effect", ON_THESE_SERIES, (0.6, -1.1, 0.4, 1.3), 0.2, 0.41, 0.0117),
    "no_bilevel": ("undecided", "undecided", (0.9, -2.8, 1.4, 2.6), 0.9, 0.41, 0.32),
    "no_lr_scale": ("inert", "inert", (NAN,) * 4, 0.0, NAN, NAN),
    "no_workers": ("incomplete", "incomplete", (1.0, 1.0, 1.0, 1.0), 0.1, 1.0, 1.0),
    "no_trend": ("helps", ON_THESE_SERIES, (6.0, 8.0, 3.0, 4.0), 0.5, 0.0117, 1.0),
    "only_film": ("helps", "helps", (1.6, 1.7, 1.5, 1.6), 0.2, 0.0117, 1.0),
    "no_film+no_gate_masks": ("hurts", "hurts", (-1.1, -1.0, -1.2, -1.15), 0.1, 0.0273, 1.0),
}
DIVERGED = ("no_trend", "ETTh2-back1", 3)  # arm, cell, place of the seed
LEFT_OUT = {"no_bilevel": "national_illness"}  # arm -> series on which it is inert


def findings(**changes: Any) -> Findings:
    ones = tuple(_finding(name, cell) for cell in cells() for name in ANSWERS)
    content: dict[str, Any] = {
        "name": "series_1", "study": STUDY, "cells": cells(), "findings": ones, "family": 10,
        "arms": tuple(_runs(name, cell) for cell in cells() for name in (FULL, *ANSWERS) if name != "no_lr_scale"),
        "looks": (9,), "look": 1, "seeds": SEEDS, "exploratory": "",
        "notes": ("1 run diverged; each counts as the worst outcome of its pair",), "device_seconds": 12345.0,
        "ledger": (), "events": ("2025-03-01 begun with 9 seeds",), "provenance": {"code": "2e6cd1a"},
        "pooled": tuple(_pooled_row(name, ones) for name in ANSWERS),
    }  # fmt: skip
    return Findings(**{**content, **changes})


def row(found: Findings, name: str) -> PooledFinding:
    return next(each for each in found.pooled if each.name == name)


def of_one_series(found: Findings, series: str = "ETTh1") -> Findings:
    """The same study over the origins of one series alone."""
    kept = tuple(cell for cell in found.cells if cell.series == series)
    names = [cell.name for cell in kept]
    ones = tuple(one for one in found.findings if one.cell in names)
    rows = []
    for name in ANSWERS:
        made = _pooled_row(name, ones)
        if made.decision and made.verdict in (HELPS, HURTS, NO_EFFECT, ON_THESE_SERIES):
            made = replace(made, decision=replace(made.decision, verdict=AT_THESE_ORIGINS))
        rows.append(replace(made, reach_p=NAN, reach_equivalence_p=NAN))
    arms = tuple(runs for runs in found.arms if runs.cell in names)
    return replace(found, cells=kept, findings=ones, arms=arms, pooled=tuple(rows))


def cells() -> tuple[CellData, ...]:
    return tuple(cell for series in SERIES for cell in _cells(series))


def _cells(series: str) -> Iterator[CellData]:
    rows, dates, scale = SERIES[series]
    for place, (origin, date) in enumerate(zip(rows, dates, strict=True)):
        back, level = len(rows) - 1 - place, scale * (1 + 0.05 * place)
        bars = [
            BarErrors(name, dict(zip(("val_mse", "val_mae", "test_mse", "test_mae"), errors, strict=True)), size, ())
            for name, size, errors in (
                ("last_value", 0, (1.9 * level, 1.1 * level, 2.1 * level, 1.2 * level)),
                ("folded", 56, (1.1 * level, 0.9 * level, 0.99 * level, 0.9 * level)),
                ("smoothed", 2304, (1.05 * level, 0.9 * level, 1.02 * level, 0.9 * level)),
            )
        ]
        illness = series == "national_illness"
        over = Added(-0.02 * level, 9, None, (-0.05 * level, 0.01 * level))
        yield CellData(
            name=series + (f"-back{back}" if back else ""), dataset=series, sha256="f18de3ad", protocol="clean",
            seq_len=36 if illness else 336, pred_len=24 if illness else 96,
            channels=("HUFL", "HULL", "OT"), test_windows=170 if illness else 2785,
            settings={"data.pred_len": 24 if illness else 96, "data.origins_back": back, "training.lr": 0.001},
            linear={metric: level * (1.03 + 0.01 * at) for at, metric in enumerate(METRICS)},
            linear_channels={}, linear_parameters=2304,
            standing=Standing(tuple(bars), None, bars[2], None, over),
            series=series, place=series, origin=origin, back=back, trains_to=date,
            test_period=f"{date[:4]}-11-01 to {date[:4]}-12-31",
        )  # fmt: skip


def _level(cell: CellData) -> float:
    return cell.linear[PRIMARY] / 1.03


def _full(cell: CellData) -> Array:
    return _level(cell) * (1 + 0.004 * np.sin(2.1 * np.arange(len(SEEDS)) + cell.origin))


def _percents(name: str, cell: CellData) -> Array:
    """Effects of an arm in a cell by seed, of `full`'s mean."""
    _, _, by_series, drift, *_ = ANSWERS[name]
    mean = by_series[list(SERIES).index(cell.series)] + drift * math.cos(1.9 * cell.origin)
    wave = np.cos(1.7 * np.arange(len(SEEDS)) + len(name) + 3.1 * cell.origin)
    return np.asarray(mean + 0.35 * (wave - wave.mean()) / wave.std(ddof=1))


def _inert(name: str, series: str) -> str:
    return INERT if name == "no_lr_scale" else ALL_ROWS if LEFT_OUT.get(name) == series else ""


def _sides(name: str, cell: CellData) -> tuple[Array, Array]:
    full = _full(cell)
    effects = _percents(name, cell) / 100 * full.mean()
    without, with_part = (full, full - effects) if name == "only_film" else (full + effects, full)
    if DIVERGED[:2] == (name, cell.name):
        without = np.where(np.arange(len(SEEDS)) == DIVERGED[2], NAN, without)
    return without, with_part


def _runs(arm: str, cell: CellData) -> ArmRuns:
    losses = _full(cell)
    if arm != FULL and not _inert(arm, cell.series):
        losses = _sides(arm, cell)[arm == "only_film"]
    statuses = ["diverged" if math.isnan(loss) else "complete" for loss in losses]
    if ANSWERS.get(arm, ("",))[0] == "incomplete" and cell.name == "ETTh1":
        statuses[8] = "missing"
    whole = [status == "complete" for status in statuses]
    epochs = tuple(range(1, 13))
    return ArmRuns(
        cell=cell.name, arm=arm, about=arm, seeds=SEEDS, runs=tuple(f"r{cell.name}{arm}{seed}" for seed in SEEDS),
        statuses=tuple(statuses),
        errors={
            metric: tuple(float(loss) * (1 + 0.1 * at) if ok else NAN for loss, ok in zip(losses, whole, strict=True))
            for at, metric in enumerate(METRICS)
        },
        channels=dict.fromkeys(cell.channels, float(np.nanmean(losses))),
        best_epochs=tuple(4 if ok else None for ok in whole), parameters=90000 - 100 * len(arm),
        effective=89000 - 100 * len(arm), device_seconds=120.0,
        validation=Curve(epochs, tuple(float(np.nanmean(losses)) * (1 + 1 / e) for e in epochs), (0.01,) * 12),
        difference={} if arm == FULL else {f"model.{arm}": (True, False)},
    )  # fmt: skip


def _finding(name: str, cell: CellData) -> Finding:
    factors = tuple(name.split("+")) if "+" in name else ()
    compared = {comparison.name: comparison for comparison in STUDY.comparisons}
    common: dict[str, Any] = {"name": name, "cell": cell.name, "claim": "", "about": "", "without": "", "with_part": ""}
    if factors:
        common |= {"name": " x ".join(factors), "factors": factors}
    else:
        arm = compared[name].arm
        common |= {
            "claim": arm.claim, "about": arm.adds or arm.removes, "noun": arm.noun, "aside": arm.aside, "plain": name,
            "against": arm.against, "without": compared[name].without, "with_part": compared[name].with_part,
            "parameters": (88000, 90000), "effective": (87000, 89000), "attributable": arm.attributable,
        }  # fmt: skip
    if inert := _inert(name, cell.series):
        return Finding(**common, inert=inert, descriptive=True)
    without, with_part = _sides(name, cell)
    if ANSWERS[name][0] == "incomplete" and cell.name == "ETTh1":
        without = np.where(np.arange(len(SEEDS)) == 8, NAN, without)
    effects = {
        metric: _effect(metric, [*(without * (1 + 0.1 * at))], [*(with_part * (1 + 0.1 * at))], 0.5)
        for at, metric in enumerate(METRICS[:3])
    }
    low, high = effects[PRIMARY].interval
    wide = 0.02 * _level(cell)
    return Finding(
        **common, effects=effects, descriptive=True, windows=(low - wide, high + wide),
        both=(low - 1.1 * wide, high + 1.1 * wide), validation=effects["val_mse"],
        diverged=(int(DIVERGED[:2] == (name, cell.name)), 0),
        failed=(int(ANSWERS[name][0] == "incomplete" and cell.name == "ETTh1"), 0),
        flags=("2 of 9 pairs differ in device",) if name == "no_mixer" and cell.series == "ETTh2" else (),
    )  # fmt: skip


def pooled_over(name: str, cells: list[CellData], sign: int = 1) -> Pooled:
    def effects(cell: CellData) -> Array:
        without, with_part = _sides(name, cell)
        return 100 * sign * (without - with_part) / with_part.mean()

    return pool([CellEffect(cell.name, cell.series, cell.origin, effects(cell)) for cell in cells])


def _pooled_row(name: str, ones: tuple[Finding, ...]) -> PooledFinding:
    over_seeds, verdict, _, _, p, equivalence = ANSWERS[name]
    mine = [one for one in ones if one.name == name.replace("+", " x ")]
    known = {cell.name: cell for cell in cells()}
    left = {one.cell: f"inert: {one.inert}" for one in mine if one.inert}
    inside = [known[one.cell] for one in mine if not one.inert]
    if over_seeds == "incomplete":
        left |= {"ETTh1": "incomplete: runs are missing"} if "ETTh1" in known else {}
        inside = [cell for cell in inside if cell.name != "ETTh1"]
    first = next((one for one in mine if not one.inert), mine[0])
    if not inside:
        return PooledFinding(first, (), left, None, None)
    pooled = pooled_over(name, inside)
    decision = Decision(
        verdict=verdict, look=1, seeds=9, p_adjusted=p, interval=pooled.seeds, interval_alpha=0.005, margin=1.0,
        equivalence_p=equivalence / 10, equivalence_p_adjusted=equivalence, over_seeds=over_seeds,
    )  # fmt: skip
    sign = -1 if name == "no_mixer" else 1  # its validation says the opposite
    apart, same = (min(1.0, 10 * one) for one in (pooled.p, pooled.equivalence_p(1.0)))
    cells_in = tuple(cell.name for cell in inside)
    return PooledFinding(first, cells_in, left, pooled, decision, pooled_over(name, inside, sign), apart, same)
