"""Findings as they could be: two cells, every verdict, an arm that adds, a matched one, a re-tuned one, a factorial.

Written by hand, so that tests of rendering need no records: the verdicts and p-values are given, means and intervals
are those of the losses.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ablations.findings.findings import (
    METRICS,
    PRIMARY,
    ArmRuns,
    CellData,
    Curve,
    Decision,
    Diagnosis,
    Effect,
    Finding,
    Findings,
    Reading,
)
from ablations.judging import signed_ranks, statistics
from ablations.judging.reach import middle_mean
from ablations.judging.verdicts import HELPS, HURTS, NO_EFFECT, ON_THESE_ROWS
from ablations.planning.plan import contrast_name
from ablations.study.reading import create_study
from dynonet.config import Config
from dynonet.forecaster import DYNONET
from lab.arms import Variant, difference

NAN = math.nan
SEEDS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
CHANNELS = ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
ODD = "odd_clip"  # its texts need escaping everywhere
ODD_TEXT = "the clip of <b>50%</b> & more, i.e. $x_1 < 2^3$ | #1 {or} ~so"
STUDY = create_study(
    {
        "name": "example_1",
        "question": "Which parts of <DynoNet> earn their keep & by how many %?",
        "preset": "h96",
        "cells": {"ETTh1": {}, "far": {"data.dataset": "ETTh2", "preset": "h336"}},
        "arms": [
            *("no_film", "no_context", "no_mixer", "no_bilevel", "no_lr_scale", "no_trend", "no_workers"),
            *("published_protocol", "only_film"),
            {
                "name": ODD,
                "claim": "clipping at 1 & not at <2> lowers the test error by some %",
                "removes": ODD_TEXT,
                "overrides": {"signals.grad_clip": 2},
            },
        ],
        "factorial": ["no_film", "no_gate_masks"],
        "matched": {"no_film": {"ETTh1": 9, "far": 9}},
        "retune": {"trials": 8},
        "nuisance": ["training.lr"],
        "fixed": ["data.dataset"],
        "seeds": 16,
    }
)
BASE: Mapping[str, float] = {"ETTh1": 0.3982, "far": 0.4417}
# name -> (verdict, mean effect, its spread over seeds, adjusted p, adjusted p of equivalence)
ANSWERS: dict[str, tuple[str, float, float, float, float]] = {
    "no_film": ("helps", 0.0124, 0.0041, 0.0117, 1.0),
    "no_context": ("hurts", -0.0085, 0.0030, 0.0352, 1.0),
    "no_mixer": ("no practical effect", 0.0003, 0.0008, 1.0, 0.0004),
    "no_bilevel": ("undecided", 0.0021, 0.0062, 0.41, 0.212),
    "no_lr_scale": ("inert", 0.0, 0.0, NAN, NAN),
    "no_trend": ("invalid", 0.0310, 0.0500, 1.0, 1.0),
    "no_workers": ("incomplete", 0.0040, 0.0020, 1.0, 1.0),
    "published_protocol": ("helps", 0.0750, 0.0100, 0.0117, 1.0),
    "only_film": ("helps", 0.0061, 0.0020, 0.0117, 1.0),
    ODD: ("undecided", -0.0011, 0.0051, 1.0, 0.0812),
    "no_film@matched": ("helps", 0.0109, 0.0050, 0.0234, 1.0),
    "no_film@tuned": ("undecided", 0.0030, 0.0048, 0.62, 0.34),
    "no_gate_masks": ("no practical effect", -0.0002, 0.0006, 1.0, 0.0002),
}
CONTRASTS: dict[tuple[str, ...], tuple[str, float, float, float, float]] = {
    ("no_film",): ("helps", 0.0101, 0.0030, 0.0117, 1.0),
    ("no_gate_masks",): ("no practical effect", -0.0001, 0.0004, 1.0, 0.0002),
    ("no_film", "no_gate_masks"): ("hurts", -0.0042, 0.0012, 0.0117, 1.0),
}
INERT = "lr_scale weighs only the workers' loss, so that it stays at its start, 1"


def findings(**changes: Any) -> Findings:
    content: dict[str, Any] = {
        "name": "example_1",
        "study": STUDY,
        "cells": tuple(_cell(cell) for cell in STUDY.cell_names),
        "arms": tuple(_runs(arm, cell) for cell in STUDY.cell_names for arm in _arms()),
        "findings": tuple(finding for cell in STUDY.cell_names for finding in _findings(cell)),
        "family": 28,
        "looks": (9, 16),
        "look": 1,
        "seeds": SEEDS,
        "exploratory": "",
        "notes": ("no_trend diverged twice in cell far: see <failures>", "re-tuned with one search of 8 trials an arm"),
        "device_seconds": 1234.5,
        "ledger": tuple(
            Reading(f"r{cell}{arm}{seed}", arm, cell, seed, "ablation", f"2025-03-0{seed}T10:00:00+00:00", BASE[cell])
            for cell in STUDY.cell_names
            for arm in ("full", "no_film")
            for seed in SEEDS
        ),
        "events": ("2025-03-01 begun with 9 seeds", "2025-03-02 search of no_film@tuned ended"),
        "provenance": {"code": "2e6cd1a", "packages": "torch 2.9, numpy 2.3", "devices": "cpu (AVX-512)"},
    }
    return Findings(**{**content, **changes})


def named(found: Findings, name: str, cell: str = "ETTh1") -> Finding:
    return next(finding for finding in found.findings if (finding.name, finding.cell) == (name, cell))


def _arms() -> list[str]:
    return ["full", "full@tuned", "only_workers", *(name for name in ANSWERS if name != "no_lr_scale")]


def _cell(cell: str) -> CellData:
    config, scale = STUDY.baseline_of(cell), BASE[cell]
    return CellData(
        name=cell,
        dataset=config.data.dataset,
        sha256="f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
        seq_len=config.data.seq_len,
        pred_len=config.data.pred_len,
        protocol=config.training.protocol,
        channels=CHANNELS,
        test_windows=2785,
        settings={key: value for key, value in config.canonical().items() if key != "training.seed"},
        linear={"test_mse": scale - 0.03, "test_mae": scale - 0.01, "val_mse": scale + 0.26, "val_mae": scale + 0.1},
        linear_channels=dict.fromkeys(CHANNELS, scale - 0.03),
        linear_parameters=2304,
    )


def _loss(cell: str) -> np.ndarray:
    return BASE[cell] + 0.0040 * np.sin(2.1 * np.arange(len(SEEDS)))


def _effects_by_seed(name: str, cell: str) -> np.ndarray:
    _, mean, spread, *_ = ANSWERS[name]
    wave = np.cos(1.7 * np.arange(len(SEEDS)) + len(name))
    wave -= wave.mean()
    return (1 if cell == "ETTh1" else 0.8) * (mean + spread * wave / (wave.std(ddof=1) or 1))


def _runs(arm: str, cell: str) -> ArmRuns:
    verdict = ANSWERS.get(arm, ("baseline",))[0]
    sign = -1 if arm == "only_film" else 1
    losses = _loss(cell) + (sign * _effects_by_seed(arm, cell) if arm in ANSWERS else 0)
    statuses = ["complete"] * len(SEEDS)
    if verdict == "invalid":
        statuses[2] = statuses[5] = "diverged"
    if verdict == "incomplete":
        statuses[6] = "missing"
        statuses[8] = "failed"
    whole = [status == "complete" for status in statuses]
    epochs = tuple(range(1, 25))
    fall = [float(losses.mean()) + 0.26 + 0.8 * math.exp(-0.5 * epoch) for epoch in epochs]
    size = 94264 - 1200 * len(arm) if arm != "full" else 94264
    plain = Variant.read(arm)[0]
    return ArmRuns(
        cell=cell,
        arm=arm,
        about="the baseline" if arm == "full" else STUDY.table[plain].removes if plain in STUDY.table else plain,
        seeds=SEEDS,
        runs=tuple(f"r{cell}{arm}{seed}" for seed in SEEDS),
        statuses=tuple(statuses),
        errors={
            metric: tuple(float(loss) + 0.01 * at if ok else NAN for loss, ok in zip(losses, whole, strict=True))
            for at, metric in enumerate(METRICS)
        },
        channels={name: float(losses.mean()) + 0.02 * at for at, name in enumerate(CHANNELS)},
        best_epochs=tuple(14 if ok else None for ok in whole),
        parameters=size,
        effective=size - 2000,
        device_seconds=1234.5,
        validation=Curve(epochs, tuple(fall), (0.01,) * len(epochs)),
        difference={} if plain not in STUDY.table else difference(STUDY.config(cell), STUDY.config(cell, plain)),
        diagnoses=tuple(_diagnoses()) if arm == "full" else (),
    )


def _diagnoses() -> Iterator[Diagnosis]:
    still, mode = {"lr_scale": 9, "grad_clip": 9, "freeze_prob": 4}, {"training.mode": "alternating"}
    for name, curve in _signals().items():
        why = {"lr_scale": f"{INERT}.", "grad_clip": DYNONET.diagnostics["signal.grad_clip"].still(Config.create(mode))}
        yield Diagnosis(name, curve, None, still.get(name, 0), why.get(name, ""))


def _signals() -> dict[str, Curve]:
    epochs = tuple(range(1, 25))
    moving = tuple(0.1 + 0.004 * epoch for epoch in epochs)
    still = {name: Curve(epochs, (1.0,) * 24, (0.0,) * 24) for name in ("lr_scale", "grad_clip")}
    there = {"dropout_rate": moving, "freeze_prob": tuple(0.1 * value for value in moving)}
    return {**still, **{name: Curve(epochs, mean, (0.02,) * 24) for name, mean in there.items()}}


def _findings(cell: str) -> list[Finding]:
    compared = {comparison.name: comparison for comparison in STUDY.comparisons}
    names = [name for name in ANSWERS if Variant.read(name)[0] in compared]
    return [_finding(name, cell, compared) for name in names] + [_contrast(factors, cell) for factors in CONTRASTS]


def _finding(name: str, cell: str, compared: Mapping[str, Any]) -> Finding:
    plain, variant = Variant.read(name)
    comparison = compared[Variant(matched=variant.matched).named(plain)]
    tuned = Variant(tuned=variant.tuned).named("")
    answer = ANSWERS[name]
    runs = {side: _runs(arm + tuned, cell) for side, arm in _sides(comparison).items()}
    common: dict[str, Any] = {
        "name": name,
        "cell": cell,
        "claim": comparison.arm.claim,
        "about": comparison.arm.adds or comparison.arm.removes,
        "without": comparison.without + tuned,
        "with_part": comparison.with_part + tuned,
        "noun": comparison.arm.noun,
        "aside": comparison.arm.aside,
        "variant": variant,
        "plain": plain,
        "against": comparison.arm.against,
        "attributable": comparison.arm.attributable,
        "parameters": (runs["without"].parameters, runs["with"].parameters),
        "effective": (runs["without"].effective, runs["with"].effective),
    }
    if answer[0] == "inert":
        return Finding(**common, inert=INERT)
    effects = _effects_by_seed(name, cell)
    errors = {metric: (runs["without"].errors[metric], runs["with"].errors[metric]) for metric in METRICS[:3]}
    matched = "worker_hidden=9: 93,011 effective parameters against 92,264 (+0.8%)"
    return Finding(
        **common,
        effects={metric: _effect(metric, *pair, answer[3]) for metric, pair in errors.items()},
        decision=_decision(effects, answer, cell),
        windows=(answer[1] - 0.02, answer[1] + 0.02) if cell == "ETTh1" else None,
        both=_both(answer[:2]) if cell == "ETTh1" else None,
        windows_note="" if cell == "ETTh1" else "800 windows hold less than one block of 848",
        mismatch=matched if variant.matched else "",
        validation=_effect("val_mse", *errors["val_mse"], answer[3]),
        diverged=(runs["without"].diverged, runs["with"].diverged),
        failed=(runs["without"].failed, runs["with"].failed),
        flags=("2 of 9 pairs differ in device",) if name == "no_bilevel" else (),
    )


def _both(answer: tuple[str, float]) -> tuple[float, float]:
    """One that carries the verdict."""
    verdict, effect = answer
    half = {"helps": 0.6 * abs(effect), "hurts": 0.6 * abs(effect), "no practical effect": 0.002}.get(verdict, 0.021)
    return effect - half, effect + half


def _sides(comparison: Any) -> dict[str, str]:
    return {"without": comparison.without, "with": comparison.with_part}


def _contrast(factors: tuple[str, ...], cell: str) -> Finding:
    answer = CONTRASTS[factors]
    wave = np.cos(2.3 * np.arange(len(SEEDS)))
    effects = answer[1] + answer[2] * (wave - wave.mean()) / wave.std(ddof=1)
    loss = _loss(cell)
    return Finding(
        name=contrast_name(factors),
        cell=cell,
        claim="",
        about="",
        without="",
        with_part="",
        factors=factors,
        effects={PRIMARY: _effect(PRIMARY, tuple(loss + effects), tuple(loss), answer[3])},
        both=_both(answer[:2]) if cell == "ETTh1" else None,
        decision=_decision(effects, answer, cell),
    )


def _effect(metric: str, without: Sequence[float], with_part: Sequence[float], p: float) -> Effect:
    pairs = {s: (a, b) for s, a, b in zip(SEEDS, without, with_part, strict=True) if not math.isnan(a + b)}
    one, other = np.array([a for a, _ in pairs.values()]), np.array([b for _, b in pairs.values()])
    low, high = (
        [float(bound) for bound in bounds]
        for bounds in (signed_ranks.signed_rank_interval(one - other, 0.05),
                       statistics.bootstrap_t_interval(one - other))
    )  # fmt: skip
    mean, typical = float((one - other).mean()), float(signed_ranks.pseudo_median(one - other))
    return Effect(
        metric=metric,
        n=len(pairs),
        by_seed=dict(zip(pairs, (one - other).tolist(), strict=True)),
        without_mean=float(one.mean()),
        without_deviation=float(one.std(ddof=1)),
        with_mean=float(other.mean()),
        with_deviation=float(other.std(ddof=1)),
        typical=typical,
        interval=(low[0], low[1]),
        mean=mean,
        mean_interval=(high[0], high[1]),
        improvement=float(signed_ranks.probability_of_improvement(one - other)),
        without_middle=float(middle_mean(one)),
        with_middle=float(middle_mean(other)),
        percent=100 * typical / float(other.mean()),
        standardised=float(statistics.hedges_g(one - other)),
        p=p / 28 if metric == PRIMARY else 0.3,
        channels={name: mean * (at - 2) for at, name in enumerate(CHANNELS)} if metric.startswith("test") else {},
    )


def _decision(effects: np.ndarray, answer: tuple[str, float, float, float, float], cell: str) -> Decision:
    low, high = signed_ranks.signed_rank_interval(effects, 0.05 / 12)
    reaches = cell == "ETTh1" or answer[0] not in (HELPS, HURTS, NO_EFFECT)  # elsewhere there are too few windows
    return Decision(
        verdict=answer[0] if reaches else ON_THESE_ROWS,
        over_seeds=answer[0],
        look=1,
        seeds=9,
        p_adjusted=answer[3],
        interval=(float(low), float(high)),
        interval_alpha=0.05 / 12,
        margin=0.01 * BASE[cell],
        equivalence_p=answer[4] / 28,
        equivalence_p_adjusted=answer[4],
    )
