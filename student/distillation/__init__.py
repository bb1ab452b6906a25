"""White-box distillation (KSM) from a teacher whose hidden states can be read. At every training step
a policy weights the four kinds of the teacher's knowledge.
"""
