"""The samples of a dataset as micro-batches, in an order that depends on the seed alone.

In: a dataset's files, at any fsspec URL. Out: `PixelBatch` or `LatentBatch`, made ahead by
processes of their own. Imports none of the trainer's other packages.
"""
