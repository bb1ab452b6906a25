"""Planning: estimate the calls, tokens and cost of a run, as ranges, before anything is spent."""
