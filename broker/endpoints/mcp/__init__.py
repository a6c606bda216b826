"""MCP, served: one URL per tenant (and one per connection of it) on which any MCP client finds the caller's own tools.

Both eras of the protocol are spoken, 2026-07-28 and the handshake of 2025-11-25 and before, without a session: every
POST is judged by itself, and the answer is JSON unless the client may stream and waits long (calls), or listens
(`subscriptions/listen`). The messages are read and written here, not by the SDK: its own dispatch costs four to forty
times as much for one call, and a second and 30 MB for each process at the start. The tests hold it to the SDK instead.

Prompts, resources, completions, progress and questions of the MCP servers behind a caller are passed through
(`behind`, `prompts`, `resources`, `relay`, `rounds`). At a tenant's URL a server's resource is called `NAME+uri`,
always: two servers may have the same addresses, and which came first must not decide whose is read. A server's
`requestState` leaves sealed (AES-256-GCM) for this call of this identity at this address, for 15 minutes.

What is promised beyond the protocol: a tool runs through the one `ToolRunner` that REST uses; nothing is shown that
belongs to another caller; nothing narrows but the caller's own authority; every stream ends with its bearer.

A URL may ask for another shape of the same tools: `?discover=1` (`discovery.py`) or `?codemode=search_and_execute`
(`portal.py`; `broker/tools/codemode/portal` runs it). These shapes are MCP's alone: REST has tools of connections only,
and no idempotency key covers a program over several. An output schema is listed where it is true of every answer
that is no error (`structured.py` for our own tools; other servers' as they were pinned).
"""
