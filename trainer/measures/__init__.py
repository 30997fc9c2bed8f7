"""What a training costs and how it goes: FLOPs, memory, speed, curves.

In: the model's config, numbers of tokens, losses. Out: estimates before the start, and a run's
logs. Imports `distributed` and `model`.
"""
