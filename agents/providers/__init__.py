"""Providers: from a model's name in task.yaml to a chat model, what it supports and what it costs."""
