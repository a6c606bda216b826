"""Signing in to an MCP server with OAuth (MCP 2026-07-28, basic/authorization), as its client: the messages and nothing
else. Who signs in, what is kept and when it is renewed is the application's to say (`broker/accounts/upstream_oauth`).

- `challenge`     what a 401 or 403 says (RFC 6750, RFC 9728)
- `discovery`     from the server to its authorization server (RFC 9728, RFC 8414, OpenID Connect Discovery)
- `registration`  becoming a client: a document of our own, or RFC 7591
- `authorization` the address a person is sent to, and the answer they come back with (PKCE, RFC 8707, RFC 9207)
- `tokens`        a code, or a refresh token, for tokens; and giving them back (RFC 6749, RFC 7009)

Nothing that the other side says is believed because it says so: issuers are compared letter by letter, PKCE with S256
is a condition, every address is under the egress rule, no redirect is followed, every answer is bounded in size and
time. What a refusal says holds none of the other side's words but the error code, where it is one of RFC 6749's.
"""
