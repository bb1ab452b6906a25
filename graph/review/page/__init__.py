"""The page on which a person reviews texts in a browser of this machine.

`session` keeps the decisions and the progress, `server` answers the browser, and `open` runs both beside the
caller.
"""
