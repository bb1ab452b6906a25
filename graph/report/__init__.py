"""The report of a run: one HTML page. Each section has its own module."""
