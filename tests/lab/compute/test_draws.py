"""The generator: known answers, even draws, streams of their own, and no model that sees its neighbours."""

import itertools

import pytest
import torch
from torch import Tensor

from dynonet.network.purposes import Purpose as Own
from lab.compute.draws import (
    Draws,
    EpochDraws,
    Key,
    Purpose,
    permutations,
    random_bits,
    seed_keys,
    stream,
    substream,
    threefry,
    uniform,
)


def words(*values: int) -> list[Tensor]:
    return [torch.tensor([value], dtype=torch.int64).to(torch.uint32).view(torch.int32) for value in values]


@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
@pytest.mark.parametrize("kernel", ["auto", "torch"])
def test_known_answers_of_random123(
    key: tuple, counter: tuple, expected: tuple, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By NumPy, and by torch's operations, which a GPU takes."""
    monkeypatch.setenv("DYNONET_KERNEL", kernel)
    k0, k1 = words(*key)
    got = threefry((k0, k1), *words(*counter))
    assert tuple(int(word) & 0xFFFFFFFF for word in got) == expected


def test_seed_keys_take_all_64_bits() -> None:
    seeds = [0, 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 12345]
    low, high = seed_keys(torch.tensor(seeds))
    assert low.dtype == high.dtype == torch.int32
    both = zip(low.tolist(), high.tolist(), strict=True)
    assert [(a & 0xFFFFFFFF) | ((b & 0xFFFFFFFF) << 32) for a, b in both] == seeds


def test_uniform_draws_are_even_and_exact() -> None:
    draws = uniform(seed_keys(torch.tensor([3, 4])), (300, 333)).double()
    assert draws.shape == (2, 300, 333)
    assert draws.min() >= 0
    assert draws.max() < 1
    assert torch.equal(draws * 2**24, (draws * 2**24).round())
    for model in draws.flatten(1):
        counts = torch.histc(model, bins=50, min=0, max=1)
        chi_square = ((counts - len(model) / 50).square() / (len(model) / 50)).sum()
        assert 20 < chi_square < 95  # 49 degrees of freedom: outside with a probability of 1e-4
        pairs = torch.corrcoef(torch.stack([model[:-1], model[1:]]))[0, 1]
        assert abs(pairs) < 0.015
    assert abs(torch.corrcoef(draws.flatten(1))[0, 1]) < 0.015


@pytest.mark.filterwarnings("ignore:DYNONET_KERNEL=torch")
def test_the_compiled_generator_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd and even counts; all 64 bits of a seed."""
    keys = seed_keys(torch.tensor([0, 3, 2**31, 2**63 - 1, -1]))
    shapes = [(1,), (2,), (7, 3), (4095,), (4096,), (5, 101, 17)]
    monkeypatch.setenv("DYNONET_KERNEL", "torch")
    plain = [uniform(keys, shape) for shape in shapes]
    monkeypatch.setenv("DYNONET_KERNEL", "compiled")
    assert all(torch.equal(uniform(keys, shape), values) for shape, values in zip(shapes, plain, strict=True))
    later = uniform((keys[0][1:4:2], keys[1][1:4:2]), (101,))  # words that do not lie together
    assert torch.equal(later, uniform(keys, (101,))[1:4:2])


PLACES = ((4,), (6,), (5, 0), (5, 1), (7, 0), (7, 1))  # a purpose, or a purpose and a layer


def test_the_table_of_an_epoch_holds_the_keys_of_every_step() -> None:
    keys = seed_keys(torch.tensor([0, 5, 2**40]))
    table = EpochDraws.of(keys, 3, 4, PLACES)
    for step in range(4):
        one, drawn = Draws(keys, 3, step), table.at(torch.tensor([step]))
        for place in PLACES:
            words = torch.stack(one.stream(*place))
            assert torch.equal(torch.stack(drawn.stream(*place)), words)
            assert torch.equal(torch.stack(drawn.models(slice(1, 3)).stream(*place)), words[:, 1:])
    with pytest.raises(KeyError):
        table.at(torch.tensor([0])).stream(5, 2)


def test_every_bit_is_fair() -> None:
    bits = random_bits(seed_keys(torch.tensor([9])), (20_000,))[0].long()
    share = torch.stack([(bits >> place) & 1 for place in range(32)]).double().mean(1)
    assert (share - 0.5).abs().max() < 0.018  # five deviations


def places(keys: Key) -> dict[tuple, Key]:
    """Every kind of place that training draws at."""
    found: dict[tuple, Key] = {}
    for purpose, epoch, step in itertools.product(range(1, 12), (1, 2, 3), (0, 1, 2)):
        found[purpose, epoch, step] = stream(keys, purpose, epoch, step)
        found |= {
            (purpose, epoch, step, "layer", i): substream(stream(keys, purpose, epoch, step), i) for i in range(3)
        }
    return found


def test_every_place_has_a_stream_of_its_own() -> None:
    streams = places(seed_keys(torch.tensor([1, 2])))
    keys = torch.stack([torch.stack(key) for key in streams.values()])  # (places, word, model)
    pairs = {tuple(pair) for model in range(2) for pair in keys[:, :, model].tolist()}
    assert len(pairs) == 2 * len(streams)
    firsts = {tuple(uniform(key, (4,))[0].tolist()) for key in streams.values()}
    assert len(firsts) == len(streams)


def test_a_draw_does_not_depend_on_neighbours_or_place() -> None:
    seeds = [5, 2**40, 7, 5]
    for shape in ((1,), (7,), (3, 5)):
        stack = uniform(stream(seed_keys(torch.tensor(seeds)), Purpose.DROPOUT, 3, 2), shape)
        for place, seed in enumerate(seeds):
            alone = uniform(stream(seed_keys(torch.tensor([seed])), Purpose.DROPOUT, 3, 2), shape)
            assert torch.equal(stack[place], alone[0])


def test_permutations_are_whole_and_their_own() -> None:
    orders = permutations(seed_keys(torch.tensor([1, 2])), 101)
    for order in orders:
        assert torch.equal(order.sort().values, torch.arange(101))
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[1], permutations(seed_keys(torch.tensor([2])), 101)[0])
    first = torch.cat([permutations(seed_keys(torch.arange(k, k + 1000)), 5)[:, 0] for k in (0, 5000)])
    assert torch.bincount(first, minlength=5).sub(400).abs().max() < 90  # five deviations


def test_purposes_are_never_renumbered() -> None:
    assert {each.name: each.value for each in Purpose} == {"INITIAL": 1, "BATCHES": 9, "DROPOUT": 10, "TORCH": 11}
    assert [(each.name, each.value) for each in Own] == [
        ("INITIAL", 1), ("WORKER_BATCHES", 2), ("CONTROLLER_BATCHES", 3), ("FREEZE", 4), ("WORKER_DROPOUT", 5),
        ("MIXER_DROPOUT", 6), ("WORKER_DROPOUT_CONTROLLER", 7), ("MIXER_DROPOUT_CONTROLLER", 8),
    ]  # fmt: skip
