"""The student and everything it is measured and fed by: rows, exam, corpus, encoder, training."""
