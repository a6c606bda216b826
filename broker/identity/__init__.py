"""Who calls: tenants, identities, keys and sessions, and what each kind of bearer may do.

Promises: a bearer token is looked up on every request and never remembered, so a revoked one is refused by
the very next; nobody mints authority or lifetime beyond their own, and what a key minted ends with it; a
token is shown once and only its SHA-256 is kept; which role may do what stands in one table (`roles.py`), and
every change is written to the audit in the transaction that makes it.
"""
