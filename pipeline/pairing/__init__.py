"""Second phase, over everything observed: who is who, and which pictures teach it.

In: the rows of all units, no pixels but those of chosen references. Out: samples of clip,
character, references and caption. Imports `observing` and what that imports.
"""
