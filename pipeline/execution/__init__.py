"""How work is run: what a stage is, who computes where, and what became of every row.

In: rows and functions. Out: rows, and a ledger in which none is missing. The only room that knows
Ray. Imports `schemas` alone.
"""
