"""The student model and its inputs: data, task types, corpus, encoder, training and evaluation."""
