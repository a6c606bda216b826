"""An OpenID Connect provider for tests and for trying things out: honest unless it is told to lie.

It promises what Core 1.0 and Discovery 1.0 ask of the authorization code flow with PKCE, in the little that a relying
party sees: description, keys with rotation, an authorization endpoint that signs a scripted person in without asking, a
token endpoint where a code works once, userinfo, and a page that signs out and posts logout tokens to the clients that
asked for them (Back-Channel Logout 1.0). `lies.py` lists how it can be made to lie; each lie is one that a relying
party must see through.

    python -m connectors.simulators.oidc --client keyreeve --redirect http://127.0.0.1:8700/t/default/signin/callback
"""
