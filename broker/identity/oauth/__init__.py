"""Our OAuth 2.1 authorization server, one per tenant: who may sign people in, and what a sign-in is.

What is promised: a redirect goes only where its client registered it (RFC 9700 § 4.1); a code works once, for its
client, its PKCE verifier and its resource, and a second use ends what the first began; an access token is a session
token of one identity, good at one resource, for 15 minutes; a refresh token is replaced at every use, and one that was
replaced ends the sign-in; nothing is signed in to that the person at the browser did not choose on our own page, with
its access on each connection, of which none is above what the client asked for.

- `scopes`, `resources`, `redirects`, `pkce`, `metadata`, `refresh`, `asking`, `choices`: pure;
- `clients`: which clients there are: an admin's, a document's (client-id metadata), dynamically registered ones;
- `codes`, `sign_ins`: what a consent and its redemption leave behind; `machines`: client credentials.
"""
