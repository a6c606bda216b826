"""Every bound of this package. Bytes are of UTF-8 JSON."""

from typing import Final

MAX_DEPTH: Final = 2_000
"""How deep references and nesting may lead; deeper ends in SpecError."""
MAX_HEIGHT: Final = 96
"""How high a resolved value may stand; what is higher is truncated. JSON writers recurse."""
MAX_VISITS: Final = 4_000_000
"""Values visited while resolving."""
MAX_NODES: Final = 500_000
"""Different objects and arrays of all operations together."""
MAX_CONTEXTS: Final = 5_000
"""How often references that lie on cycles are expanded; after that each of them is marked circular where it is met
within one.
"""
MAX_TABLE: Final = 24 * 1024 * 1024
"""All operations, shared parts once."""
MAX_TEXT: Final = 256 * 1024
"""One operation's searchable text, in characters."""
MAX_TEXTS: Final = 22 * 1024 * 1024
"""All searchable texts together, in characters."""
MAX_STRING: Final = 20_000
"""One string, in characters; longer ones are cut."""
MAX_ORDER: Final = 64 * 1024 * 1024
"""The description, decompressed."""
HUGE: Final = 1 << 40
"""Sums of sizes stop growing here: a document may stand for more bytes than there are numbers for."""
