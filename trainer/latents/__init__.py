"""Encode the samples of a dataset once, ahead of training.

In: samples, and the frozen encoders. Out: Parquet files of latents, one for each unit of work, as
jobs/encode.py publishes them. Imports `data` and `encoders`.
"""
