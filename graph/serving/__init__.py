"""Serving: the HTTP server that answers requests with a student. server.py has the routes, listen.py the
process around them; batching.py joins the texts of waiting requests; payload.py and limits.py say what a
request may ask.
"""
