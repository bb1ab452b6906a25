"""Endpoints: one request to one server: limits, retries, structured replies, and the batch API.

What a reply means is the business of `agents/teacher`.
"""
