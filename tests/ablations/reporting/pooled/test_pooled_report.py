"""A pooled study's report: one set of numbers in every file and figure, the right count of series, every mark."""

import csv
import io
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ablations.findings.findings import Findings
from ablations.judging.verdicts import ON_THESE_SERIES
from ablations.report import render
from ablations.reporting.appendix import record
from ablations.reporting.console import sentence_lines, verdict_lines
from ablations.reporting.pooled import figures
from ablations.reporting.pooled.tables import effects_tex, header, shown
from ablations.reporting.pooled.wording import sentence
from lab.arms import FULL
from lab.pages.blocks import Table
from lab.pages.formats import chance, decimal, p_value, percent, percents
from tests.ablations import pooled_example
from tests.ablations.pooled_example import row
from tests.html_page import Page


@pytest.fixture(scope="module")
def found() -> Findings:
    return light(pooled_example.findings())


def light(found: Findings) -> Findings:
    """Without most of what is drawn of each cell by itself, which takes long and is tested elsewhere."""
    bare = [
        replace(one, effects={name: replace(effect, channels={}) for name, effect in one.effects.items()})
        for one in found.findings
    ]
    return replace(found, findings=tuple(bare), arms=tuple(runs for runs in found.arms if runs.arm == FULL))


@pytest.fixture(scope="module")
def files(found: Findings) -> dict[str, str]:
    return render(found)


@pytest.fixture(scope="module")
def lines(files: dict[str, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(files["effects.csv"])))


def svg_texts(svg: str) -> list[str]:
    return [" ".join(text.split()) for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)]


def test_the_csv_holds_what_was_found(found: Findings, lines: list[dict[str, str]]) -> None:
    """Pooled rows first, in full precision; then the cells', which tell where and when they are."""
    pooled = [line for line in lines if line["level"] == "pooled"]
    assert pooled == lines[: len(found.pooled)]
    for line, each in zip(pooled, found.pooled, strict=True):
        assert (line["finding"], line["verdict"], line["cells"]) == (each.name, each.verdict, "; ".join(each.cells))
        if each.pooled is None:
            assert line["percent"] == line["helps_on"] == ""
            continue
        numbers = [each.pooled.typical, *each.pooled.seeds, each.pooled.mean, *(each.pooled.interval or (np.nan,) * 2)]
        names = ("percent", "percent_low", "percent_high", "percent_mean", "reach_low", "reach_high")
        told = [float(line[name] or "nan") for name in names]
        assert np.array_equal(told, numbers, equal_nan=True)
        assert (int(line["helps_on"]), int(line["of"])) == (each.pooled.helps_on, each.pooled.of)
    cells = {(line["finding"], line["cell"]): line for line in lines if line["primary"] == "true"}
    line = cells["no_revin", "exchange_rate-back1"]
    assert (line["series"], line["origin"], line["trains_to"]) == ("exchange_rate", "3794", "2000-05-22")
    assert line["test_period"] == "2000-11-01 to 2000-12-31" and line["verdict"] == "descriptive"


def test_tables_are_those_of_the_csv(found: Findings, files: dict[str, str], lines: list[dict[str, str]]) -> None:
    page, texts = Page(files["report.html"]), {name: files[name] for name in ("report.md", "effects.tex")}
    rows = {line["arm"]: line for line in page.table("arm", "verdict", "effect")}
    rows |= {line["contrast"]: line for line in page.table("contrast", "verdict", "effect")}
    assert list(rows) == [each.name for each in found.pooled]
    for line in lines[: len(rows)]:
        number = {name: float(line[name] or "nan") for name in line if line[name] == "" or name in _NUMBERS}
        here, seeds = rows[line["finding"]], percents((number["percent_low"], number["percent_high"]))
        reach = percents((number["reach_low"], number["reach_high"]))
        told = [here[key] for key in ("effect", "95% over seeds", "95% over series and origins")]
        assert told == [percent(number["percent"]), seeds, reach]
        if line["seeds"]:
            both = (number["p_adjusted"], number["reach_p_adjusted"])
            assert here["adjusted p, seeds / series"] == " / ".join(map(p_value, both))
        assert here["verdict"] == line["says"]
        if not np.isnan(number["percent"]):
            assert here["helps on series"] == f"{line['helps_on']} of {line['of']}"
            assert here["next series / origin"] == f"{chance(number['next_series'])} / {chance(number['next_origin'])}"
            assert f"| {percent(number['percent'])} | {seeds} | {reach} |" in texts["report.md"]
            tex = f"{percent(number['percent'])} [{seeds}] & {reach} & ".replace("%", r"\%").replace("−", "$-$")
            assert tex in texts["effects.tex"]
    for block in re.findall(r"\\midrule\n(.*?)\\bottomrule", texts["effects.tex"], re.DOTALL):
        counts = {re.sub(r"\\&", "", text).count("&") for text in block.splitlines()}
        assert len(counts) == 1 and len(block.splitlines()) == 11  # arms; cells


def test_bars_stand_with_their_error_on_validation(found: Findings, files: dict[str, str]) -> None:
    """By which they are chosen: on the page, in a terminal and in LaTeX, of every cell."""
    for text in ("\n".join(verdict_lines(found)), files["effects.tex"], files["report.md"].replace(r"\*", "*")):
        lines = text.splitlines()
        for cell in found.cells:
            for metric in ("test_mse", "val_mse"):
                errors = [decimal(b.errors[metric]) + "*" * (b is cell.standing.best) for b in cell.standing.bars]
                assert any(all(error in line for error in errors) for line in lines), (cell.name, metric)


_NUMBERS = (
    *("percent", "percent_low", "percent_high", "reach_low", "reach_high", "next_series", "next_origin", "p_adjusted"),
    "reach_p_adjusted",
)


def test_how_many_series_and_how_far(found: Findings) -> None:
    """Each sentence names its count, its chances, and no more reach than it has."""
    said = {each.name: text for each in found.pooled for text in sentence_lines(found) if _about(each.name, text)}
    assert "the decomposition helps on these series only" in said["no_decomposition"]
    helped = (
        "It helped on 3 of 4 series (effects of −1.1% to +16.7%); the chance that it helps is 69% on the next series"
    )
    assert helped in said["no_decomposition"]
    assert "RevIN helps: without it the test MSE was 5.0% higher" in said["no_revin"]
    assert "It helped on 4 of 4 series" in said["no_revin"]
    assert "hurts: without it the test MSE was 2.4% lower" in said["no_mixer"]
    assert (
        "It hurt on 4 of 4 series (effects of −3.1% to −1.8%); the chance that it hurts is 89%" in said["no_mixer"]
    )  # 1 - that it helps
    assert "Validation says the opposite: without it the validation MSE was 2.4% higher" in said["no_mixer"]
    assert "On the test split of 3 series (9 cells" in said["no_bilevel"] and "2 of 3 series" in said["no_bilevel"]
    assert "Left out: national_illness-back1 and national_illness (inert" in said["no_bilevel"]
    assert "so that no size can be given. It helped on 3 of 3 series without a diverged run (" in said["no_trend"]
    alone = pooled_example.of_one_series(found)
    (text,) = (text for text in sentence_lines(alone) if _about("no_context", text))
    assert "ETTh1 (3 origins, 9 seeds)" in text and "at these origins only" in text and "series" not in text
    (text,) = (text for text in sentence_lines(alone) if _about("no_revin", text))
    assert "RevIN helps at these origins only (it was shown over seeds; origins share rows" in text
    legend, papers = verdict_lines(alone), [effects_tex(each) for each in (alone, found)]
    assert "every verdict is of these alone" in " ".join(legend) and "(Holm). Adjusted p" not in " ".join(legend)
    caption, several = (paper.split(r"\label")[0] for paper in papers)
    assert "every verdict is of these origins only" in caption and "other series" not in caption
    assert "carried by a family of tests over series" in several and "as if they were independent" not in several


def _about(name: str, sentence: str) -> bool:
    words = {
        "no_decomposition": "the decomposition helps", "no_revin": "RevIN helps", "no_mixer": "channel mixer hurts",
        "no_bilevel": "bi-level training", "no_trend": "trend layer", "no_context": "context vector",
    }  # fmt: skip
    return words.get(name, "nothing of this") in sentence


def test_a_forest_has_the_cells_in_order_and_pooled_last(found: Findings, lines: list[dict[str, str]]) -> None:
    each = row(found, "no_bilevel")
    texts = svg_texts(figures.forest(found, each, "p"))
    names = [text for text in texts if re.match(r"(ETTh|exchange|national)\S*, to |pooled$", text)]
    assert [name.split(",")[0] for name in names] == [*(cell.name for cell in found.cells), "pooled"]
    own = {line["cell"]: line for line in lines if line["finding"] == "no_bilevel" and line["primary"] == "true"}
    for cell in each.cells:
        number = {key: float(own[cell][key]) for key in ("percent", "percent_low", "percent_high")}
        bounds = percents((number["percent_low"], number["percent_high"]))
        assert f"{percent(number['percent'])} ({bounds})" in texts
    assert texts.count("left out: inert") == 2
    assert each.pooled is not None
    assert f"{percent(each.pooled.typical)} ({percents(each.pooled.interval)})" in texts


def test_the_heatmap_has_every_cell_and_the_pooled_effect(found: Findings, lines: list[dict[str, str]]) -> None:
    texts = Counter(svg_texts(figures.heatmap(found, "p")))
    asked = {each.name: each.cells for each in found.pooled}
    fields = [line for line in lines if line["primary"] == "true" and line["percent"]]
    fields = [line for line in fields if line["level"] == "pooled" or line["cell"] in asked[line["finding"]]]
    wanted = Counter(percent(float(line["percent"])).rstrip("%") for line in fields)
    assert not wanted - texts
    assert texts["+16.0"] == texts["+17.4"] == 1 and texts["pooled"] == 1  # no_decomposition, national_illness


def test_the_page_is_whole(found: Findings, files: dict[str, str]) -> None:
    text, page = files["report.html"], Page(files["report.html"])
    assert "could not be drawn" not in text and not re.search(r"\bnan\b", page.text)
    assert [name for name, number in Counter(page.ids).items() if number > 1] == []
    assert {f"#{section}" for section in ("glance", "pooled", "forest", "origins", "places")} < set(page.addresses)
    dates = {line["cell"]: line["test period"] for line in page.table("cell", "series", "trained to")}
    assert list(dates) == [cell.name for cell in found.cells] and dates["ETTh1"] == "2017-11-01 to 2017-12-31"


def test_origins_of_one_series_speak_for_no_other(found: Findings) -> None:
    """A part that is alive on one of several series has an interval over origins, which is none over series."""
    cells = [cell for cell in found.cells if cell.series == "ETTh1"]
    alone = pooled_example.pooled_over("no_revin", cells)
    assert alone.interval is not None and alone.over == "origins"
    names = tuple(cell.name for cell in cells)
    decided = row(found, "no_revin").decision
    assert decided is not None
    decided = replace(decided, verdict=ON_THESE_SERIES)
    confined = replace(
        row(found, "no_revin"), cells=names, pooled=alone, validation=None, decision=decided, reach_p=np.nan
    )
    told = dict(zip(header(found), shown(found, confined), strict=True))
    assert told["95% over series and origins"] == "–" and told["helps on series"] == "3 of 3 origins"
    assert told["next series / origin"] == "– / 86%" and told["adjusted p, seeds / series"] == "0.0117 / –"
    said = sentence(found, confined)
    assert "ETTh1 (3 origins, 9 seeds), RevIN helps on these series only" in said and "over series" not in said
    assert percents(alone.interval) not in " ".join(svg_texts(figures.forest(found, confined, "p")))


def test_the_page_of_several_origins_says_when_each_is_tested(found: Findings) -> None:
    """Pooled or not."""
    for made in (found, replace(found, pooled=())):
        plan = next(section for section in record(made) if section is not None and section.id == "plan")
        table = next(block for block in plan.blocks if isinstance(block, Table) and block.caption == "Cells")
        assert table.header[:4] == ("cell", "data", "trained to", "test period")
        assert table.rows[0][:4] == ("ETTh1-back2", "ETTh1", "2016-10-28 23:00", "2016-11-01 to 2016-12-31")


def test_nothing_is_drawn_of_nothing(found: Findings) -> None:
    """One origin each: no figure of origins; nothing judged yet: no forest."""
    single = replace(found, cells=tuple(cell for cell in found.cells if not cell.back))
    assert figures.by_origin(single, "p") == ""
    unjudged = replace(found, pooled=tuple(replace(each, pooled=None, validation=None) for each in found.pooled))
    assert figures.overview(unjudged, "p") == figures.heatmap(unjudged, "p") == ""
    assert figures.forest(unjudged, row(unjudged, "no_lr_scale"), "p") == ""


def test_no_exploratory_verdict_stands_without_its_mark() -> None:
    marked = replace(light(pooled_example.findings(exploratory="seeds were added")), arms=())
    files = render(marked)
    badges = re.findall(r'<span class="badge ([^"]*)">([^<]*)</span>', files["report.html"])
    assert {text for _, text in badges if "(exploratory" not in text} == {"inert", "incomplete"}
    assert {kind for kind, _ in badges} >= {"helps", "hurts", "rows-only", "no-practical-effect", "interaction"}
    said = [line["says"] for line in csv.DictReader(io.StringIO(files["effects.csv"])) if line["level"] == "pooled"]
    assert {text for text in said if "(exploratory" not in text} == {"inert", "incomplete"}
    for text in ("\n".join(verdict_lines(marked)), files["effects.tex"], *svg_of(marked)):
        assert "RevIN helps (exploratory)" in text and "on these series only (exploratory)" in text
    assert re.search(r"In all: helps [^.]*\(exploratory\)\.", " ".join(verdict_lines(marked)))
    assert "the best bar on validation, by test MSE, in 11 of 11 cells" in " ".join(verdict_lines(marked))


def svg_of(found: Findings) -> list[str]:
    return [figures.overview(found, "p")]
