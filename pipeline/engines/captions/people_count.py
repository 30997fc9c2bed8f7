"""How many people a text speaks of."""

import re

from pipeline.engines.captions.attributes import NUMBERS

_PEOPLE = "people|persons?|men|man|women|woman|children|child|boys?|girls?"
_COUNT = re.compile(rf"\b(a|an|{'|'.join(NUMBERS)}|\d+)\s+(?:\w+\s+)?({_PEOPLE})\b", re.IGNORECASE)


def counted_people(text: str) -> int | None:
    """Return the largest number of people that the text names outright, None when it names none.

    "Three women" is 3, "a man" is 1, "people" alone is no count. The largest, because "two people,
    one person in red" speaks of two.
    """
    numbers = []
    for word, _ in _COUNT.findall(text):
        word = word.lower()
        if word.isdigit():
            numbers.append(int(word))
        else:
            numbers.append(1 if word in ("a", "an") else NUMBERS.index(word))
    return max(numbers) if numbers else None
