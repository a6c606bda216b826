"""Accounts that people connect by signing in to an MCP server, instead of pasting a credential.

- `sign_ins`  from the page for connecting to the authorization server and back. Single use; the answer is taken only
  from the browser that left, for the identity, link and server that it left for, and from the issuer it was sent to.
- `clients`   as whom we ask: our published document, a client registered once per tenant, issuer and redirect, or one
  that an admin registered and bound to its issuer
- `renewals`  the next tokens, before the old ones end or when the server takes them no longer. One process at a time
  for each account, by a row in the database; the next pair is stored before it is used.
- `gate`      the gate with renewal around it: what calls, and what we ask for ourselves, find a token that is good

Tokens are sealed as the account's credential, kind `oauth`, bound like any other. What the messages look like is
`connectors/mcp_upstream/oauth`.
"""
