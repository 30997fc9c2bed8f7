"""Which tokens of a prompt speak of which of several characters."""

import re
from collections.abc import Sequence

import torch

from trainer.encoders.interfaces import TextEncoder
from trainer.encoders.text import clean_prompt

_END = re.compile(r"[.!?;\n]")


def mentions_of(
    encoder: TextEncoder, prompts: Sequence[str], names: Sequence[Sequence[str]]
) -> torch.Tensor:
    """Return (B, P, L), 1 at the tokens that speak of a character.

    names: of each of P characters, what it is called in every prompt; '' where it is not there.
    """
    shares = torch.zeros(len(prompts), len(names), encoder.num_tokens)
    for row, prompt in enumerate(prompts):
        called = [of_prompts[row] for of_prompts in names]
        if any(called):
            said = clauses(clean_prompt(prompt), called)
            for token, (start, end) in enumerate(encoder.token_spans(prompt)):
                for character, spans in enumerate(said):
                    inside = any(start < until and end > begin for begin, until in spans)
                    shares[row, character, token] = float(inside)
    return shares


def clauses(prompt: str, names: Sequence[str]) -> list[list[tuple[int, int]]]:
    """Return the stretches of a prompt that speak of each: from a name to the next, or to a stop.

    >>> told = "Anna is in red. Anna waves to Bob; they smile."
    >>> [[told[a:b] for a, b in spans] for spans in clauses(told, ["Anna", "Bob"])]
    [['Anna is in red', 'Anna waves to '], ['Bob']]
    """
    found = sorted(
        (match.start(), match.end(), who)
        for who, name in enumerate(names)
        if name
        for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", prompt, re.IGNORECASE)
    )
    spans: list[list[tuple[int, int]]] = [[] for _ in names]
    starts = [start for start, *_ in found] + [len(prompt)]
    for (start, end, who), following in zip(found, starts[1:], strict=True):
        stop = _END.search(prompt, end, following)
        spans[who].append((start, stop.start() if stop else following))
    return spans
