"""OpenAPI descriptions of any upstream: compiled once, in a bounded child process, then used cheaply for
every call.

Promises:
- A description is hostile input. It is parsed where it can hurt nobody, every dimension of it is bounded, and
  no part of it chooses a host, reaches the network or reaches a backtracking regular expression engine.
- `load` turns raw bytes into one artifact; `index` opens an artifact in milliseconds; `request` turns checked
  input into the exact bytes of one HTTP request, or raises naming every wrong field.
- Paths and queries are judged strictly. Bodies are judged too, but a mismatch is only reported: descriptions
  are wrong often enough that the caller decides what a body problem means.
- Everything but `load.compile_in_subprocess` is pure. Nothing here knows any particular upstream.
"""
