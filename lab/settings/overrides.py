"""Settings by dotted key, and how the value of `section.key=value` is read: by the type of the setting, and text as it
was typed."""

import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from lab.settings.yaml import YamlError, parse


def typed(value: str, annotation: Any) -> Any:
    """The value of a setting with that type.

    Text is taken as it is typed, and so are the items of a list of texts, `[a, "b, c"]`, or of texts and numbers,
    `[?, -9999]`; `null` unsets what may be unset. Anything else is YAML. Raises YamlError.
    """
    if value == "null" and NoneType in get_args(annotation):
        return None
    if _is_text(annotation):
        return value
    if _is_texts(annotation):
        return [text for text, _ in items] if isinstance(items := _items(value), list) else items
    if _is_texts(annotation, numbers=True):
        found = _items(value)
        found = found if isinstance(found, list) else [(found, False)]
        return [text if quoted else _number(text) for text, quoted in found]
    return parse(value)


def switched(value: Any) -> Any:
    """What a switch is set to, or a list of that, with YAML 1.1's words for true and false read as such."""
    if isinstance(value, list):
        return [switched(each) for each in value]
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _is_text(annotation: Any) -> bool:
    """Whether a setting is text and nothing else, but for None."""
    if get_origin(annotation) in (UnionType, Union):
        return all(each is NoneType or _is_text(each) for each in get_args(annotation))
    if get_origin(annotation) is Literal:
        return all(each is None or isinstance(each, str) for each in get_args(annotation))
    return annotation is str


def _is_texts(annotation: Any, numbers: bool = False) -> bool:
    """Whether a setting takes lists of texts (or of texts and numbers) and no other lists."""
    if get_origin(annotation) in (UnionType, Union):
        kinds = [each for each in get_args(annotation) if each is not NoneType and not _is_text(each)]
        return bool(kinds) and all(_is_texts(each, numbers) for each in kinds)
    items = [each for each in get_args(annotation) if each is not Ellipsis]
    if numbers:
        items = [each for item in items for each in get_args(item) or (item,) if each is not float]
    return get_origin(annotation) in (tuple, list) and bool(items) and all(map(_is_text, items))


def _number(text: str) -> float | str:
    """The number that a plain text writes, or the text: `nan` and `1_000` are texts."""
    return float(text) if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text, re.ASCII) else text


_ITEM = re.compile(r"""\s*("(?:[^"]|"")*"|'(?:[^']|'')*'|[^,]*?)\s*(?:,|\Z)""")


def _items(value: str) -> list[tuple[str, bool]] | str:
    """The texts of `[a, b]`, and whether each was in quotes, where it may hold commas. Any other value is one text."""
    inner = value.strip()
    if not (inner.startswith("[") and inner.endswith("]")):
        return value
    inner = inner[1:-1].strip()
    items: list[tuple[str, bool]] = []
    place = 0
    while place < len(inner):
        found = _ITEM.match(inner, place)
        text = found[1] if found else ""
        if found is None or not text:
            raise YamlError(f"item {len(items) + 1} of the list is empty; such as [a, b] or ['a', 'b, c'] is needed", 1)
        quote = text[0]
        quoted = quote in "'\"" and text[-1] == quote != text
        items.append((text[1:-1].replace(2 * quote, quote) if quoted else text, quoted))
        place = found.end()
    return items


# Words that YAML 1.1 takes for true or false: where a switch is set they mean that, anywhere else they are text.
_WORDS = {
    form: truth
    for truth, words in ((True, ("on", "yes")), (False, ("off", "no")))
    for word in words
    for form in (word, word.capitalize(), word.upper())
}
