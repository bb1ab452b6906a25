"""The teacher and the four agents that call it: analyst, generator, labeler and critic."""
