"""Helpers that several nodes use for students: the fold students of a round, their training sets, their
predictions, and the final comparison.
"""
