"""The dataset on disk: inputs, units, shards, versions, on any filesystem.

In: rows. Out: files that are seen whole or not at all, and rows read back. Decodes nothing.
Imports `execution` and `schemas`.
"""
