"""What a search varies, and what it may."""

from tune.space.ranges import Range, same_spec
from tune.space.space import Space

__all__ = ["Range", "Space", "same_spec"]
