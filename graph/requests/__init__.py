"""What nodes share about requests: what agents are shown, which texts are asked for, what is left in the
pool.
"""
