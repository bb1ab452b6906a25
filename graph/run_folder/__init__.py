"""The run folder: the files of a run, the trace of its events, and the progress display."""
