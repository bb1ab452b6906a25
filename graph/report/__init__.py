"""The report of a run: one HTML page without scripts. Each section has its own module."""
