"""Seeds of two purposes never meet, and are the numbers that records of before have."""

from lab import seeds


def test_the_numbers_stay() -> None:
    assert seeds.replicates(12345, 3) == (12345, 12346, 12347)
    assert seeds.finals(12345, 2) == (13345, 13346)
    assert seeds.counted(4) == (1, 2, 3, 4) and seeds.RETUNE == 10_000


def test_what_chooses_and_what_judges_never_meet() -> None:
    most = seeds.FINAL  # replicates that a search takes at most
    assert seeds.meeting(seeds.replicates(7, most), seeds.finals(7, most)) == []
    assert seeds.meeting(seeds.replicates(seeds.RETUNE, most), seeds.counted(60)) == []
    assert seeds.meeting((5, 3, 1), (1, 2, 3)) == [1, 3]
