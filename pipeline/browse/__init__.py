"""Browse a dataset: the local page with samples, characters, rejects, tags, and the contact sheet.

In: a published dataset. Out: pages and pictures; tags beside the dataset. Imports `dataset`,
`media`, `pictures`, `schemas`.
"""
