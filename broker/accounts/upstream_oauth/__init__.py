"""Accounts that people connect by signing in to an MCP server, instead of pasting a credential.

- `sign_ins`  from the page for connecting to the authorization server and back. Single use; the answer is taken only
  from the browser that left, for the identity, link and server that it left for, from the issuer it was sent to and at
  that issuer's own address.
- `redirects` those addresses, and where our documents are: one for each issuer
- `outward`   what a server outside names is never inside the operator's network
- `clients`   as whom we ask: our published document, where the issuer names itself in its answers; a client registered
  once per tenant and issuer; or one that an admin registered and bound to its issuer. What serves nobody is forgotten.
- `renewals`  the next tokens, before the old ones end or when the server takes them no longer. One process at a time
  for each account, by a row in the database; the next pair is stored before it is used.
- `giving_back` a revoked account's tokens, at the server that issued them, where that was asked for
- `gate`      the gate with renewal around it: what calls, and what we ask for ourselves, find a token that is good

Tokens are sealed as the account's credential, kind `oauth`, bound like any other. What the messages look like is
`connectors/mcp_upstream/oauth`.
"""
