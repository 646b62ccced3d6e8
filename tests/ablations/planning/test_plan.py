"""The plan: which runs, in which stacks, and what it refuses."""

from pathlib import Path
from typing import Any

import pytest

from ablations.planning.plan import Plan, Room, Work, live_hypotheses, make_plan, write_configs
from ablations.study.reading import create_study, load_study, with_settings
from ablations.study.study import Study
from dynonet.config import Config, DataConfig
from lab.errors import ConfigError
from lab.training.trainer import stack_key

SMALL: dict[str, Any] = {
    "name": "mine",
    "question": "What are these parts for?",
    "arms": ["no_film", "no_mixer", "shared_worker"],
    "seeds": 7,
    "baseline": {"training.max_epochs": 5},
}


def study(**fields: Any) -> Study:
    return create_study({**SMALL, **fields})


def checksum(data: DataConfig) -> str:
    return data.dataset


def planned(study: Study, *args: Any, **kwargs: Any) -> Plan:
    room = Room(**{name: kwargs.pop(name) for name in Room.__annotations__ if name in kwargs})
    begun = kwargs.pop("begun", ())
    return make_plan(Work.of(study, checksum, **kwargs), *args, begun=begun, room=room)


def test_arms_by_cells_by_seeds() -> None:
    plan = planned(study(seeds=8, cells={"a": {}, "b": {"data.pred_len": 24}}))
    assert len(plan.runs) == plan.distinct == plan.to_train == 4 * 2 * 8
    assert {(r.arm, r.cell, r.seed) for r in plan.runs} == {
        (arm, cell, seed)
        for arm in ("full", "no_film", "no_mixer", "shared_worker")
        for cell in "ab"
        for seed in range(1, 9)
    }
    assert plan.family == 6
    for run in plan.runs:
        assert run.run == run.config.run_id("synthetic")
        assert run.config == study(seeds=8, cells={"a": {}, "b": {"data.pred_len": 24}}).config(
            run.cell, run.arm, run.seed
        )


def test_stacks_hold_one_shape_each_and_are_of_nearly_equal_size() -> None:
    plan = planned(study(), stack_size=6)
    for stack in plan.stacks:
        assert len({stack_key(run.config) for run in stack.runs}) == 1
    assert [len(stack.runs) for stack in plan.stacks] == [5, 5, 5, 6, 3, 4]  # 21 of one shape, 7 shared workers
    first = plan.stacks[0].runs
    assert [(run.arm, run.seed) for run in first[:3]] == [("full", 1), ("no_film", 1), ("no_mixer", 1)]
    assert sorted(run.run for stack in plan.stacks for run in stack.runs) == sorted(run.run for run in plan.runs)


@pytest.mark.parametrize(("devices", "fits", "largest"), [(1, 16, 11), (1, 100, 21), (4, 16, 7), (100, 16, 1)])
def test_the_size_of_stacks_follows_memory_and_devices(devices: int, fits: int, largest: int) -> None:
    plan = planned(study(), devices=devices, fits=fits)
    assert max(len(stack.runs) for stack in plan.stacks) == largest


def test_no_device_waits_while_another_trains_the_last_stack() -> None:
    runs = study(arms=["no_film", "no_mixer", "no_revin", "no_context"], seeds=8)  # 40 runs of one shape
    assert [len(stack.runs) for stack in planned(runs, devices=2, fits=16).stacks] == [10, 10, 10, 10]
    assert [len(stack.runs) for stack in planned(runs, devices=3, fits=16).stacks] == [13, 13, 14]
    assert [len(stack.runs) for stack in planned(runs, devices=2, stack_size=16).stacks] == [13, 13, 14], "as asked"


def test_a_stack_that_was_begun_stays_together_with_those_of_it_that_are_done() -> None:
    first = planned(study(), stack_size=6)
    stack = [run.run for run in first.stacks[0].runs]
    done = {stack[1], first.stacks[1].runs[0].run}
    plan = planned(study(), done, stack_size=6, begun=[stack, ["a run of another study"]])
    assert [run.run for run in plan.stacks[0].runs] == stack
    rest = [run.run for each in plan.stacks[1:] for run in each.runs]
    assert sorted([*rest, *stack]) == sorted({run.run for run in plan.runs} - {first.stacks[1].runs[0].run})
    assert plan.to_train == 28 - 2
    assert planned(study(), set(stack), stack_size=6, begun=[stack]).to_train == 28 - len(stack)


def test_what_is_on_record_is_not_trained_again() -> None:
    everything = planned(study())
    done = {run.run for run in everything.runs if run.arm != "no_mixer"}
    plan = planned(study(), {*done, "a run of another study"})
    assert plan.recorded == done
    assert {run.arm for stack in plan.stacks for run in stack.runs} == {"no_mixer"}
    assert planned(study(), {run.run for run in everything.runs}).stacks == ()
    assert "nothing is left to train" in planned(study(), {run.run for run in everything.runs}).text()


def test_arms_that_coincide_are_trained_once() -> None:
    own = {"name": "without_film", "claim": "the same by another name", "overrides": {"model.film": False}}
    plan = planned(study(arms=["no_film", own]))
    assert (len(plan.runs), plan.distinct, plan.to_train) == (21, 14, 14)
    by_arm = {arm: [r.run for r in plan.runs if r.arm == arm] for arm in ("no_film", "without_film")}
    assert by_arm["no_film"] == by_arm["without_film"]


def test_inert_arms_are_not_trained_unless_another_needs_them() -> None:
    arms = study(arms=["no_film", "no_lr_scale"], seeds=6)
    with pytest.raises(ConfigError, match="take at least 7 seeds"):
        planned(arms)
    plan = planned(arms, inert=[("no_lr_scale", "main")])
    assert {run.arm for run in plan.runs} == {"full", "no_film"}
    assert plan.family == 1
    assert "inert, not trained: no_lr_scale (cell main)" in plan.text()
    asked = planned(arms, inert=[("no_lr_scale", "main")], train_inert=True)
    assert {run.arm for run in asked.runs} == {"full", "no_film", "no_lr_scale"}
    assert asked.family == 1
    assert "inert, but trained: no_lr_scale (cell main)" in asked.text()
    needed = study(arms=["no_film", "no_lr_scale"], pairs=[{"arm": "no_film", "against": "no_lr_scale"}])
    plan = planned(needed, inert=[("no_lr_scale", "main")])
    assert {run.arm for run in plan.runs} == {"no_lr_scale", "no_film"}


def test_a_further_look_adds_seeds_for_what_is_undecided_alone() -> None:
    auto = study(seeds="auto", max_seeds=12, looks=2)
    first = planned(auto)
    assert (first.seeds, first.looks) == (tuple(range(1, 9)), (8, 12))
    recorded = {run.run for run in first.runs}
    second = planned(auto, recorded, seeds=12, wanted=[("no_mixer", "main")])
    trained = [(run.arm, run.seed) for stack in second.stacks for run in stack.runs]
    assert sorted(trained) == [(arm, seed) for arm in ("full", "no_mixer") for seed in range(9, 13)]
    assert second.family == first.family == 3


def test_a_factorial_is_trained_whole() -> None:
    factorial = load_study("factorial")
    plan = planned(factorial)
    assert len(plan.runs) == 8 * 9
    assert live_hypotheses(factorial)[-1] == ("no_film x no_gate_masks x no_bilevel", "main")
    some = planned(factorial, wanted=[("no_film x no_bilevel", "main")])
    assert len(some.runs) == 8 * 9
    assert planned(factorial, wanted=[]).runs == ()


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"5 seeds cannot reach significance.*take at least 10 seeds"):
        planned(with_settings(load_study("parts"), changes={"seeds": 5}))


def test_arguments_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        planned(study(), stack_size=0)


def test_the_text_of_a_dry_run() -> None:
    def seconds(config: Config) -> float:
        return 2.0 if config.model.worker_scope == "channel" else 4.0

    plan = planned(study(), epoch_seconds=seconds, stack_size=16)
    assert plan.seconds == 5 * (21 * 2 + 7 * 4)
    assert plan.text(2, "other").startswith("study other: What are")
    assert plan.text(2).splitlines() == [
        "study mine: What are these parts for? (on synthetic; H=96)",
        "4 arms x 1 cell x 7 seeds: 28 runs, 28 different ones, 0 on record, 28 to train",
        "3 comparisons of test_mse at alpha 0.05 (Holm): 7 seeds reach p 0.016, 0.017 is needed",
        "  2 stacks of 10 to 11 models: synthetic S=336 H=96, K=64 D=8 L=1, batches of 512",
        "  1 stack of 7 models: synthetic S=336 H=96, K=64 D=8 L=1, gru workers shared by the channels, batches of 512",
        "expected device time: at most 5.8 min, 2.9 min on 2 devices (early stopping saves some)",
    ]
    assert "unknown, no step was measured" in planned(study()).text()


def test_configs_are_written_out_as_they_will_be_trained(tmp_path: Path) -> None:
    mine = study(cells={"a": {}, "b": {"data.pred_len": 24}}, seeds=8)
    paths = write_configs(mine, tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in paths} == {
        f"{cell}/{arm}.yaml" for cell in "ab" for arm in mine.table
    }
    for path in paths:
        assert Config.from_yaml(path) == mine.config(path.parent.name, path.stem, 1)
    assert "#   model.film: True -> False" in (tmp_path / "b" / "no_film.yaml").read_text()


def test_a_claim_of_two_lines_is_no_setting(tmp_path: Path) -> None:
    own = {"name": "wide", "claim": "wider is better\nmodel.mixer: false", "overrides": {"model.worker_hidden": 9}}
    mine = create_study({**SMALL, "arms": [{**own, "removes": "x\nmodel.film: false"}]})
    for path in write_configs(mine, tmp_path):
        assert Config.from_yaml(path) == mine.config("main", path.stem, 1)
