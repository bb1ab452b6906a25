"""White-box distillation (KSM): a teacher whose hidden states can be read, and a policy that weighs its four
kinds of knowledge at every step.
"""
