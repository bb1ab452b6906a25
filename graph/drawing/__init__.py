"""Drawings of the graph, and of what a run did in it: start with draw.py. layout.py says where every node and
edge is drawn; a test compares it with the compiled graph.
"""
