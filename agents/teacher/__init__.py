"""The teacher: the only access to a language model, with journal, budget, reply repair and confidence."""
