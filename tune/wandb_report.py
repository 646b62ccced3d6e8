"""A page as a W&B report: the sections of the local page word by word, and W&B's own panels over the study's runs.

Figures are media of one W&B run of the study, its report run, which the local page's Parquet files go along with. A
report that was made once is updated: its id is kept with the study.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynonet.errors import ConfigError
from tune.pages.blocks import Block, Drawing, Items, Section, Table, Text
from tune.pages.page import Page, markdown

os.environ.setdefault("WANDB_SILENT", "true")

import wandb_workspaces.reports.v2 as wr  # noqa: E402  (silent from its first word on)

REPORT_JOB = "report"  # job_type of the run that holds figures and files
FIGURES = "figures"  # first part of the keys under which figures are logged
EFFECTS = "table"  # key under which the study's table is logged
_TALL, _WIDE = 10, 24  # of a panel, in units of W&B's grid


@dataclass(frozen=True)
class Panels:
    """W&B's own panels, after the section of the page that they belong to."""

    after: str  # id of a section; "" for the end
    title: str
    panels: tuple[Any, ...]
    groupby: str | None = None  # a key of the runs' config
    job_types: tuple[str, ...] = ()  # none: every run of the study but its report run


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
            drawings = [block for block in section.blocks if isinstance(block, Drawing)]
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
        runset = _runset(self.study, panels.title, panels.job_types, panels.groupby)
        return wr.PanelGrid(runsets=[runset], panels=list(panels.panels))

    def specification(self, entity: str, project: str) -> str:
        """The report as W&B takes it, as JSON. No network is touched."""
        model = self.build(entity, project)._to_model()
        return json.dumps(model.model_dump(mode="json", by_alias=True, exclude_none=True), indent=1) + "\n"


def split_destination(text: str) -> tuple[str, str]:
    """`ENTITY/PROJECT` in its parts. Raises ConfigError for anything else."""
    entity, slash, project = text.partition("/")
    if not slash or not entity or not project or "/" in project:
        raise ConfigError(f"--wandb: got '{text}', ENTITY/PROJECT is needed, such as my-team/dynonet")
    return entity, project


def figure_key(section: Section, number: int) -> str:
    return f"{FIGURES}/{section.id}-{number}"


def _section_blocks(study: str, section: Section) -> list[Any]:
    blocks: list[Any] = []
    number = 0
    for block in section.blocks:
        if isinstance(block, Drawing):
            number += 1
            panel = wr.MediaBrowser(
                title=block.caption[:120], media_keys=[figure_key(section, number)], num_columns=1,
                layout=wr.Layout(x=0, y=0, w=_WIDE, h=2 * _TALL),
            )  # fmt: skip
            blocks.append(wr.PanelGrid(runsets=[_runset(study, "figures", (REPORT_JOB,))], panels=[panel]))
        else:
            blocks.append(_block(block))
    return blocks


def _block(block: Block) -> Any:
    if isinstance(block, Text):
        return wr.CalloutBlock(block.text) if block.tone == "banner" else wr.P(block.text)
    if isinstance(block, Items):
        return wr.UnorderedList(
            [" ".join(filter(None, (f"[{i.badge}]" if i.badge else "", i.name, i.text))) for i in block.items]
        )
    assert isinstance(block, Table)
    return wr.MarkdownBlock(_markdown_table(block))


def _markdown_table(table: Table) -> str:
    rules = ["---" if place < table.words else "---:" for place in range(len(table.header))]
    rows = [[markdown(cell) for cell in row] for row in (table.header, *table.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rules, *rows[1:])]
    return "\n".join([*([f"**{markdown(table.caption)}**", ""] if table.caption else []), *lines])


def _runset(study: str, name: str, job_types: Sequence[str], groupby: str | None = None) -> wr.Runset:
    """The runs of the study, of some job types or of all but its report run."""
    filters = f'Metric("Group") == {json.dumps(study)}'
    if job_types:
        filters += f' and Metric("JobType") in {json.dumps(list(job_types))}'
    else:
        filters += f' and Metric("JobType") != "{REPORT_JOB}"'
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
    return wr.ParallelCoordinatesPlot(
        columns=columns, title=title, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL)
    )


def importance(metric: str) -> Any:
    return wr.ParameterImportancePlot(
        with_respect_to=metric, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL)
    )


def comparer() -> Any:
    return wr.RunComparer(diff_only=True, layout=wr.Layout(x=0, y=0, w=_WIDE, h=_TALL))
