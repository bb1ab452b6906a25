"""The task: reading and validating task.yaml, loading its data sets, templates for `init`, sample tasks."""
