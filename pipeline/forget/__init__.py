"""Remove a person or a video from everything in a dataset, and prove that it is gone.

In: a dataset and a request. Out: a version without them, tombstones, a report. Imports
`dataset`, `engines` (to recognise a face), `media`, `schemas`.
"""
