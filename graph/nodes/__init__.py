"""The nodes of the graph, one per file, named as in the drawing. A node takes the run's context and state and
returns the fields of the state that it changes.
"""
