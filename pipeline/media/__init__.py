"""Videos and pictures as files: the only code that opens, decodes or encodes one.

In: untrusted bytes. Out: frames with their times, facts of containers, clips and
pictures as bytes; or a refusal by name. Imports `execution` (what a refusal is) and `schemas`.
"""
