"""Code Mode over everything a caller has: one `search` and one `execute` for all connections.

Promises. A program reaches exactly the tools that the same URL would list one by one, no others: `scope.py` is made of
that list. Every call of it passes the gate as if it had been made alone, with its own decision, slot, intent and
outcome, under one execution id (`host.py`). Nothing but time depends on how many connections there are: programs run in
the one image that all programs use and are told of their tools at the start; what an API offers is answered by the
server from the description's index (`operations.py`), filtered as the connection's own search filters it.

These two are reached over MCP alone (`?codemode=search_and_execute`): `POST /v1/tools/execute` runs tools of a
connection, and has no `search` or `execute` of this kind.
"""
