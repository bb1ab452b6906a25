"""Evaluation: judges answers and labels after a student has predicted; it never trains one.

Here belong significance and intervals of scores (`gains`) and the search for wrong labels (`label_errors`).
"""
