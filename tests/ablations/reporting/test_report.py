"""The report: one set of numbers in every file, whole HTML without addresses, the same bytes twice, safe writing."""

import csv
import io
import math
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ablations import report
from ablations.findings.findings import PRIMARY, Findings
from ablations.report import page_of, render
from ablations.reporting import curves, figures
from ablations.reporting.console import verdict_lines
from ablations.reporting.curves import OWN_SCALE as OWN
from ablations.reporting.wording import sentence
from lab.errors import ConfigError
from lab.pages.blocks import Strips
from lab.pages.formats import interval, mean_deviation, p_value, percent, signed
from lab.pages.outliers import outlying
from tests.ablations import example
from tests.html_page import Page, without_script

NAN = math.nan


def markdown_tables(text: str) -> list[list[list[str]]]:
    tables: list[list[list[str]]] = [[]]
    for line in text.splitlines():
        if line.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if not all(re.fullmatch(r"-+:?", cell) for cell in cells):
                tables[-1].append(cells)
        elif tables[-1]:
            tables.append([])
    return [table for table in tables if table]


@pytest.fixture(scope="module")
def found() -> Findings:
    return example.findings()


@pytest.fixture(scope="module")
def files(found: Findings) -> dict[str, str]:
    return render(found)


@pytest.fixture(scope="module")
def page(files: dict[str, str]) -> Page:
    return Page(files["report.html"])


def test_the_same_bytes_twice(found: Findings, files: dict[str, str]) -> None:
    assert list(files) == ["report.html", "report.md", "effects.csv", "effects.tex"]
    assert render(example.findings()) == files


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_numbers_are_those_of_the_csv(files: dict[str, str], name: str) -> None:
    tables = Page(files[name]).tables if name.endswith("html") else markdown_tables(files[name])
    shown = {
        (cell, row[0]): row
        for cell, table in zip(
            ("ETTh1", "far"), [t for t in tables if t[0][:3] == ["arm", "verdict", "without"]], strict=True
        )
        for row in table[1:]
    }
    checked = 0
    for line in csv.DictReader(io.StringIO(files["effects.csv"])):
        if line["primary"] != "true" or line["kind"] not in ("removes", "adds"):
            continue
        number = {
            key: float(value or "nan")
            for key, value in line.items()
            if key.startswith(
                ("effect", "interval", "window", "both", "p_", "equivalence", "percent", "without_", "with_m", "with_d")
            )
            and key not in ("effective_without", "effective_with", "without_middle", "with_middle")
        }
        assert shown[line["cell"], line["finding"]] == [
            line["finding"],
            line["says"],
            mean_deviation(number["without_mean"], number["without_deviation"]),
            mean_deviation(number["with_mean"], number["with_deviation"]),
            signed(number["effect"]),
            percent(number["percent"]),
            interval((number["interval_low"], number["interval_high"])),
            interval((number["window_low"], number["window_high"])),
            interval((number["both_low"], number["both_high"])),
            p_value(number["p_adjusted"]).replace("<", "&lt;" if name.endswith("md") else "<"),
            p_value(number["equivalence_p_adjusted"]).replace("<", "&lt;" if name.endswith("md") else "<"),
        ]
        checked += 1
    assert checked == len(shown) == 2 * 12


def test_the_page_stands_alone(files: dict[str, str], page: Page) -> None:
    text = without_script(files["report.html"]).replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", text)
    assert all(link.startswith("#") for link in page.addresses)
    assert page.tags["script"] == 1 and not page.tags["img"] and not page.tags["link"]


def test_ids_are_unique_and_references_lead_somewhere(files: dict[str, str], page: Page) -> None:
    assert [name for name, number in Counter(page.ids).items() if number > 1] == []
    used = {link[1:] for link in page.addresses} | set(re.findall(r"url\(#([^)]*)\)", files["report.html"]))
    assert used and used <= set(page.ids)


def test_texts_are_escaped(files: dict[str, str], page: Page) -> None:
    assert example.ODD_TEXT in page.text
    assert "<b>" not in files["report.html"]
    assert r"the clip of &lt;b>50%&lt;/b> &amp; more, i.e. \$x_1 &lt; 2^3\$ \| #1 {or} \~so" in files["report.md"]
    assert {len({len(row) for row in table}) for table in markdown_tables(files["report.md"])} == {1}


def test_names_of_columns_are_text(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("spend_$_per_$", "a_b^c", "100%", "x|y", "<b>", "\x1b[31mred", "_$\\frac$")
    monkeypatch.setattr(example, "CHANNELS", names)
    found = example.findings()
    found = replace(found, cells=tuple(replace(cell, dataset="$x_1$ & y.csv") for cell in found.cells))
    made = render(found)
    assert not any(
        "\x1b" in text or "could not be drawn" in text for name, text in made.items() if name != "effects.csv"
    )
    html = Page(made["report.html"])
    assert html.drawings == page.drawings and all(html.text.count(name.replace("\x1b", "\\x1b")) > 1 for name in names)
    assert "<b>" not in made["report.html"] and "mathdefault" not in made["report.html"]
    assert r"spend\_\$\_per\_\$" in made["report.md"] and r"x\|y" in made["report.md"]
    assert {len({len(row) for row in table}) for table in markdown_tables(made["report.md"])} == {1}
    assert r"\$x\_1\$ \& y.csv" in made["effects.tex"]


def test_a_figure_that_fails_costs_no_table(
    found: Findings, page: Page, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "fields", lambda *_: 1 / 0)
    made = render(found)
    without = Page(made["report.html"])
    assert without.text.count("This figure could not be drawn (heatmap: ZeroDivisionError: division by zero).") == 2
    assert without.tables == page.tables and made["effects.tex"]
    assert "warning: a figure could not be drawn (heatmap: " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report.html", "report.md", "effects.csv", "effects.tex"])
def test_nothing_missing_is_printed_as_nan(files: dict[str, str], name: str) -> None:
    text = without_script(files[name]) if name.endswith(".html") else files[name]
    assert not re.search(r"\b(nan|NaN|None|inf)\b", text)


def test_sections_in_the_order_in_which_a_reader_asks(files: dict[str, str]) -> None:
    titles = [
        *("The answer at a glance", "Against the linear baseline", "Before you read on", "Effects"),
        *("Errors of each arm", "Validation curves", "Accuracy and parameters", "Effects by channel"),
        *("What the controller sets", "Inert arms", "Arms of matched capacity", "Contrasts of the factorial"),
        *("Frozen and re-tuned settings", "What each arm changes", "Plan", "Failures, divergences and flags"),
        *("Device time", "Readings of test", "Events", "Provenance"),
    ]
    assert re.findall(r"<h2>(.*?)</h2>", files["report.html"]) == titles
    drawings_only = {"Validation curves", "Accuracy and parameters", "Effects by channel"}
    assert re.findall(r"^## (.*)$", files["report.md"], re.MULTILINE) == [t for t in titles if t not in drawings_only]


def test_figures_follow_the_page(files: dict[str, str], page: Page) -> None:
    assert page.tags["svg"] == 4 * 2
    svgs = re.findall(r"<svg.*?</svg>", files["report.html"], re.DOTALL)
    assert all("currentColor" in svg and 'viewBox="' in svg and "#010203" not in svg for svg in svgs)
    assert not any("#ffffff" in svg and "heatmap" not in svg for svg in svgs)  # no background of its own


def test_at_a_glance_is_a_picture_of_every_arm_the_largest_effect_first(found: Findings, page: Page) -> None:
    shown = [block for block in page_of(found).sections[0].blocks if isinstance(block, Strips)]
    assert len(shown) == len(found.cells) and page.tags["details"] == len(found.findings)
    for picture, cell in zip(shown, found.cells, strict=True):
        ones = {finding.name: finding for finding in found.of_cell(cell.name)}
        assert {strip.name for strip in picture.strips} == set(ones)
        drawn = [strip for strip in picture.strips if strip.at is not None]
        sizes = [abs(ones[strip.name].effects[PRIMARY].typical) for strip in drawn]
        assert drawn == list(picture.strips[: len(drawn)]) and sizes == sorted(sizes, reverse=True)
        assert all(strip.text == sentence(found, ones[strip.name]) for strip in picture.strips)
        for strip in drawn:
            effect, both = ones[strip.name].effects[PRIMARY], ones[strip.name].both
            assert strip.said.startswith(signed(effect.typical)) and len(strip.reaches) == 1 + (both is not None)
            assert picture.zero is not None and (strip.at > picture.zero) == (effect.typical > 0)
            low, high = strip.reaches[-1]
            assert low <= strip.at <= high
    assert "−0.0069  the context vector hurts, on these rows only</text>" in "".join(each.svg for each in shown)


def test_what_must_be_said_is_said(page: Page, files: dict[str, str]) -> None:
    for text in (
        "Three intervals, three kinds of noise.",
        "The null hypothesis is that the typical run is as good without the part as with it",
        "No interval over test windows: 800 windows hold less than one block of 848",
        "lr_scaleETTh1 (H=96): never moved. lr_scale weighs only the workers' loss",
        "freeze_probETTh1 (H=96): moved in 5 of 9 runs.",
        "Test was read 36 times, of 36 runs; none more than once.",
        "at 9, 16 seeds, fixed beforehand; 1 taken",
        "none of its 9 seeds did.",
    ):
        assert text in re.sub(r"\s+", " ", page.text).replace("lr_scale ETT", "lr_scaleETT").replace(
            "freeze_prob ETT", "freeze_probETT"
        ), text


def test_banners(found: Findings) -> None:
    cell = replace(found.cells[1], invalid="its runs do not compare")
    cells, few = (found.cells[0], cell), (example.named(found, "no_lr_scale"),)
    text = render(replace(found, exploratory="seeds were added by hand", cells=cells, arms=(), findings=few))[
        "report.html"
    ]
    assert '<p class="banner">The verdicts are exploratory: seeds were added by hand</p>' in text
    assert "may be compared: its runs do not compare</p>" in text


def test_no_exploratory_verdict_stands_without_its_mark(found: Findings) -> None:
    """Badges, tables, figures, CSV, LaTeX, the terminal: what was judged carries it; what was not promises nothing."""
    marked = replace(found, exploratory="seeds were added", arms=())
    files = render(marked)
    badges = re.findall(r'<span class="badge ([^"]*)">([^<]*)</span>', files["report.html"])
    bare = {text for _, text in badges if "(exploratory" not in text}
    assert bare == {"inert", "incomplete"} and len(badges) > 60
    assert {"helps", "hurts", "rows-only", "no-practical-effect", "undecided", "interaction"} < {
        kind for kind, _ in badges
    }
    said = [line["says"] for line in csv.DictReader(io.StringIO(files["effects.csv"])) if line["primary"] == "true"]
    assert {text for text in said if "(exploratory" not in text} == bare
    forests = [block.svg for block in page_of(marked).sections[0].blocks if isinstance(block, Strips)]
    assert "".join(forests).count("hurts, on these rows only (exploratory)</text>") == 1
    for text in (files["effects.tex"], "\n".join(verdict_lines(marked))):
        assert all(f"{verdict} (exploratory" in text for verdict in ("helps", "hurts", "undecided", "invalid"))
        assert "inert (" not in text and text.count("(exploratory") == len([each for each in said if each not in bare])


def test_what_happened_on_the_way(found: Findings) -> None:
    assert "What happened on the way" not in render(found)["report.html"]
    files = render(replace(found, incidents=("raised: 1", "stack 2 raised and goes on")))
    assert all("stack 2 raised and goes on" in files[name] for name in ("report.html", "report.md"))


def test_a_study_with_nothing_trained_has_a_report(found: Findings) -> None:
    inert = tuple(finding for finding in found.findings if finding.inert)
    cells = tuple(replace(cell, linear={}, linear_channels={}, channels=()) for cell in found.cells)
    empty = replace(found, findings=inert, arms=(), cells=cells, ledger=(), notes=(), events=(), provenance={})
    files = render(empty)
    assert Page(files["report.html"]).tags["svg"] == 0
    assert "Effects by channel" not in files["report.html"]


def test_an_untrained_effect_leaves_no_trace_in_figures(found: Findings) -> None:
    blank = {
        name: replace(effect, n=1, mean=NAN, typical=NAN, interval=(NAN, NAN), percent=NAN, channels={})
        for name, effect in example.named(found, "no_workers").effects.items()
    }
    few = replace(found, findings=(replace(example.named(found, "no_workers"), effects=blank),))
    assert figures.forest(few, "ETTh1", "x") == figures.heatmap(few, "ETTh1", "x") == ""


def test_many_channels(found: Findings) -> None:
    names = tuple(f"sensor_{place}" for place in range(60))
    finding = example.named(found, "no_film")
    effect = replace(finding.effects["test_mse"], channels={name: 0.001 * place for place, name in enumerate(names)})
    cell = replace(found.cells[0], channels=names)
    many = replace(found, cells=(cell,), findings=(replace(finding, effects={"test_mse": effect}),))
    assert figures.heatmap_channels(many, "ETTh1") == list(names[-figures.MOST_CHANNELS :])


@pytest.mark.parametrize(
    ("losses", "deviations", "marks", "far"),
    [
        ([0.3646, 0.3645, 0.3674, 0.3695, 0.657, 0.7499], [0.0005, 0.0004, None], [0.3670], {4, 5}),
        ([0.3646, 0.3645, 0.3674, 0.3695, 0.657, 0.7499], [0.0005, 0.0004, None], [0.8], set()),  # must be shown anyway
        ([0.3985, 0.3982, 0.4042, 0.3825, 0.3990], [0.015], [0.3670], set()),
        ([1.0, 2.0, 4.0, 8.0, 16.0], [], [], set()),  # spread evenly, whatever the range
        ([1.0, 1.001, 1.002, 1.1], [0.05], [], set()),  # seeds differ by more
        ([1.0, 1.001, 1.002, 1.1], [0.001], [], {3}),
        ([1.0, 1.0, 1.0, NAN, math.inf], [NAN], [], set()),
        ([], [], [], set()),
    ],
)
def test_arms_far_off(losses: list[float], deviations: list[float | None], marks: list[float], far: set[int]) -> None:
    named = {str(place): loss for place, loss in enumerate(losses)}
    assert outlying(named, deviations, marks) == {str(place) for place in far}


def test_an_arm_far_off_leaves_the_others_their_room(found: Findings) -> None:
    """In each figure it is told by a word, and the vertical axis is the one that it has without that arm."""
    worse = {
        "errors": lambda runs: {metric: tuple(9.0 + v for v in values) for metric, values in runs.errors.items()},
        "validation": lambda runs: replace(runs.validation, mean=tuple(9.0 + v for v in runs.validation.mean)),
    }
    for draw, said, field in ((figures.accuracy, "no_workers 9.", "errors"), (curves.validation, OWN, "validation")):
        arms = [replace(a, **{field: worse[field](a)}) if a.arm == "no_workers" else a for a in found.arms]
        far = draw(replace(found, arms=tuple(arms)), "ETTh1", "x")
        assert said in far and said not in draw(found, "ETTh1", "x")
        without = draw(replace(found, arms=tuple(a for a in arms if a.arm != "no_workers")), "ETTh1", "x")
        numbers = [re.findall(r">(0\.\d+)<", svg) for svg in (far, without)]
        assert numbers[1] and set(numbers[1]) <= set(numbers[0])


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch, found: Findings, files: dict[str, str]) -> list[Any]:
    """Stands in for the records."""
    asked: list[Any] = []

    def findings_of(results: Any, name: str) -> Findings:
        asked.append((results.storage.url, name))
        if name != found.name:
            raise ConfigError(f"unknown study '{name}';\n  did you mean '{found.name}'?")
        return found

    module = ModuleType("ablations.findings.collect")
    module.findings_of = findings_of  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ablations.findings.collect", module)
    monkeypatch.setattr(report, "render", lambda _: dict(files))
    return asked


def test_the_command(
    collected: list[Any], files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["example_1", "--results", str(tmp_path)]) == 0
    folder = tmp_path / "reports" / "example_1"
    assert {path.name: path.read_bytes().decode() for path in folder.iterdir()} == files
    printed = capsys.readouterr().out
    assert f"wrote {folder / 'report.html'}\n" in printed
    assert re.search(r"no_context .* the context vector hurts\n", printed)
    assert collected == [(str(tmp_path), "example_1")]


def test_errors_are_one_line(collected: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["exmaple_1", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: unknown study 'exmaple_1'; did you mean 'example_1'?\n"
    assert report.main(["example_1", "--results", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
