"""MCP, served: one URL per tenant (and one per connection of it) on which any MCP client finds the caller's own tools.

Both eras of the protocol are spoken, 2026-07-28 and the handshake of 2025-11-25 and before, without a session: every
POST is judged by itself, and the answer is JSON unless the client may stream and waits long (calls), or listens
(`subscriptions/listen`). The messages are read and written here, not by the SDK: its own dispatch costs four to forty
times as much for one call, and a second and 30 MB for each process at the start. The tests hold it to the SDK instead.

What is promised beyond the protocol: a tool runs through the one `ToolRunner` that REST uses; nothing is shown that
belongs to another caller; nothing narrows but the caller's own authority; every stream ends with its bearer.
"""
