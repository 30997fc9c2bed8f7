"""What a setting may be: declared beside its default, checked the same way everywhere.

    @dataclass(frozen=True)
    class ClipsConfig:
        min_s: float = setting(2.0, low=0.2, high=60, unit="s")

        def __post_init__(self) -> None:
            check_settings(self, "clips")

Every field has a type that says what it holds: bool, int, float, str, a Literal, an enum, a tuple
of these, another config. A float is finite unless `infinite` says otherwise.
"""

import difflib
import functools
import math
import types
import typing
from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, Literal, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Allowed:
    """The values that a setting may have; None leaves a side open."""

    low: float | None = None
    high: float | None = None
    above: float | None = None  # exclusive
    below: float | None = None  # exclusive
    least: int = 0  # values of a tuple, or signs of a text
    infinite: bool = False  # whether infinity is allowed beside them, for 'no limit'
    unit: str = ""

    def text(self) -> str:
        """Return the bounds in words, '' when every finite number is allowed."""
        sides = []
        if self.low is not None and self.high is not None:
            sides.append(f"from {self.low:g} to {self.high:g}")
        elif self.low is not None:
            sides.append(f">= {self.low:g}")
        elif self.high is not None:
            sides.append(f"<= {self.high:g}")
        if self.above is not None:
            sides.append(f"> {self.above:g}")
        if self.below is not None:
            sides.append(f"< {self.below:g}")
        return " and ".join(sides)

    def holds(self, number: float) -> bool:
        """Whether a number lies within the bounds."""
        if math.isnan(number):
            return False
        if math.isinf(number):
            return self.infinite and number > 0
        return (
            (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )


_ANY = Allowed()
_MOST_BITS = 1000  # of a whole number that still compares with a float
_KEY = "allowed"


def setting(
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    least: int = 0,
    infinite: bool = False,
    unit: str = "",
) -> Any:
    """Return a dataclass field with what it may be; `above`, `below` exclude the bound itself."""
    allowed = Allowed(low, high, above, below, least, infinite, unit)
    return field(default=default, metadata={_KEY: allowed})


def allowed_of(config: Any, name: str) -> Allowed:
    """Return what a field of a config class or object may be."""
    [found] = [config_field for config_field in fields(config) if config_field.name == name]
    return found.metadata.get(_KEY, _ANY)


def check_settings(config: Any, section: str) -> None:
    """Check every field of a config. Raises ValueError naming field, value and what is allowed."""
    hints = _hints(type(config))
    for config_field in fields(config):
        name = f"{section}.{config_field.name}" if section else config_field.name
        allowed = config_field.metadata.get(_KEY, _ANY)
        check_value(name, getattr(config, config_field.name), hints[config_field.name], allowed)


@functools.cache
def _hints(config: type) -> dict[str, Any]:
    return get_type_hints(config)


def check_value(name: str, value: Any, hint: Any, allowed: Allowed = _ANY) -> None:
    """Check one value against its type and bounds. Raises ValueError like `check_settings`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        same = [
            option for option in arguments if isinstance(option, bool) is isinstance(value, bool)
        ]
        if value not in same:
            raise ValueError(_not_one_of(name, value, arguments))
    elif isinstance(hint, type) and issubclass(hint, Enum):
        if value not in list(hint):
            raise ValueError(_not_one_of(name, value, [str(member) for member in hint]))
    elif origin in (typing.Union, types.UnionType):
        _check_union(name, value, arguments, allowed)
    elif origin is tuple:
        _check_tuple(name, value, arguments, allowed)
    elif hint is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, got {value!r}")
    elif hint in (int, float):
        _check_number(name, value, hint, allowed)
    elif hint is str:
        _check_text(name, value, allowed)


def _check_text(name: str, value: Any, allowed: Allowed) -> None:
    if not isinstance(value, str) or len(value) < allowed.least:
        wanted = "a text that is not empty" if allowed.least else "a text"
        raise ValueError(f"{name} must be {wanted}, got {value!r}")


def _check_union(name: str, value: Any, kinds: tuple, allowed: Allowed) -> None:
    if value is None and type(None) in kinds:
        return
    problems = []
    for kind in kinds:
        try:
            check_value(name, value, kind, allowed)
        except ValueError as problem:
            problems.append(problem)
        else:
            if kind is not type(None):
                return
    raise problems[0]


def _check_tuple(name: str, value: Any, kinds: tuple, allowed: Allowed) -> None:
    if not isinstance(value, tuple):
        raise ValueError(f"{name} must be a list, got {value!r}")
    if len(value) < allowed.least:
        raise ValueError(f"{name} must name at least {allowed.least}, got {list(value)!r}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{name} must have {len(kinds)} values, got {list(value)!r}")
    for number, (inner, kind) in enumerate(zip(value, kinds, strict=True)):
        if not is_dataclass(inner):
            check_value(f"{name}[{number}]", inner, kind, allowed)


def _check_number(name: str, value: Any, kind: type, allowed: Allowed) -> None:
    whole = kind is int
    good = isinstance(value, int) if whole else isinstance(value, int | float)
    if isinstance(value, bool) or not good:
        raise ValueError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise ValueError(
            f"{name} must be {allowed.text() or 'finite'}, got a number too large to be one"
        )
    if not allowed.holds(value):
        unit = f" {allowed.unit}" if allowed.unit else ""
        bounds = allowed.text() or "finite"
        raise ValueError(f"{name} must be {bounds}{unit}, got {value:g}")


def _not_one_of(name: str, value: Any, allowed: Iterable[Any]) -> str:
    names = [str(option) for option in allowed]
    return f"{name} must be one of {', '.join(names)}, got {value!r}{meant(str(value), names)}"


def meant(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean X?' for the known word that is most like this one, or ''."""
    known = list(known)
    ends = [name for name in known if name.endswith(f".{word}")]
    close = ends or difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def walk_settings(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any, Allowed]]:
    """Yield (dotted name, default, type, allowed) of every setting below a config object."""
    hints = _hints(type(config))
    for config_field in fields(config):
        value = getattr(config, config_field.name)
        name = f"{prefix}{config_field.name}"
        if is_dataclass(value):
            yield from walk_settings(value, f"{name}.")
        else:
            yield name, value, hints[config_field.name], config_field.metadata.get(_KEY, _ANY)
