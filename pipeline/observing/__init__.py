"""First phase: look at every video once and keep what was measured.

In: one video, or a part of it. Out: a unit of clips, tracks, faces and candidate references,
each with its scores. Imports `engines`, `pictures`, `media`, `dataset`, `execution`, `schemas`.
"""
