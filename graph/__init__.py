"""The state machine: configuration, state, nodes, routes, and the run folder they write."""
