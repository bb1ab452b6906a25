"""Trainer adapters: what the training loop needs of a student model; one file per model family."""
