"""Task types: what a label is, and how it is parsed, printed, scored and balanced; one file a type.

To add a task type: write its file here (task_type.py says what it has to offer); list it in `registry.py` and
in `fields.py` (its name); give it training configurations in `student/training/candidates.py` and
`configuration.py`, a trainer adapter in `student/training/loop.py`, prompts in `prompts/`, a template in
`graph/task/templates.py` and a sample task in `graph/task/samples.py`. Nothing here knows of models.
"""
