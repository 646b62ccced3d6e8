"""The tables of an epoch: the schedule, and what models that stay keep of them."""

import math

import pytest
import torch

from dynonet.learning.epoch_plan import EpochPlan
from dynonet.reference.small import small_config
from lab.compute.draws import seed_keys
from lab.training.schedule import schedule


def plan_of(seeds: list[int], epoch: int = 1, order: str = "shuffled") -> EpochPlan:
    training = [small_config(seed=seed, controller_order=order).training for seed in seeds]
    keys = seed_keys(torch.tensor(seeds))
    return EpochPlan.of(training, keys, epoch, torch.arange(70), torch.arange(100, 140), 2, torch.float32)


def tables(plan: EpochPlan) -> list[torch.Tensor]:
    return [plan.batches, plan.held_out, plan.factors, plan.draws.words]


def test_cosine_schedule() -> None:
    configs = [small_config(max_epochs=4), small_config(schedule="constant"), small_config(max_epochs=9, seed=2)]
    steps = 7
    factors = torch.cat([schedule([config.training for config in configs], epoch, steps) for epoch in range(1, 5)])
    for done, (cosine, constant, longer) in enumerate(factors.tolist()):
        assert cosine == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi * done / (4 * steps))) / 2)
        assert longer == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi * done / (9 * steps))) / 2)
        assert constant == 1
    assert factors[0, 0] == 1
    assert 0.01 < factors[-1, 0] < 0.02


def test_a_model_has_the_same_plan_in_any_stack() -> None:
    for order in ("shuffled", "in_order"):
        stack = plan_of([1, 2, 3], order=order)
        for place, seed in enumerate([1, 2, 3]):
            alone = plan_of([seed], order=order)
            part = stack.models(torch.tensor([place]))
            for mine, theirs in zip(tables(part), tables(alone), strict=True):
                assert torch.equal(mine, theirs)
            assert part.held_out_sizes == alone.held_out_sizes


def test_the_next_epoch_takes_the_memory_of_the_one_before() -> None:
    first, second = plan_of([1, 2]).clone(), plan_of([1, 2], epoch=2)
    addresses = [table.data_ptr() for table in tables(first)]
    assert not torch.equal(first.batches, second.batches)
    first.copy_(second)
    assert [table.data_ptr() for table in tables(first)] == addresses
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(tables(first), tables(second), strict=True))


def test_a_short_batch_in_order_is_filled_up() -> None:
    plan = plan_of([1, 2], order="in_order")
    assert plan.held_out_sizes == (16, 16, 8, 16)[: len(plan.held_out_sizes)]
    assert plan.held_out[2, :, :8].tolist() == [list(range(132, 140))] * 2
