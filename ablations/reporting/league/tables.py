"""The league's numbers as texts, once: for the page, a terminal, CSV and LaTeX."""

import csv
import io
from collections.abc import Collection, Iterator, Sequence

from ablations.findings.findings import PRIMARY, Findings
from ablations.findings.league import Entrant, League
from ablations.judging.ranking import Place, Ranking
from ablations.reporting.phrases import LOSS
from ablations.reporting.tables import tex
from lab.pages.formats import MISSING, chance, decimal, duration, known, mean_deviation, shortened, signed, whole

Texts = tuple[str, ...]
LONG = 60  # letters of a title in a table; the study's arms have it whole
COST = (
    "Device seconds are CPU seconds on a CPU and wall seconds on a GPU, a stack's shared among its models; a step is "
    "of one model, with what validation takes between."
)
BESIDE = (
    "Reported figures are those of papers and tables, each by its own protocol; measured ones are means over the seeds "
    "of this study, with every test window counted. Why they may differ is what is known of the protocols, no proof."
)
BESIDE_HEADER: Texts = (
    "model", "cell", "why they may differ", "reported MSE / MAE", "measured", "measured less reported",
)  # fmt: skip


def ranking_header(ranking: Ranking) -> Texts:
    errors = (f"{LOSS} (validation): {cell}" for cell in ranking.cells)
    return ("model", "S", "mean rank", "95% on these cells", "best, of draws", *errors)


def ranking_rows(findings: Findings) -> Iterator[Texts]:
    """The best first."""
    league = findings.league
    if league is None or league.ranking is None:
        return
    for place in league.ranking.places:
        ranks = " to ".join(f"{r:.1f}" for r in place.ranks) if known(place.ranks[0]) else MISSING
        entrant = league.entrant(place.name)
        errors = (_error(findings, entrant, place, cell) for cell in league.ranking.cells)
        yield (
            shortened(entrant.title, LONG),
            lookback(entrant),
            f"{place.rank:.1f}",
            ranks,
            chance(place.best),
            *errors,
        )


def lookback(entrant: Entrant) -> str:
    """S; of each cell, where they differ."""
    return " / ".join(dict.fromkeys(f"{rows:,}" for rows in entrant.lookback.values())) or MISSING


SETTINGS_HEADER: Texts = ("model", "settings from", "S", "epochs at most", "epochs trained")


def settings_rows(league: League) -> Iterator[Texts]:
    """What each model was trained with; of each cell, where they differ."""
    for entrant in league.entrants:
        if entrant.kind == "model":
            most = " / ".join(dict.fromkeys(f"{most:,}" for _, most in entrant.epochs.values()))
            trained = " / ".join(f"{mean:.1f}" if known(mean) else MISSING for mean, _ in entrant.epochs.values())
            yield (shortened(entrant.title, LONG), entrant.source, lookback(entrant), most, trained)


def lookbacks_differ(league: League) -> str:
    """A sentence, or "" where all models read alike."""
    read = sorted({rows for each in league.entrants if each.kind == "model" for rows in each.lookback.values()})
    if len(read) < 2:
        return ""
    return (
        f"Lookbacks differ, from S={read[0]:,} to S={read[-1]:,} rows, as the source of each model's settings has it; "
        "a longer one can help by itself. All are judged on the same windows."
    )


def above_header(ranking: Ranking) -> Texts:
    return ("model", *(f"{cell}: above the best bar, 95%" for cell in ranking.cells))


def above_rows(league: League) -> Iterator[Texts]:
    """Each model's error less that of the bar with the lowest validation error, by cell."""
    if league.ranking is None or not league.best_bars:
        return
    for place in league.ranking.places:
        entrant = league.entrant(place.name)
        if entrant.kind != "bar":
            yield (shortened(entrant.title, LONG), *(_above(place, cell) for cell in league.ranking.cells))


def cost_header(league: League) -> Texts:
    cells = next((tuple(entrant.parameters) for entrant in league.entrants if entrant.kind == "model"), ())
    return ("model", *(text for cell in cells for text in (f"{cell}: parameters", "device time a run", "a step")))


def cost_rows(league: League) -> Iterator[Texts]:
    """What each model costs: parameters, device time of a run and of a step, by cell."""
    for entrant in league.entrants:
        if entrant.kind == "model":
            yield (
                shortened(entrant.title, LONG),
                *(text for cell in entrant.parameters for text in _cost(entrant, cell)),
            )


def beside_rows(league: League) -> Iterator[Texts]:
    for each in league.beside:
        yield (each.name, each.cell, each.why or MISSING, each.reported, each.measured, signed(each.difference))


def league_csv(findings: Findings) -> str:
    """Every number of the ranking in full precision, a row an entrant and cell."""
    league, text = findings.league, io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([
        "name", "title", "kind", "cell", "lookback", "epochs", "most_epochs", "settings_from", PRIMARY, "mean_rank",
        "rank_low", "rank_high", "best_of_draws", "best_of_draws_here", "val_mse",
        "above_best_bar", "above_low", "above_high", "parameters", "device_seconds",
        "device_seconds_a_step",
    ])  # fmt: skip
    if league is not None and league.ranking is not None:
        for place in league.ranking.places:
            entrant = league.entrant(place.name)
            for cell in league.ranking.cells:
                above, (low, high) = place.above.get(cell, (None, (None, None)))
                trained, most = entrant.epochs.get(cell, (None, None))
                writer.writerow([
                    place.name, entrant.title, entrant.kind, cell, entrant.lookback.get(cell), trained, most,
                    entrant.source, place.errors[cell], place.rank, *place.ranks,
                    place.best, place.best_in[cell], entrant.validation.get(cell), above, low, high,
                    entrant.parameters[cell], entrant.seconds.get(cell), entrant.step.get(cell),
                ])  # fmt: skip
    return text.getvalue()


def league_tex(findings: Findings) -> str:
    r"""Tables for a paper: the ranking, whose settings, what each costs, what is reported of it. They need
    \usepackage{booktabs} and nothing else."""
    league = findings.league
    if league is None or league.ranking is None:
        return ""
    name = findings.name.replace("_", "-")
    tables: list[tuple[str, str, Texts, list[Texts], tuple[int, ...]]] = [
        ("ranking", caption(league.ranking), ranking_header(league.ranking), list(ranking_rows(findings)), ()),
        (
            "settings",
            f"Settings. {lookbacks_differ(league)}".strip(),
            SETTINGS_HEADER,
            list(settings_rows(league)),
            (1,),
        ),
        ("cost", COST, cost_header(league), list(cost_rows(league)), ()),
        ("reported", BESIDE, BESIDE_HEADER, list(beside_rows(league)), (2,)),
    ]
    return "\n".join(
        _tex(f"{name}-{part}", said, header, rows, wide) for part, said, header, rows, wide in tables if rows
    )


def _tex(label: str, said: str, header: Texts, rows: Sequence[Texts], wide: Collection[int]) -> str:
    """`wide`: columns of sentences."""
    columns = "".join("l" if not at else r"p{5cm}" if at in wide else "r" for at in range(len(header)))
    lines = [
        r"\begin{table}[t]", r"\centering", r"\small", rf"\caption{{{tex(said)}}}", rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(map(tex, header)) + r" \\", r"\midrule",
    ]  # fmt: skip
    lines += [" & ".join(map(tex, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def caption(ranking: Ranking) -> str:
    """How the ranking is to be read."""
    said = (
        f"Ranks by the {LOSS} in each cell, 1 the lowest, averaged over the cells of a series and then over series. "
        "The interval of a mean rank, and the share of draws in which a model has the lowest error (relative to the "
        "mean of all in a cell, averaged alike), are over seeds and stretches of the test rows, on these cells; such a "
        "share says how often noise puts it first, and not how likely it is the best"
    )
    lacking = [cell for cell in ranking.cells if cell not in ranking.over_time]
    if lacking:
        said += f"; of {', '.join(lacking)} over seeds alone, since too little is on record of single windows"
    if ranking.difference is None:
        return f"{said}. There is one series, so that nothing is said of others."
    p = "" if ranking.friedman_p is None else f"; Friedman's test that all are alike: p = {ranking.friedman_p:.2g}"
    apart, widest = ranking.difference, len(ranking.places) - 1
    differ = f"differ, and no two of {widest + 1} can lie so far apart" if apart > widest else "differ"
    return (
        f"{said}. For other series like these {ranking.series}: mean ranks that lie {apart:.1f} or more apart {differ} "
        f"(Nemenyi's critical difference, 5% for all pairs together){p}."
    )


def _error(findings: Findings, entrant: Entrant, place: Place, cell: str) -> str:
    """On test, and in brackets on validation, by which bars are chosen."""
    runs = next((each for each in findings.arms if (each.arm, each.cell) == (place.name, cell)), None)
    test = decimal(place.errors[cell]) if runs is None else mean_deviation(runs.mean(PRIMARY), runs.deviation(PRIMARY))
    return f"{test} ({decimal(entrant.validation.get(cell))})"


def _above(place: Place, cell: str) -> str:
    if cell not in place.above:
        return MISSING
    gap, bounds = place.above[cell]
    return f"{signed(gap)} ({signed(bounds[0])} to {signed(bounds[1])})" if known(bounds[0]) else signed(gap)


def _cost(entrant: Entrant, cell: str) -> Texts:
    step = entrant.step.get(cell)
    shown = MISSING if step is None else f"{1000 * step:.3g} ms" if step < 1 else f"{step:.3g} s"
    return whole(entrant.parameters[cell]), duration(entrant.seconds.get(cell)), shown
