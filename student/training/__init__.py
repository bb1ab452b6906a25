"""Training: the loop, its configuration, the losses, and the selection of samples at every step.

`adapters/` has one file for each model family, which adapts its students to the training loop.
"""
