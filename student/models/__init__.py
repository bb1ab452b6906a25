"""Trained student models: how they predict, and how they are saved and loaded.

Each model family has its file: classifiers (a linear head on frozen embeddings, or a fine-tuned encoder), a
tagger, an encoder-decoder, and a causal model with LoRA. Training is in student/training/.
"""
