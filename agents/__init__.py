"""The teacher and the four agents that ask it: analyst, generator, labeler, critic."""
