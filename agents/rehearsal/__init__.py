"""The rehearsal teacher: an offline stand-in that answers from labelled texts, its OpenAI-protocol server,
and the faults that a server can be told to make. It is no language model, and is never presented as one.
"""
