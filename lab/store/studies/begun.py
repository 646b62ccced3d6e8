"""What was begun with a study and is not finished: a mark in the results, until it is."""

import json
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

from lab.store.objects.checksums import plain
from lab.store.objects.lease import Lease
from lab.store.schema import ResultsError, is_study
from lab.store.tables import Results

FOLDER = "upkeep"
OF_STUDY = ".retune."  # in the names of searches that are a study's own
DELETE, RENAME = "delete", "rename"


@dataclass(frozen=True)
class Begun:
    """One of the two, of a study."""

    what: str  # DELETE or RENAME
    study: str
    to: str = ""  # its new name

    @property
    def text(self) -> str:
        ends = "deleted" if self.what == DELETE else f"renamed to '{self.to}'"
        command = f"python -m lab.results {self.what} {self.study}{self.to and f' {self.to}'}"
        return f"study '{self.study}' is being {ends}, and that was not finished; finish it first: {command}"


def begun(results: Results) -> list[Begun]:
    """What is not finished."""
    paths = {plain(path) for path in results.storage.list(FOLDER)}
    found = [results.read_blob(path, _begun) for path in sorted(paths)]
    return [each for each in found if each is not None]


def check_whole(results: Results, study: str, but: Begun | None = None) -> None:
    """Raises ResultsError for a study that is being deleted or renamed, or that is to come of one."""
    for each in begun(results):
        if each != but and study in (each.study, each.to):
            raise ResultsError(each.text)


def own_searches(results: Results, study: str) -> list[str]:
    """The searches that a study with re-tuning has put on record under names of its own."""
    return [name for name in results.studies() if name.startswith(f"{study}{OF_STUDY}")]


@contextmanager
def held(results: Results, studies: Collection[str]) -> Iterator[None]:
    """No driver works on these meanwhile. Raises LeaseHeld where one does."""
    with ExitStack() as leases:
        for name in sorted(set(studies)):
            leases.enter_context(Lease(results.storage, name))
        yield


@contextmanager
def marked(results: Results, what: Begun) -> Iterator[None]:
    """There is a mark until the block is through; one that raises leaves it."""
    path = f"{FOLDER}/{what.study}.json"
    results.replace_blob(path, json.dumps(asdict(what)).encode())
    yield
    results.delete_blob(path)


def _begun(data: bytes) -> Begun:
    found = Begun(**json.loads(data))
    if found.what not in (DELETE, RENAME) or not is_study(found.study) or not (is_study(found.to) or not found.to):
        raise ValueError("no mark of ours")
    return found
