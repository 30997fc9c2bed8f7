"""How work is run: the contract of a stage, placement, and what became of every row.

In: rows and functions. Out: rows, and a ledger in which none is missing. The only room that knows
Ray. Imports `schemas` alone.
"""
