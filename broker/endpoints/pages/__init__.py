"""The pages that people see: sign in, what is connected, connect an account, what an agent can do, set an editor up.

Server-rendered, complete without scripts, and closed: no third party, no inline script or style, never in a frame,
never in a cache or history that somebody else reads. What a link's address carries leaves it with the first answer,
for a cookie; opening a page changes nothing; whatever changes something is a form that only this very page can send.
Every text that comes from elsewhere is escaped and shown without invisible characters (`view.py`).

`PAGES` are the routers. Another page joins by `route.router()`, `view.render` and, in its form, `hardening.check_form`.
"""

from broker.endpoints.pages import assets, connect, home, oidc, signin, upstream

PAGES = (home.router, signin.router, oidc.router, upstream.router, connect.router, assets.router)
