"""Arithmetic on single pictures: boxes, looks, light, cut-outs, hashes; no model and no file.

In: arrays. Out: arrays and numbers. Imports `media` and `schemas`.
"""
