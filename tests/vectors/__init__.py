"""Conformance: what the real contracts did in an EVM, held against what this package says.

Each module here knows one or more file formats: its `CHECKERS` names them (`"permission-id/1"`) and gives a checker,
which takes the parsed file and yields (id, agreed, detail) for every vector. A new module is found by itself.

    python -m tests.vectors [DIRECTORY]
"""
