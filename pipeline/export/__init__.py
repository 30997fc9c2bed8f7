"""A dataset as other tools read it. Embeddings are never exported: they are biometric data.

In: a published dataset. Out: a folder of another format. Imports `dataset` and `schemas`.
"""
