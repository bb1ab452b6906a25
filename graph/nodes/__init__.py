"""Nodes of the graph, one a file, named as in the drawing. The others still lie in graph/ (calibrate, pool,
learning, teaching, screening).
"""
