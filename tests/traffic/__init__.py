"""Recorded conversations of real SDKs with a real bundler, read back by this package.

    python -m tests.traffic [DIRECTORY]

An operation agrees when it is decoded, its hash is the one the bundler answered, it is printed back field for field,
and its session key's signature is found valid or invalid as the chain found it. One that this package refuses agrees
when the bundler refused it too.
"""
