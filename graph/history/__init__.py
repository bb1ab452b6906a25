"""Histories: for each sample of a run, the rows, calls and decisions that made it. `history.py` begins."""
