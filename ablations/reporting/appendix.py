"""How a study was done: what arms change, the plan, what failed, what it cost, who read test, where it came from."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ablations.findings.findings import Findings
from ablations.reporting.phrases import held_against, network, place, several_origins
from lab.pages.blocks import Block, Item, Section, Text, items, section, table
from lab.pages.formats import MISSING, counted, duration, setting, whole
from lab.pages.skipped import skipped_section


def record(findings: Findings) -> list[Section | None]:
    return [
        section("What each arm changes", "changes", _changes(findings)),
        section("Plan", "plan", _plan(findings)),
        section("Failures, divergences and flags", "failures", _failures(findings)),
        section("Device time", "time", _time(findings)),
        section("Readings of test", "ledger", _ledger(findings)),
        section("Events", "events", [items(Item(event) for event in findings.events)]),
        skipped_section(findings.skipped),
        section("What happened on the way", "incidents", [items(Item(text) for text in findings.incidents)]),
        section("Provenance", "provenance", [table(("what", "value"), findings.provenance.items(), words=2)]),
    ]


def _changes(findings: Findings) -> Iterator[Block | None]:
    claims = {f.name: (f.about, f.claim) for f in findings.findings if f.about or f.claim}
    yield table(
        ("arm", "without, or added", "claim"), [(name, *texts) for name, texts in claims.items()], "Claims", words=3
    )
    cells: dict[tuple[str, str, str, str], list[str]] = {}
    for runs in findings.arms:
        for key, (full, here) in runs.difference.items():
            if here is None and findings.league is not None:  # another model's
                continue
            cells.setdefault((runs.arm, key, setting(full), setting(here)), []).append(runs.cell)
    several = len(findings.cells) > 1
    yield table(
        ("arm", "setting", "full", "here", *(["cells"] if several else [])),
        [(*change, *([", ".join(where)] if several else [])) for change, where in cells.items()],
        f"Settings that differ from {network(findings)} (full)",
        words=5,
    )


_CORRECTIONS = {"holm": "corrected by Holm", "max_t": "judged jointly (max-t)"}


def _plan(findings: Findings) -> Iterator[Block | None]:
    study = findings.study
    looks = ", ".join(map(str, findings.looks))
    rows: list[tuple[str, str]] = [
        ("seeds", ", ".join(map(str, findings.seeds))),
        ("looks", f"at {looks} seeds, fixed beforehand; {findings.look} taken"),
        (
            "family",
            f"{counted(findings.family, 'comparison')}, {_CORRECTIONS[study.correction]}, alpha shared among looks",
        ),
        ("alpha", f"{study.alpha:g}"),
        ("margin", f"{study.margin_percent:g}% of the mean loss {held_against(findings)}"),
        ("primary metric", study.metric),
        ("descriptive metrics", ", ".join(study.descriptive) or "none"),
    ]
    rows += [(f"{name} settings", ", ".join(patterns) or "none named") for name, patterns in study.groups.items()]
    if study.retune is not None:
        retune = study.retune
        search = f"{counted(retune.trials, 'trial')} of {counted(retune.replicates, 'seed')} an arm"
        if retune.device_seconds is not None:
            search = f"{retune.device_seconds:g} device seconds an arm and cell, at most {search}"
        rows.append(("re-tuning", f"{search}, from seed {study.retune.seed_offset}"))
    yield table(("what", "value"), rows, words=2)
    dated = several_origins(findings)
    yield table(
        ("cell", "data", *(("trained to", "test period") if dated else ()), "S", "H", "protocol", "channels",
         "test windows", "sha256"),
        [
            (
                cell.name,
                cell.dataset,
                *((cell.trains_to or MISSING, cell.test_period or MISSING) if dated else ()),
                str(cell.seq_len),
                str(cell.pred_len),
                cell.protocol or "-",
                whole(len(cell.channels)),
                whole(cell.test_windows),
                cell.sha256,
            )
            for cell in findings.cells
        ],
        "Cells",
        words=9 if dated else 7,
    )  # fmt: skip
    for cell in findings.cells:
        yield table(
            ("setting", "value"),
            [(key, setting(value)) for key, value in sorted(cell.settings.items())],
            f"Settings of full: {place(findings, cell.name)}",
            words=2,
        )


def _failures(findings: Findings) -> Iterator[Block | None]:
    rows = []
    for runs in findings.arms:
        for seed, run, status in zip(runs.seeds, runs.runs, runs.statuses, strict=True):
            if status != "complete":
                rows.append((runs.arm, runs.cell, str(seed), status, run))
    yield table(("arm", "cell", "seed", "status", "run"), rows, words=5)
    if not rows:
        yield Text("Every run is complete; none failed or diverged.")
    yield items(Item(flag, f"{f.name}, {f.cell}") for f in findings.findings for flag in f.flags)


def _time(findings: Findings) -> Iterator[Block | None]:
    if findings.device_seconds:
        yield Text(
            f"{duration(findings.device_seconds)} of device time in all; by arm it stands with the errors above."
        )


def _ledger(findings: Findings) -> Iterator[Block | None]:
    if not findings.ledger:
        return
    read = Counter(reading.run for reading in findings.ledger)
    often = sum(number > 1 for number in read.values())
    again = f"{counted(often, 'run')} more than once" if often else "none more than once"
    yield Text(f"Test was read {counted(len(findings.ledger), 'time')}, of {counted(len(read), 'run')}; {again}.")
    yield items(Item(text) for text in findings.data_ledger)
    groups: dict[tuple[str, str], list[Any]] = {}
    for reading in findings.ledger:
        groups.setdefault((reading.purpose, reading.cell), []).append(reading)
    yield table(
        ("purpose", "cell", "first", "last", "readings", "runs"),
        [
            (
                *group,
                min(r.time for r in readings),
                max(r.time for r in readings),
                whole(len(readings)),
                whole(len({r.run for r in readings})),
            )
            for group, readings in groups.items()
        ],
        words=4,
    )
