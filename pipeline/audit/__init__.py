"""Say what is in a dataset, what is wrong with it, and repair it as a new version.

In: a dataset of schemas/tables.py, whoever made it. Out: a report; with `--fix` a new version.
Imports every room below, never `browse`, `forget`, `export`, `evaluate`.
"""
