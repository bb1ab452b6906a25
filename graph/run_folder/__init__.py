"""The run folder: what a run leaves on disk, its trace, and what progress shows of it."""
