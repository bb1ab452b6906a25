"""Distillation as tools of an agent: what its model may ask for, what a person has to approve, and the runs,
each in a process of its own.
"""
