"""Trainer adapters: what the training loop needs to know of a model family, one file each."""
