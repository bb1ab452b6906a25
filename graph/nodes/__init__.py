"""The nodes of the graph, one per file, named as in the drawing; `final` is in train.py. A node takes the
run's context and state and returns the fields of the state that it changes.
"""
