"""A page as a W&B report: the sections of the local page word by word, and W&B's own panels over the study's runs.

Figures are media of one W&B run of the study, its report run, which the local page's Parquet files go along with. A
report that was made once is updated: its id is kept with the study.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import wandb_workspaces.reports.v2 as wr

from lab.pages.blocks import Block, Drawing, Items, Section, Strips, Table, Text
from lab.pages.page import Page, markdown
from lab.store.schema import TABLES
from lab.store.tables import Results
from lab.tracking.client import client, end_service, lean_settings, local_folder
from lab.tracking.runs import run_id

REPORT_JOB = "report"  # job_type of the run that holds figures and files
FIGURES = "figures"  # first part of the keys under which figures are logged
TABLE = "table"  # key under which the table of effects, or of trials, is logged
PATIENCE = 60  # seconds that W&B may take to have the files
_TALL, _WIDE = 10, 24  # of a panel, in units of W&B's grid


@dataclass(frozen=True)
class Panels:
    """W&B's own panels, after the section of the page that they belong to."""

    after: str  # id of a section; "" for the end
    title: str
    panels: tuple[Any, ...]
    groupby: str | None = None  # a key of the runs' config
    job_types: tuple[str, ...] = ()  # none: every run of the study but its report run
    where: Mapping[str, str] = field(default_factory=dict)  # settings of the runs' config, such as the cell


@dataclass(frozen=True)
class WandbReport:
    """What is to be published: a page, the panels in it, and what is logged beside it."""

    study: str
    kind: str  # ablation or search: a study may have one of each
    page: Page
    panels: tuple[Panels, ...]
    files: Mapping[str, str] = field(default_factory=dict)  # name -> text, for the artifact
    table: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None  # header and rows of the effects, say

    def figures(self) -> dict[str, str]:
        """Key -> SVG of every figure of the page."""
        found: dict[str, str] = {}
        for section in self.page.sections:
            drawings = [block for block in section.blocks if isinstance(block, Drawing | Strips) and block.svg]
            for number, block in enumerate(drawings, 1):
                found[figure_key(section, number)] = block.svg
        return found

    def build(self, entity: str, project: str) -> wr.Report:
        """The report, with nothing looked up: its run sets stand for its own project."""
        blocks: list[Any] = [wr.P(self.page.question), wr.TableOfContents()]
        for section in self.page.sections:
            blocks.append(wr.H2(section.title))
            blocks += _section_blocks(self.study, section)
            blocks += [self._grid(panels) for panels in self.panels if panels.after == section.id]
        blocks += [self._grid(panels) for panels in self.panels if not panels.after]
        return wr.Report(
            entity=entity, project=project, title=self.page.title, description=self.page.question, blocks=blocks,
            width="fluid",
        )  # fmt: skip

    def _grid(self, panels: Panels) -> wr.PanelGrid:
        runset = _runset(self.study, panels.title, panels.job_types, panels.groupby, panels.where)
        return wr.PanelGrid(runsets=[runset], panels=list(panels.panels))

    def specification(self, entity: str, project: str) -> str:
        """The report as W&B takes it, as JSON. No network is touched."""
        model = self.build(entity, project)._to_model()
        return json.dumps(model.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1) + "\n"


def figure_key(section: Section, number: int) -> str:
    return f"{FIGURES}/{section.id}-{number}"


def _section_blocks(study: str, section: Section) -> list[Any]:
    blocks: list[Any] = []
    number = 0
    for block in section.blocks:
        if isinstance(block, Drawing | Strips) and block.svg:
            number += 1
            panel = wr.MediaBrowser(
                title=section.title, media_keys=[figure_key(section, number)], num_columns=1,
                layout=wr.Layout(x=0, y=0, w=_WIDE, h=2 * _TALL),
            )  # fmt: skip
            blocks.append(wr.PanelGrid(runsets=[_runset(study, "figures", (REPORT_JOB,))], panels=[panel]))
        if not isinstance(block, Drawing):
            blocks.append(_block(block))
    return blocks


def _block(block: Block) -> Any:
    if isinstance(block, Text):
        return wr.CalloutBlock(block.text) if block.tone == "banner" else wr.P(block.text)
    if isinstance(block, Items):
        return wr.UnorderedList(
            [" ".join(filter(None, (f"[{i.badge}]" if i.badge else "", i.name, i.text))) for i in block.items]
        )
    if isinstance(block, Strips):
        return wr.UnorderedList(
            [
                " ".join(filter(None, (f"[{s.badge}]" if s.badge else "", s.name, s.text or s.said)))
                for s in block.strips
            ]
        )
    assert isinstance(block, Table)
    return wr.MarkdownBlock(_markdown_table(block))


def _markdown_table(table: Table) -> str:
    rules = ["---" if place < table.words else "---:" for place in range(len(table.header))]
    rows = [[markdown(cell) for cell in row] for row in (table.header, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rules, *rows[1:])]
    return "\n".join([*([f"**{markdown(table.caption)}**", ""] if table.caption else []), *lines])


def _runset(
    study: str,
    name: str,
    job_types: Sequence[str],
    groupby: str | None = None,
    where: Mapping[str, str] | None = None,
) -> wr.Runset:
    """The runs of the study, of some job types or of all but its report run."""
    filters = f'Metric("Group") == {json.dumps(study)}'
    if job_types:
        filters += f' and Metric("JobType") in {json.dumps(list(job_types))}'
    else:
        filters += f' and Metric("JobType") != "{REPORT_JOB}"'
    for key, value in (where or {}).items():
        filters += f' and Config("{key}") == {json.dumps(value)}'
    groups = [] if groupby is None else [f"config.{groupby}"]
    return wr.Runset(name=f"{name} of {study}", filters=filters, groupby=groups)


def bar_by(metric: str, title: str, groupby: str) -> Any:
    """Bars of the mean over runs, with their standard deviation."""
    return wr.BarPlot(
        title=title, metrics=[wr.SummaryMetric(metric)], groupby=wr.Config(groupby), groupby_aggfunc="mean",
        groupby_rangefunc="stddev", max_bars_to_show=60, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL),
    )  # fmt: skip


def curves_by(metric: str, title: str, groupby: str | None) -> Any:
    """Lines over epochs; grouped, the mean with its standard deviation."""
    grouped: dict[str, Any] = {}
    if groupby is not None:
        grouped = {"groupby": wr.Config(groupby), "groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    return wr.LinePlot(
        title=title, x="epoch", y=[metric], max_runs_to_show=100, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL),
        **grouped,
    )  # fmt: skip


def scatter(x: str, y: str, title: str) -> Any:
    return wr.ScatterPlot(
        title=title, x=wr.SummaryMetric(x), y=wr.SummaryMetric(y), layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL)
    )


def parallel_coordinates(settings: Sequence[str], metric: str, title: str) -> Any:
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(name)) for name in settings]
    columns.append(wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(metric)))
    return wr.ParallelCoordinatesPlot(columns=columns, title=title, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL))


def importance(metric: str) -> Any:
    return wr.ParameterImportancePlot(with_respect_to=metric, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL))


def comparer() -> Any:
    return wr.RunComparer(diff_only=True, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL))


# Publishing ----------------------------------------------------------------------------------------------------------


def publish(report: WandbReport, results: Results, entity: str, project: str) -> str:
    """Logs figures, table and files, and creates the report or updates the one made before. Returns its address.

    Raises:
        wandb.errors.Error and what the client raises besides, where W&B cannot be reached or refuses.
    """
    made = report.build(entity, project)
    wandb = client(local_folder(results.storage))
    try:
        _log(wandb, report, results, entity, project)
        return _save(made, report, results, entity, project)
    finally:
        end_service()


def _save(made: wr.Report, report: WandbReport, results: Results, entity: str, project: str) -> str:
    mark = f"tracking/{report.study}/report-{report.kind}-{entity}-{project}.json"
    before = results.read_blob(mark, lambda data: str(json.loads(data)["id"]))
    if before is not None:
        made.id = before
    made.save()
    results.replace_blob(mark, (json.dumps({"id": made.id, "url": made.url}) + "\n").encode())
    return str(made.url)


def _log(wandb: Any, report: WandbReport, results: Results, entity: str, project: str) -> None:
    """The study's report run: one for all its reports, so that each new one stands in the place of the last."""
    run = wandb.init(
        entity=entity, project=project, id=run_id(report.study, REPORT_JOB, report.kind), resume="allow",
        name=f"report: {report.study}", group=report.study, job_type=REPORT_JOB, reinit="create_new",
        tags=["report", report.kind], mode="online", dir=str(local_folder(results.storage)), settings=lean_settings(),
    )  # fmt: skip
    try:
        logged: dict[str, Any] = {key: wandb.Html(_figure_page(svg)) for key, svg in report.figures().items()}
        if report.table is not None:
            header, rows = report.table
            logged[TABLE] = wandb.Table(columns=list(header), data=[list(row) for row in rows])
        run.log(logged)
        artifact = wandb.Artifact(f"{report.study}-records", type="records", description=report.page.question)
        for name, content in _files(report, results).items():
            with artifact.new_file(name, mode="wb") as file:
                file.write(content)
        run.log_artifact(artifact).wait(PATIENCE)  # raises where it did not arrive, which `finish` says to nobody
    finally:
        run.finish()


def _files(report: WandbReport, results: Results) -> dict[str, bytes]:
    """The study's records, a Parquet file each table, and the report's own files: no folder of somebody's home."""
    found = {name: text.encode() for name, text in report.files.items()}
    tables = {table: results.table(table, report.study) for table in TABLES}
    runs = tables["runs"]
    paths = set(runs["params.data.path"].to_pylist()) - {None} if "params.data.path" in runs.column_names else set()
    for table, rows in tables.items():
        if rows.num_rows:
            buffer = pa.BufferOutputStream()
            pq.write_table(without_folders(rows, paths), buffer)
            found[f"{table}.parquet"] = buffer.getvalue().to_pybytes()
    return found


def without_folders(rows: pa.Table, paths: Iterable[str]) -> pa.Table:
    """Rows whose texts name files of data, in settings and in JSON, without the folders that these lie in."""
    for path in sorted(paths, key=len, reverse=True):
        name = os.path.basename(path)
        spelled = {path: name, json.dumps(path)[1:-1]: json.dumps(name)[1:-1]}
        spelled[json.dumps(path, ensure_ascii=False)[1:-1]] = json.dumps(name, ensure_ascii=False)[1:-1]
        for at, column in enumerate(rows.schema):
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                texts = rows[column.name]
                for whole, short in spelled.items():
                    texts = pc.replace_substring(texts, whole, short)
                rows = rows.set_column(at, column, texts)
    return rows


def _figure_page(svg: str) -> str:
    """A figure by itself, its text in the reader's own colours."""
    style = ":root { color-scheme: light dark; } body { margin: 0; } svg { width: 100%; height: auto; }"
    return f"<!doctype html><html><head><meta charset='utf-8'><style>{style}</style></head><body>{svg}</body></html>"
