"""What `--help` prints about settings: meaning (from docstrings), type, bounds, default.

Texts stand under `Attributes:` in the docstring of the config class that has the field.
"""

import textwrap
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

import docstring_parser

from schemas.settings import Allowed, allowed_of

WIDTH = 100
_COLUMN = 16  # where the texts of an outline begin
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class Topic:
    """One setting, or a section of them."""

    name: str  # dotted
    text: str
    default: Any
    hint: Any
    allowed: Allowed

    @property
    def is_section(self) -> bool:
        return is_dataclass(self.default)

    @property
    def kind(self) -> str:
        """What values it takes, without bounds."""
        return kind_of(self.hint)

    def within(self, section: str) -> bool:
        """Whether this is the section, or lies somewhere below it."""
        return self.name == section or self.name.startswith(f"{section}.")


def topics_of(config: Any, prefix: str = "") -> Iterator[Topic]:
    """Yield every setting and section of a config object; what is in a section follows it.

    The settings of a section come before the sections in it.
    """
    texts, hints = _texts(type(config)), get_type_hints(type(config))
    sections = []
    for field in fields(config):
        value, text = getattr(config, field.name), texts.get(field.name, "")
        allowed = allowed_of(config, field.name)
        topic = Topic(f"{prefix}{field.name}", text, value, hints[field.name], allowed)
        if topic.is_section:
            sections.append(topic)
        else:
            yield topic
    for section in sections:
        yield section
        yield from topics_of(section.default, f"{section.name}.")


@cache
def _texts(config: type) -> dict[str, str]:
    described = docstring_parser.parse(config.__doc__ or "").params
    return {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for parameter in described
    }


def kind_of(hint: Any) -> str:
    """Describe in words what a type accepts."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if kind is type(None) else kind_of(kind) for kind in arguments)
    if tuple in (origin, hint):
        return _kind_of_list(arguments) if arguments else "a list"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    return _KINDS.get(hint, "settings" if is_dataclass(hint) else str(hint))


def _kind_of_list(arguments: Sequence[Any]) -> str:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        inner = kind_of(arguments[0])
        return f"a list, each {inner}" if inner != "settings" else "a list of settings"
    return f"[{', '.join(kind_of(kind) for kind in arguments)}]"


def value_text(value: Any) -> str:
    """Write a value as YAML takes it on a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(value_text, value))}]"
    if is_dataclass(value) and not isinstance(value, type):
        pairs = ((field.name, getattr(value, field.name)) for field in fields(value))
        return f"{{{', '.join(f'{name}: {value_text(one)}' for name, one in pairs)}}}"
    if isinstance(value, float):
        return repr(value)
    return str(value) if value != "" else '""'


def describe(topics: Iterable[Topic]) -> str:
    """Return a page: sections as headings, settings with default, type, bounds and meaning."""
    return "\n".join(line for topic in topics for line in _lines(topic))


def _lines(topic: Topic) -> list[str]:
    if topic.is_section:
        return ["", *_wrap(f"{topic.name}: {topic.text}", 0)]
    facts = ", ".join(filter(None, (topic.kind, topic.allowed.text(), topic.allowed.unit)))
    head = _wrap(f"{topic.name}={value_text(topic.default)}  ({facts})", 2)
    return [*head, *_wrap(topic.text, 6)]


def outline(topics: Sequence[Topic]) -> str:
    """Return a line for everything at the top, and the names of the sections in it."""
    lines, names = [], {topic.name for topic in topics}
    for top in (topic for topic in topics if topic.name.rpartition(".")[0] not in names):
        lines += columns(top.name, top.text, _COLUMN)
        prefix = f"{top.name}."
        inner = [t.name for t in topics if t.is_section and t.name.startswith(prefix)]
        direct = [name for name in (name.removeprefix(prefix) for name in inner) if "." not in name]
        lines += columns("", f"in it: {', '.join(direct)}", _COLUMN) if direct else []
    return "\n".join(lines)


def columns(left: str, right: str, width: int) -> list[str]:
    """Return `left` and the wrapped `right` beside it, which begins at `width`."""
    lines = textwrap.wrap(right, WIDTH - width - 2) or [""]
    first = f"  {left:{width - 2}}"
    if len(first) > width:
        return [first, *(f"  {'':{width - 2}}{line}" for line in lines)]
    return [f"{first}{lines[0]}", *(f"  {'':{width - 2}}{line}" for line in lines[1:])]


def _wrap(text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
