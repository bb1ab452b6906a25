"""Rows before they are trained on: how the user's labelled rows are divided into folds."""
