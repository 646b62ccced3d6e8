"""The share of a GPU that is chosen: what fills the card, and what it and its machine can hold."""

import pytest

from lab.machines.card.share import MEMORY_SHARE, Beside, Need, choose
from lab.machines.nodes import Node
from lab.training.cost import Cost

CARD = 80e9
ROOMY = [Beside(cpus=64, memory=1e12)]


def published(models: int) -> float:
    """How far a stack at the published setting fills an H100: steps of 1 and of 4 models took 9.78 and 16.7 ms."""
    cost = Cost(step=16.7 / 4, epoch=1.0, fixed=(4 * 9.78 - 16.7) / 3)
    return cost.fill(models)


def test_steps_say_how_many_trials_fill_a_card() -> None:
    grows = (16.7 - 9.78) / 3  # ms, of each further model
    assert published(64) == pytest.approx(64 * grows / (9.78 - grows + 64 * grows)) and published(64) > 0.9
    found = {n: choose([Need(1e9, CARD, published(n))], ROOMY, 1, side_by_side=True).trials for n in (1, 2, 8, 64)}
    assert found == {1: 5, 2: 3, 8: 2, 64: 2}
    assert Cost(step=0.0, epoch=0.0, fixed=1.0).fill(4) == 0 and Cost(step=1.0, epoch=0.0).fill(4) == 1


@pytest.mark.parametrize(
    ("need", "beside", "cpus", "trials", "reason"),
    [
        (Need(1e9, CARD, 0.0), ROOMY, 1, 16, "a trial fills it in 0% of a step's time, as measured"),
        (Need(1e9, CARD, 1.0), ROOMY, 1, 1, "a trial fills it in 100% of a step's time, as measured"),
        (Need(1e9, CARD, 1 / 6), ROOMY, 1, 6, "a trial fills it in 17% of a step's time, as measured"),
        (Need(1e9, CARD, 0.1, host=3e9), [], 1, 10, "a trial fills it in 10% of a step's time, as measured"),
        (Need(CARD * MEMORY_SHARE / 3, CARD, 0.1), ROOMY, 1, 3, "; its memory holds 3 trials"),
        (Need(2 * CARD, CARD, 0.1), ROOMY, 1, 1, "; its memory holds 0 trials"),
        (Need(1e9, CARD, 0.1), [Beside(4, 1e12), Beside(7, 1e12)], 2, 3, "; the machine's CPUs feed 3 trials"),
        (Need(1e9, CARD, 0.1, host=3e9), [*ROOMY, Beside(64, 20e9)], 1, 4, "; the machine's memory holds 4 trials"),
        (Need(1e9, 0, 0.5), ROOMY, 0, 2, "a trial fills it in 50% of a step's time, as measured"),
    ],
)
def test_it_is_bounded_by_what_there_is(
    need: Need, beside: list[Beside], cpus: float, trials: int, reason: str
) -> None:
    share = choose([need], beside, cpus, side_by_side=True)
    assert share.trials == trials and share.reason.endswith(reason), share.text()
    assert Node("a", "", 64, 1, 1e12).fits(0, share.gpus) == trials, "as Ray counts"


def test_of_several_trials_their_mean_step_is_filled_and_the_largest_fits() -> None:
    small, often = Need(1e9, CARD, 0.2), Need(1e9, CARD, 0.05)
    assert choose([small, often], ROOMY, 1, side_by_side=True).trials == 8
    large = Need(CARD * MEMORY_SHARE / 3, CARD, 0.05)
    assert choose([small, large], ROOMY, 1, side_by_side=True).trials == 3


def test_where_processes_take_turns_two_of_them_feed_the_card() -> None:
    share = choose([Need(1e9, CARD, 0.1)], ROOMY, 1, side_by_side=False)
    assert share.gpus == 0.5 and "in turns without MPS, and a trial fills it in 10%" in share.text()
