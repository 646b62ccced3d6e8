"""Before compute is spent: which comparisons of a study are dead? (See lab.training.liveness for how that is found.)"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ablations.study.pieces import Comparison
from ablations.study.study import Study
from lab.series import Series
from lab.training.liveness import Liveness, compare, probe


def check_liveness(
    study: Study, series: Mapping[str, Series], cells: Collection[str] | None = None, seed: int | None = None
) -> list[Liveness]:
    """Each comparison of the study in each cell, in the order of the arms.

    A cell at several origins is looked at where training ends last. What is alive there is taken to be so at its other
    origins, for the same settings learn there from the same series; what is inert there is looked at in each.

    Args:
        series: by cell.
        cells: all by default.
        seed: the study's first by default.
    """
    seed = study.seed_list(1)[0] if seed is None else seed
    asked = study.cell_names if cells is None else tuple(cells)
    latest = {study.places[cell].listed: cell for cell in asked}  # an earlier origin comes first
    found = {cell: _in_cell(study, cell, study.comparisons_in(cell), series[cell], seed) for cell in latest.values()}
    for cell in asked:
        if cell not in found:
            there = {liveness.arm: liveness for liveness in found[latest[study.places[cell].listed]]}
            alive = {name for name, liveness in there.items() if not liveness.inert}
            comparisons = study.comparisons_in(cell)
            again = [each for each in comparisons if each.name not in alive]
            here = {liveness.arm: liveness for liveness in _in_cell(study, cell, again, series[cell], seed)}
            found[cell] = [here.get(each.name) or replace(there[each.name], cell=cell) for each in comparisons]
    return [liveness for cell in asked for liveness in found[cell]]


def _in_cell(study: Study, cell: str, comparisons: Sequence[Comparison], series: Series, seed: int) -> list[Liveness]:
    names = list(dict.fromkeys(arm for c in comparisons for arm in (c.with_part, c.without)))
    configs = {name: study.config(cell, name, seed) for name in names}
    probes = dict(zip(names, probe(list(configs.values()), series), strict=True))
    found = []
    for comparison in comparisons:
        arm, against = comparison.name, comparison.arm.against
        pair = configs[arm], configs[against]
        found.append(compare(study.table[arm], against, cell, pair, (probes[arm], probes[against])))
    return found


def dead_factors(study: Study, series: Mapping[str, Series]) -> list[Liveness]:
    """Factors of a factorial that change nothing in some cell, whatever the others are; each with a pair to show it."""
    seed, dead = study.seed_list(1)[0], []
    for cell in study.cell_names if study.factors else ():
        configs = {arm: study.config(cell, arm, seed) for arm in study.combinations.values()}
        probes = dict(zip(configs, probe(list(configs.values()), series[cell]), strict=True))
        for factor in study.factors:
            found = []
            for off, arm in study.combinations.items():
                if factor.name in off:
                    on = study.combinations[tuple(name for name in off if name != factor.name)]
                    pair = configs[arm], configs[on]
                    found.append(compare(study.table[arm], on, cell, pair, (probes[arm], probes[on])))
            if all(liveness.inert for liveness in found):
                dead.append(found[0])
    return dead
