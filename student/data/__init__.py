"""Data: rows and their ids, how files are read, and how labelled rows are divided into folds.

Nothing here knows of models.
"""
