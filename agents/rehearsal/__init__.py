"""The rehearsal teacher: an offline stand-in that answers from labelled texts, a server that offers it
through the OpenAI protocol, and simulated faults. It is not a language model, and never presented as one.
"""
