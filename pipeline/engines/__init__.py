"""Who finds, recognises, cuts out, describes, scores and edits: one file a library, by task.

In: pictures. Out: boxes, vectors, masks, texts, scores, each with who computed it. A module is
imported only when its engine is chosen. Imports `pictures`, `media`, `execution`, `schemas`.
"""
