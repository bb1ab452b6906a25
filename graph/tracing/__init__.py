"""Export of a run's events to tools outside the run folder. listeners.py says what the user has asked for;
spans.py and attributes.py turn events into OpenTelemetry spans, collector.py sends them. mlflow_run.py logs a
run folder to MLflow.
"""
