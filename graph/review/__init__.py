"""Human review: a person judges the texts on which a minute of theirs is worth most.

`queue` chooses the texts, `decisions` keeps the person's answers in the run folder, and `apply` applies
them to the samples and to the user's own rows.
"""
