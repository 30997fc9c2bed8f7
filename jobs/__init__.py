"""The commands: each reads its arguments, checks them, calls the code, returns an exit code.

`contextanyone NAME` and `python jobs/NAME.py` are the same. Knows everything, is known by nobody.
"""
