"""Training: the loop, its configuration, the losses, and what is selected at every step.

`adapters/` has one file a model family: what the loop needs to know of it.
"""
