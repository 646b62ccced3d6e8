"""What a report could not read, so that nobody takes its numbers for those of all the records."""

from collections.abc import Sequence

from lab.pages.blocks import Item, Section, items, section
from lab.pages.formats import counted

SHOWN = 100


def skipped_note(skipped: Sequence[str]) -> list[str]:
    """A sentence for the top of a page; none where all was read. `skipped`: lines of `path: reason`."""
    if not skipped:
        return []
    return [
        f"{counted(len(skipped), 'object')} of the records could not be read and is in no number here; each is named "
        "under Passed over."
    ]


def skipped_section(skipped: Sequence[str]) -> Section | None:
    more = [Item(f"and {len(skipped) - SHOWN} more")] if len(skipped) > SHOWN else []
    return section("Passed over", "skipped", [items([*map(Item, skipped[:SHOWN]), *more])])
