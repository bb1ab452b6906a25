"""Helpers that several nodes use for requests to agents: the evidence that agents are shown, generation
requests, and the texts left in the pool.
"""
