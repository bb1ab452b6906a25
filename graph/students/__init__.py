"""What nodes share about students: the fold students of a round, what they learn, what they predict, and how
they compare.
"""
