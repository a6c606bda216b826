"""Any MCP server over streamable HTTP as a connection.

`config.url` names the server; the tools it declares are the connection's tools. Both eras of the protocol are spoken:
2026-07-28 (no handshake) and 2025-11-25 and before (handshake, perhaps a session); which one a server speaks is asked
once, when its definitions are fetched.

What is promised beyond the protocol, because the server at the other end may be hostile:

- nothing is believed of a tool but what was *pinned*: name, description, schema and annotations as an admin (or the
  first deposit) took them in, screened for hidden instructions and invisible characters;
- what a tool does is a write unless an admin says that it only reads: annotations can make it worse, not better;
- an answer is bounded, must answer the request that was sent, and leaves without credentials in it;
- a server that asks for something (a form, a sample, a root) is refused; an address that it wants opened in a browser
  is passed on as text for the person.

The messages are written and read here. The SDK's client costs two to eight times as much a call, and keeps cookies.
"""
