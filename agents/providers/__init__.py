"""Providers: make a chat model from a name in task.yaml, with its capabilities and its price."""
