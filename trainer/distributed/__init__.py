"""DeepSpeed: processes, how the model's states are spread over them, and one optimizer update.

In: a model and the gradients of its loss. Out: updated weights, the same on every number of
processes. Imports none of the trainer's other packages.
"""
