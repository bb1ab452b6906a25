"""Data: rows and their ids, readers for data files, and the division of labelled rows into folds.

No module here depends on a model.
"""
