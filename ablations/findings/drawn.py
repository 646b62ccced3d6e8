"""Of a comparison one side of which starts from a closed form and the other from drawn weights: how long the latter was
trained. What a start from drawn weights came to in a few epochs says little of what it would come to in many."""

from collections.abc import Sequence

from ablations.findings.findings import Drawn
from ablations.findings.runs import Recorded, Sides
from ablations.study.models import MODELS
from lab.registry import forecaster_of


def drawn_side(recorded: Recorded, sides: Sides, cell: str, seeds: Sequence[int]) -> Drawn | None:
    """None where both sides start alike, or where other models are compared, whose starts are their own."""
    study = recorded.study
    if study.kind == MODELS:
        return None
    closed, drawn = _closed(recorded, sides.without, cell), _closed(recorded, sides.with_part, cell)
    if len(closed) == len(drawn):
        return None
    arms = [arm for arm in (*sides.without, *sides.with_part) if arm not in {*closed, *drawn}]
    trainings = [study.config(cell, arm).training for arm in arms]
    rows = [recorded.row(arm, cell, seed) for arm in arms for seed in seeds]
    ended = [row for row in rows if row.get("status") == "complete" and row.get("epochs")]
    return Drawn(
        epochs=max(each.max_epochs for each in trainings), rate=max(each.lr for each in trainings),
        unfinished=sum(row.get("best_epoch") == row["epochs"] for row in ended), runs=len(ended),
    )  # fmt: skip


def _closed(recorded: Recorded, arms: Sequence[str], cell: str) -> list[str]:
    """The arms that do."""
    configs = {arm: recorded.study.config(cell, arm) for arm in arms}
    return [arm for arm, config in configs.items() if forecaster_of(config).starts_closed(config)]
