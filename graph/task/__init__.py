"""The task: task.yaml as a user writes it, checked; the sets of rows it names; templates and sample tasks."""
