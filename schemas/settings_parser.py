"""One command line for settings: flags, `--set a.b=value`, YAML, explained page by page.

    parser = SettingsParser("curate", "Turn raw videos into …", usage="--input VIDEOS …")
    parser.flag("--output", "DATASET", "the dataset", required=True)
    parser.add_settings(CurationConfig)
    parsed = parser.parse(["--output", "dataset/", "--set", "observe.clips.max_s=5"])
    config = read_settings(parsed, CurationConfig)

jsonargparse reads values and files. Names are checked before it sees them: one that is unknown, cut
short or from an older version is refused with the name that was meant.
"""

import re
import sys
from argparse import ArgumentError
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type

from schemas.files import read_file
from schemas.settings import Allowed, meant
from schemas.settings_help import Topic, columns, describe, kind_of, outline, topics_of

Config = TypeVar("Config")
Expand = Callable[[str], list[str]]  # the value of a flag -> the words that it stands for
_HELP, _PRINT = ("-h", "--help"), "--print_config"
_KEY = re.compile(r'Parser key "([\w.]+)"')
_GOT = re.compile(r"(?:Got|Given) value: (.*)")
_TYPES = {kind.__name__: kind for kind in (bool, int, float, str, tuple)}
_FLAG_MESSAGES = {  # argparse's -> ours
    r"argument (--[\w-]+): invalid choice: (.*) \(choose from (.*)\)": (
        r"\1 must be one of \3, got \2"
    ),
    r"argument (--[\w-]+): (.*)": r"\1 \2",
}
_COMMON = (  # what every such command has
    ("--config FILE", "settings as YAML; what is set by flags goes before it"),
    ("--set NAME=VALUE", "one setting; VALUE as YAML"),
    (_PRINT, "print all settings as YAML, with those given here, and end"),
    ("--help [NAME]", "this page; of a section or setting: what it means; of `all`: everything"),
    ("--version", "print the version, and end"),
)


class SettingsParser:
    """Reads a command line; every refusal is one line on stderr and exit code 2.

    `renamed` turns settings under the names of an older version into those of today. `begins_with`
    are words that every other overrides: what this command sets differently from the defaults.
    """

    def __init__(
        self,
        command: str,
        description: str,
        usage: str,
        closing: str = "",
        renamed: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict,
        begins_with: Iterable[str] = (),
    ) -> None:
        self._reader = ArgumentParser(
            add_help=False, allow_abbrev=False, print_config=None, exit_on_error=False
        )
        self._reader.add_argument("--config", action="config")
        self._command, self._renamed, self._begins_with = command, renamed, tuple(begins_with)
        self._page = (f"usage: {self._reader.prog} {usage}", description, closing)
        self._topics: dict[str, Topic] = {}
        self._rows: list[tuple[str, str]] = []  # of the help: flag and text
        self._flags = {_PRINT}
        self._shortcuts: dict[str, Expand] = {}
        self._first: set[str] = set()  # shortcuts whose words go before all others
        self._needed: dict[str, str] = {}  # where a flag's value goes -> flag

    def flag(self, name: str, shown: str, text: str, required: bool | str = False, **options):
        """Add a flag or a positional argument; `shown` is its value, '' for none.

        A flag without a text is not shown. `required` may say what to give instead of the name.
        `options` are argparse's.
        """
        if name.startswith("-"):
            self._flags.add(name)
        else:
            options["nargs"] = "?"
        self._reader.add_argument(name, **options)
        if required:
            dest = name.removeprefix("--").replace("-", "_")
            plain = name if name.startswith("-") else shown
            self._needed[dest] = required if isinstance(required, str) else plain
        if text:
            self._rows.append((f"{name} {shown}".strip() if name.startswith("-") else shown, text))

    def shortcut(self, name: str, shown: str, text: str, expand: Expand, first=False) -> None:
        """Add a flag that stands for other words, which are made of its value.

        What is `first` is overridden by every other word, wherever it stands.
        """
        self._shortcuts[name] = expand
        self._first |= {name} if first else set()
        self._rows.append((f"{name} {shown}", text))

    def alias(self, name: str, setting: str) -> None:
        """Add a flag of its own for a setting."""
        text = f"the same as --set {setting}=VALUE"
        self.shortcut(name, "VALUE", text, lambda value: [f"--{setting}={value}"])

    def add_settings(self, config: type, section: str = "") -> None:
        """Add every setting of a config class, below `section` or at the top."""
        if section:
            text = (config.__doc__ or "").split("\n")[0]
            self._topics[section] = Topic(section, text, config(), config, Allowed())
        found = topics_of(config(), f"{section}." if section else "")
        self._topics |= {topic.name: topic for topic in found}
        for kind in {kind for topic in self._topics.values() for kind in _enums(topic.hint)}:
            # else they would go by the names of their members, not by those that datasets have
            register_type(kind, str, _reader(kind), fail_already_registered=False)
        self._reader.add_class_arguments(config, section or None)

    @property
    def topics(self) -> list[Topic]:
        """Every section and setting."""
        return list(self._topics.values())

    def parse(self, arguments: list[str]) -> Namespace:
        """Return flags and config objects. --help and --print_config are answered and end it."""
        for number, word in enumerate(arguments):
            if word in _HELP:
                self._answer_help("".join(arguments[number + 1 : number + 2]))
        words = self._words(arguments)
        if _PRINT in words:
            self._print_settings([word for word in words if word != _PRINT])
        parsed = self._read(words)
        missing = [flag for dest, flag in self._needed.items() if parsed.get(dest) is None]
        if missing:
            self.error(f"{' and '.join(missing)} must be given; --help explains")
        return self._reader.instantiate(parsed)

    def _read(self, words: list[str]) -> Namespace:
        try:
            return self._reader.parse_args(words)
        except ArgumentError as error:
            self.error(self._plain(str(error)))

    def _words(self, arguments: list[str]) -> list[str]:
        """Return what jsonargparse is to read; shortcuts are replaced and names are checked."""
        words, first, others = iter(arguments), [], []
        for word in words:
            flag, equals, value = word.partition("=")
            if not flag.startswith("--") or flag in self._flags:
                others.append(word)
            else:
                found = self._expanded(flag, value if equals else next(words, ""))
                (first if flag in self._first else others).extend(found)
        return [*self._begins_with, *first, *others]

    def _expanded(self, flag: str, value: str) -> list[str]:
        """Return the words that a flag with its value stands for."""
        if flag in self._shortcuts:
            return self._shortcuts[flag](value)
        if flag == "--config":
            self._check_file(value)
            return [f"--config={value}"]
        name = flag.removeprefix("--")
        if flag == "--set":
            name, equals, value = value.partition("=")
            if not equals:
                self.error(f"--set takes NAME=VALUE, got {name!r}")
        elif name not in self._topics and "." not in name:
            known = (*self._flags, *self._shortcuts, "--set", "--config", "--help", "--version")
            self.error(f"there is no {flag}{meant(flag, known)}; --help explains")
        self._check_names(self._named(name, value))
        return [f"--{name}={value}"]

    def _named(self, name: str, value: str) -> list[str]:
        """Return the names that an assignment sets: more than one where it sets a section."""
        topic = self._topics.get(name)
        if topic is None or not topic.is_section:
            return [name]
        try:
            content = yaml.safe_load(value)
        except yaml.YAMLError:
            content = None
        if not isinstance(content, Mapping):
            inner = next(topic for topic in self._topics if topic.startswith(f"{name}."))
            self.error(f"{name} is a section: set {inner} or another one in it")
        return list(self._leaves(content, f"{name}."))

    def _check_file(self, path: str) -> None:
        """Refuse a file that cannot be read, or that names what is no setting."""
        try:
            content = yaml.safe_load(read_file("--config", Path(path), "a YAML file of settings"))
        except ValueError as error:
            self.error(str(error))
        except yaml.YAMLError as error:
            self.error(f"--config {path} cannot be read as YAML: {' '.join(str(error).split())}")
        if not isinstance(content, Mapping):
            self.error(f"--config {path} must hold settings, such as `a: {{b: 1}}`")
        flags = {flag.removeprefix("--").replace("-", "_") for flag in self._flags}
        self._check_names(self._leaves(content), f"{path}: ", flags)

    def _leaves(self, content: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
        for key, value in content.items():
            topic = self._topics.get(f"{prefix}{key}")
            if isinstance(value, Mapping) and (topic is None or topic.is_section):
                yield from self._leaves(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}"

    def _check_names(self, names: Iterable[str], where: str = "", flags: Iterable[str] = ()):
        """Refuse names that are no settings, all of them at once."""
        wrong = [name for name in names if name not in self._topics and name not in flags]
        if wrong:
            self.error(f"\n{self._command}: ".join(where + self._unknown(name) for name in wrong))

    def _unknown(self, name: str) -> str:
        today = self._today(name)
        if today is not None:
            return f"{name} is now called {today}"
        return f"there is no setting {name}{meant(name, self._topics)}"

    def _today(self, name: str) -> str | None:
        """Return what a setting of an older version is called now."""
        old: dict[str, Any] = {}
        for part in reversed(name.split(".")):
            old = {part: old}
        parts, inner = [], self._renamed(old)
        while inner:
            [part] = inner
            parts.append(part)
            inner = inner[part]
        today = ".".join(parts)
        return today if today in self._topics and today != name else None

    def _print_settings(self, words: list[str]) -> NoReturn:
        parsed = self._read(words)
        self._reader.instantiate(parsed)  # so that what is printed can be used
        tops = {name.split(".")[0] for name in self._topics}
        everything = yaml.safe_load(self._reader.dump(parsed))
        settings = {name: value for name, value in everything.items() if name in tops}
        print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), end="")
        sys.exit(0)

    def _answer_help(self, section: str) -> NoReturn:
        """Print the first page, or what is said of a section, a setting, or all of them."""
        if not section or section.startswith("-"):
            print(self.first_page())
        else:
            found = [topic for topic in self.topics if section == "all" or topic.within(section)]
            ends = [topic for topic in self.topics if topic.name.endswith(f".{section}")]
            found = found or [
                topic for end in ends for topic in self.topics if topic.within(end.name)
            ]
            if not found:
                self.error(f"--help: {self._unknown(section)}; --help alone lists the sections")
            print(describe(found).lstrip("\n"))
        sys.exit(0)

    def first_page(self) -> str:
        """Return what --help alone prints: the flags, and what can be set."""
        usage, description, closing = self._page
        rows = [*self._rows, *_COMMON]
        width = min(2 + max(len(left) for left, _ in rows) + 2, 30)
        flags = [line for left, right in rows for line in columns(left, right, width)]
        settings = ["settings, each by --set NAME=VALUE or in the YAML of --config:"]
        settings.append(outline(self.topics))
        return "\n".join([usage, "", description, "", *flags, "", *settings, "", closing]).rstrip()

    def error(self, message: str) -> NoReturn:
        """End with exit code 2 and one line that says what is wrong."""
        print(f"{self._command}: {message}", file=sys.stderr)
        sys.exit(2)

    def _plain(self, message: str) -> str:
        """Rephrase what jsonargparse finds wrong with a value."""
        for pattern, words in _FLAG_MESSAGES.items():
            found = re.match(pattern, message)
            if found:
                return found.expand(words)
        keys = _KEY.findall(message)
        if not keys:
            return message
        known = [key for key in keys if key in self._topics]
        if not known:
            return f"--{keys[-1].replace('_', '-')} {_problem(message)}"
        topic = self._topics[known[-1]]
        if keys[-1] != topic.name:  # of settings in a list, which have no dotted name
            return f"{topic.name}: {keys[-1]} {_problem(message)}"
        return f"{topic.name} {_problem(message, topic.kind)}"


def _problem(message: str, kind: str = "") -> str:
    """Return 'must be …, got …' of a message about one value."""
    allowed = re.search(r"must be one of .*", message)
    if allowed:
        return allowed[0]
    got = _GOT.search(message)
    if not got:
        return f"cannot be read: {message.splitlines()[-1].strip()}"
    expected = re.search(r"<class '(\w+)'>", message)
    kind = kind or (kind_of(_TYPES[expected[1]]) if expected else "something else")
    return f"must be {kind}, got {got[1].strip()!r}"


def _enums(hint: Any) -> Iterator[type[Enum]]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        yield hint
    for inner in get_args(hint):
        yield from _enums(inner)


def _reader(kind: type[Enum]) -> Callable[[str], Enum]:
    def read(text: str) -> Enum:
        known = [str(member.value) for member in kind]
        if text not in known:
            raise ValueError(f"must be one of {', '.join(known)}, got {text!r}")
        return kind(text)

    return read


def read_settings(parsed: Namespace, config: type[Config]) -> Config:
    """Return the config object whose settings stand at the top of what was parsed."""
    return config(**{field.name: parsed[field.name] for field in fields(config)})  # type: ignore[arg-type]
