"""Endpoints send one request to one model: limits, retries, structured replies, and the batch API.

`agents/teacher` interprets the replies.
"""
