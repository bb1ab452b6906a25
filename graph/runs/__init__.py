"""Starting, resuming, extending and listing runs, and the demo."""
