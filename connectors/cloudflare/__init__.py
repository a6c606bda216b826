"""Cloudflare: user API tokens, account tokens and the Global API Key over the v4 REST and GraphQL APIs.

Promises:
- a call is one operation of the connection's pinned description (or the GraphQL endpoint), checked before it
  is sent;
- what an operation does (`effect`), whether it hands out secrets or access (`guarded`) and which answer
  fields are secret come from reviewed tables here, never from the description alone;
- `permit` says `denied` only where the token's own policies leave no doubt; doubt is `unknown`;
- answers come back as the upstream wrote them, number for number and byte for byte, but for secrets, which
  are replaced.

`connector` puts it together; the other modules are named for what they know.
"""
