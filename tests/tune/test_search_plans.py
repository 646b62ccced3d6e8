"""What a search shows and refuses before anything is computed."""

import pickle
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from dynonet.config import Config
from lab.console.commands import command_named
from lab.driving import run_command
from lab.machines import session
from lab.machines.nodes import Node
from lab.machines.options import Resources
from lab.pages.formats import counted, duration
from lab.store.tables import Results, run_params
from lab.training.cost import Cost, Memory
from tests.processes import Driver, drivers, gone, lost_ctrl_c
from tests.tune.running import settings_of
from tune import costs, driver
from tune.driver import Search
from tune.progress import params_text
from tune.search import main


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Starts searches in `tmp_path`; none of their processes outlives the test."""
    with drivers("tune.search", tmp_path, "--preset", "smoke") as start:
        yield start


def test_dry_run_shows_the_plan_and_leaves_nothing(begin: Callable[..., Driver], tmp_path: Path) -> None:
    driver = begin("--dry-run", "--results", "out", "--trials", "3", "model.worker_hidden=3")
    assert driver.wait() == 0, driver.said()
    said = driver.said()
    for part in (
        "study smoke in out: 0 trials on record, 0 to resume",
        "3 trials to come x 2 replicates = 6 runs of at most 4 epochs",
        "model.control_hidden",
        "int: 4 to 8",
        "0.001 to 0.01 (log)",
        "objectives val_mse; sampler tpe",
    ):
        assert part in said, said
    assert re.search(r"expected device time: about .* cost what the largest does \(measured on [34] points; ", said), (
        said
    )
    assert "model.worker_hidden" not in said
    assert len(re.findall(r"^  control_hidden=\d lr=0.\d+$", said, re.M)) == 3
    assert [path.name for path in tmp_path.iterdir()] == [driver.log.name]
    assert gone(driver.mark)


def test_the_plan_of_a_study_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four trials of two replicates and the final runs, of four epochs: a second each, two at the largest point."""

    def measured(session: Any, configs: dict[str, Config], identity: Any) -> dict[str, tuple[Cost, Memory, int]]:
        most = max(config.model.control_hidden for config in configs.values())
        seconds = {key: 1.0 + (config.model.control_hidden == most) for key, config in configs.items()}
        return {key: (Cost(0.0, each), Memory(0, 0), 0) for key, each in seconds.items()}

    monkeypatch.setattr(costs, "measure_shapes", measured)
    search = Search(*settings_of("--results", str(tmp_path / "out"), "--trials", "5"))
    search._session = SimpleNamespace(  # type: ignore[assignment]
        resources="2 CPUs, 0 GPUs", gpus=0.0, concurrent=2, auto=False, share=""
    )
    results = Results(tmp_path / "out")
    proposals = search.proposals(results, None)
    done, waiting = proposals.propose(), proposals.propose()
    assert done is not None and waiting is not None
    proposals.finish(done.trial, "complete", [1.0], [(1, 1.0)])
    files = results.storage.list()
    lines = search.plan()
    assert "1 trial on record, 1 to resume" in lines[0] and any(line.startswith("4 trials to come") for line in lines)
    *first, expected = lines[lines.index("first proposals:") + 1 :]
    models = 4 * 2 + search.settings.budget.final_replicates
    assert f"; {duration(models * 4 * 2.0)} if every trial cost what the largest does" in expected
    assert len(first) == len(set(first)) == 3 and first[0] == f"  {params_text(waiting.params, Config)}"
    assert f"  {params_text(done.params, Config)}" not in first and results.storage.list() == files
    # What it shows is what the search then proposes.
    again = search.proposals(results, None)
    assert [f"  {params_text(again.propose().params, Config)}" for _ in range(3)] == first  # type: ignore[union-attr]


def test_the_data_is_put_into_the_object_store_once(monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search(*settings_of())
    put: list[Any] = []
    monkeypatch.setattr(session.ray, "put", lambda value: put.append(value) or f"reference {len(put)}")
    monkeypatch.setattr(session.RaySession, "_connect", lambda self, address, modules: None)
    monkeypatch.setattr(session.ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(session, "living_nodes", lambda: [Node("a", "127.0.0.1", 2.0, 0.0, 1e9)])
    search.start_ray()
    series = search.series
    assert [search.session.data(series.identity) for _ in range(2)] == ["reference 1"] * 2 and put == [series]
    assert "scaled" in vars(pickle.loads(pickle.dumps(search.series))), "scaled once, too"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Has Ray be one machine of 16 CPUs and so many GPUs, without Ray."""

    def pretend(gpus: float) -> None:
        monkeypatch.setattr(session.RaySession, "_connect", lambda self, address, modules: None)
        monkeypatch.setattr(session.ray, "cluster_resources", lambda: {"CPU": 16.0, "GPU": gpus})
        monkeypatch.setattr(session, "living_nodes", lambda: [Node("a", "127.0.0.1", 16.0, gpus, 100e9)])

    return pretend


def test_a_share_that_is_measured_is_in_the_plan_with_its_reason(
    machine: Callable[[float], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a card of 10 GB a trial of two models takes 2 GB: three at once, had they not to take turns."""
    cost, memory = Cost(step=2.0, epoch=1.0, fixed=6.0), Memory(base=0, model=750_000_000, driver=500_000_000)
    took: list[float] = []

    def measured(session: Any, configs: dict[str, Config], identity: Any) -> dict[str, tuple[Cost, Memory, int]]:
        took.append(session.gpus)
        return dict.fromkeys(configs, (cost, memory, 10000000000))

    monkeypatch.setattr(costs, "measure_shapes", measured)
    machine(2.0)
    search = Search(*settings_of("--results", str(tmp_path / "out"), "--trials", "5", "--gpus-per-trial", "auto"))
    search.start_ray()
    plan = "\n".join(search.plan())
    assert "--gpus-per-trial auto: 0.5 of a GPU, 2 at once on each: processes compute on it in turns" in plan
    assert "a trial takes 1 CPU, 0.5 GPUs; 4 at once" in plan and not search.session.auto
    assert search.session.memory_per_trial == 25e9 and took[0] == 1.0, "measured on a card of its own"
    search.start_ray()
    search.session.side_by_side = True
    search.session.settle([costs.need_of(cost, memory, 10_000_000_000, 2)])
    assert search.session.share.endswith("; its memory holds 3 trials") and search.session.concurrent == 6
    needs: list[Any] = []
    costs.settle_share(
        SimpleNamespace(auto=True, gpus=1.0, settle=needs.extend), search.settings, search.series, origins=3
    )  # type: ignore[arg-type]
    assert {need.memory for need in needs} == {0.5e9 + 3 * 2 * 0.75e9}, "each of two seeds at each of three origins"
    few = Resources(gpus_per_trial=0.5, max_concurrent=1)
    assert session.RaySession(few, [search.series]).memory_per_trial == 100e9, "nobody else is there"


def test_without_a_gpu_the_measured_share_is_none(
    machine: Callable[[float], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "expected", lambda *_: None)
    machine(0.0)
    search = Search(*settings_of("--results", str(tmp_path / "out"), "--gpus-per-trial", "auto"))
    search.start_ray()
    plan = search.plan()
    assert "--gpus-per-trial auto: 0, as no GPU is there" in plan
    assert any("a trial takes 1 CPU, 0 GPUs; 16 at once" in line for line in plan)


def refused(capsys: Any, *arguments: str) -> str:
    started = time.monotonic()
    assert main(["--preset", "smoke", *arguments]) == 2
    assert time.monotonic() - started < 60
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and "Traceback" not in said.err and not said.out
    return said.err


def test_a_ctrl_c_that_python_swallows(capsys: Any) -> None:
    assert command_named("tune.search")(lambda _: run_command("tune.search", lost_ctrl_c))() == 130
    assert "Go on with the same command" in capsys.readouterr().err


def test_bad_names_and_values(capsys: Any, tmp_path: Path) -> None:
    out = ("--results", str(tmp_path / "out"))
    assert "'model.worker_hiden'; did you mean 'model.worker_hidden'?" in refused(capsys, *out, "model.worker_hiden=8")
    assert "trials: got 0" in refused(capsys, *out, "--trials", "0")
    assert "study name 'a b'" in refused(capsys, *out, "--study", "a b")
    assert "synthetic" in refused(capsys, *out, "data.seq_len=2000")
    assert not (tmp_path / "out").exists()


def test_overrides_stand_where_they_like(capsys: Any, tmp_path: Path) -> None:
    arguments = [
        "model.dropout=0.3",
        "--trials",
        "0",
        "model.num_layers=2",
        "--results",
        str(tmp_path),
        "model.film=maybe",
    ]
    assert "model.film: got 'maybe'" in refused(capsys, *arguments)


def test_a_space_that_no_proposal_can_be_drawn_from(capsys: Any, tmp_path: Path) -> None:
    def said(text: str, *more: str) -> str:
        (tmp_path / "space.yaml").write_text(text)
        return refused(capsys, "--space", str(tmp_path / "space.yaml"), "--results", str(tmp_path / "out"), *more)

    assert "space: with data.seq_len=2000: synthetic: " in said("data.seq_len: {choice: [32, 2000]}")
    assert "space: data.pred_len: errors at different horizons" in said("data.pred_len: {choice: [8, 16]}")
    few = said("model.num_layers: {int: [1, 2]}\nmodel.worker_hidden: {int: [2, 3]}", "--max-parameters", "9")
    assert "max-parameters: got 9, but the smallest model" in few
    none = said("model.trend: {choice: [false]}\nmodel.workers: {choice: [false]}")
    assert "space: of its values none are allowed together; take other ranges" in none
    assert not (tmp_path / "out").exists()


def test_a_space_with_fewer_points_than_trials_is_used_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "space.yaml").write_text("model.num_layers: {int: [1, 2]}\n")
    arguments = ("--space", str(tmp_path / "space.yaml"), "--results", str(tmp_path / "out"), "--trials", "6")
    asked: list[int] = []

    def trained(self: Search, results: Any, proposals: Any, remaining: int, *rest: Any) -> None:
        asked.append(remaining)
        while (proposal := proposals.propose()) is not None:
            proposals.finish(proposal.trial, "complete", [1.0], [(1, 1.0)])

    monkeypatch.setattr(Search, "_tune", trained)
    monkeypatch.setattr(driver, "expected", lambda *_: None)
    stop = SimpleNamespace(reason=None)
    for first in (True, False):
        search = Search(*settings_of(*arguments))
        search._session = SimpleNamespace(  # type: ignore[assignment]
            resources="", gpus=0.0, concurrent=2, auto=False, share="",
            warm_up=lambda configs, identity: SimpleNamespace(wait=lambda: []),
        )  # fmt: skip
        few = "the space has 2 points in all, and 6 trials are asked for: the search ends when it is used up"
        used_up = "the space is used up: 2 trials on record, 6 asked for, and no other point of it may be trained"
        assert search.few_points() == few, "before anything is on record"
        plan = "\n".join(search.plan())
        assert (few in plan and "2 trials to come" in plan) if first else (used_up in plan and "0 trials to" in plan)
        proposals = search.search(Results(tmp_path / "out"), stop, tmp_path)  # type: ignore[arg-type]
        assert len(proposals.outcomes) == 2 and search.to_come(proposals) == 0 and proposals.best() is not None
        assert used_up in capsys.readouterr().out and asked == [2]
    assert proposals.best() is not None
    finals = search.settings.final_configs(proposals.best().config)  # type: ignore[union-attr]
    row = run_params(finals[0]) | {"run": finals[0].run_id(search.series.identity), "attempt": 1, "status": "complete"}
    Results(tmp_path / "out").add("runs", [row])
    assert f"then {counted(len(finals) - 1, 'final run')}" in "\n".join(search.plan()), "one is on record"
    assert Search(*settings_of(*arguments[:-1], "2")).few_points() == ""


def test_a_folder_that_cannot_be_written(capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is no folder" in refused(capsys, "--results", str(tmp_path / "file" / "out"))
    assert "cannot open storage 'nowhere://x'" in refused(capsys, "--results", "nowhere://x")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_more_than_this_machine_has(begin: Callable[..., Driver], tmp_path: Path) -> None:
    driver = begin("--results", "out", "--gpus-per-trial", "1")
    assert driver.wait() == 2, driver.said()
    assert driver.said().splitlines()[1:] == ["error: a trial asks for 1 GPUs, and this machine has 0"]
    assert not Results(tmp_path / "out").studies() and gone(driver.mark)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1'"),
        ("ray://127.0.0.1:1", "address 'ray://127.0.0.1:1' is one of Ray Client"),
    ],
)
def test_a_cluster_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, said: str
) -> None:
    started = time.monotonic()
    assert main(["--preset", "smoke", "--results", str(tmp_path / "out"), "--address", address]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}") and time.monotonic() - started < 60
    assert not Results(tmp_path / "out").studies()
