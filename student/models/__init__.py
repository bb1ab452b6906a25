"""Models: what a student is once it is trained: how it predicts, how it is saved and loaded.

One file a family: a linear head on frozen embeddings, a fine-tuned encoder, a tagger, an encoder-decoder,
and a causal model with LoRA. Nothing here trains.
"""
