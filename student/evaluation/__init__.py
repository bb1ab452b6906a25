"""Evaluation of predictions and labels; nothing here trains a student.

Scores (`evaluate`), their intervals and differences (`gains`), wrong labels (`label_errors`), `overlap`.
"""
