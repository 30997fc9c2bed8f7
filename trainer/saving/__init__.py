"""Checkpoints: written whole or not at all, and read without running what they hold.

In: DeepSpeed's engine, the averaged weights. Out: complete checkpoint folders, and the same read
back. Imports `distributed`.
"""
