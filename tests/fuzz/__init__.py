"""`python -m tests.fuzz`: sends the services and their decoders what nobody would send, for as long as it is told.

What must hold of any input: no crash, no error but the one that a decoder documents, no answer of 5xx, kernels and
Python agree, and memory does not grow. pytest collects nothing here; tests/unit/test_fuzz.py runs every seed, and every
input that was ever found.
"""
