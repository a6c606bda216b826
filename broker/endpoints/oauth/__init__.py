"""OAuth at the edges: metadata, consent, tokens, revocation and registration of each tenant's authorization server.

Everything is under the issuer, `/t/{tenant}/oauth/…`; the metadata stands where RFC 8414 puts it and where clients look
besides. Nothing is decided here: `identity/oauth` does.
"""

from broker.endpoints.oauth import authorize, clients, editors, logout, metadata, register, token

ROUTERS = (
    metadata.router,
    authorize.router,
    token.router,
    register.router,
    editors.router,
    clients.router,
    logout.router,
)
