"""The teacher: the one door to a language model. Journal, budget, repair of replies, measured confidence."""
