"""An engine of your own: a captioner that says what was measured in one short sentence."""

from collections.abc import Sequence

from pipeline.engines.interfaces import CaptionFacts, EngineInfo


class ShortCaptions:
    """Count the people and say how bright it is.

    Other engines are alike: see the Protocols of pipeline/engines/interfaces.py. One that reads
    weights says so in a class attribute `needs = EngineNeeds(...)`.
    """

    info = EngineInfo("short-captions/1", "captioning", "Apache-2.0", commercial=True)

    def caption(self, facts: Sequence[CaptionFacts]) -> list[tuple[str, str]]:
        return [(self._text(each), "a person") for each in facts]

    def _text(self, facts: CaptionFacts) -> str:
        number = len(facts.tracks)
        people = "One person" if number == 1 else f"{number} people"
        light = "bright" if facts.clip.brightness > 0.5 else "dim"
        return f"{people} in {light} light."
