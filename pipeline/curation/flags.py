"""What the command line adds to the flags of the settings: `--set` and `--engines`."""

from dataclasses import asdict

from pipeline.engines.engines_config import engines_preset


def expand_settings(arguments: list[str]) -> list[str]:
    """Turn `--set a.b=c` into `--a.b=c`, and `--engines NAME` into the preset's five engines."""
    words, expanded = iter(arguments), []
    for word in words:
        flag, _, value = word.partition("=")
        if flag == "--engines":
            preset = engines_preset(value or next(words, ""))
            for section, engines in (("observe", preset.observing), ("pair", preset.pairing)):
                named = {task: name for task, name in asdict(engines).items() if name}
                expanded += [f"--{section}.engines.{task}={name}" for task, name in named.items()]
        else:
            expanded.append(f"--{next(words, '')}" if word == "--set" else word)
    return expanded
