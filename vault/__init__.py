"""Sealed storage: credentials and evidence at rest, opened only for the row they were sealed for.

Promises:
- What is stored opens only under the tenant, account, credential, version, kind and origins (or blob purpose
  and object) it was sealed with. A moved, redirected or edited row raises; it never opens as something else.
- A plaintext leaves as a `Secret`, which refuses to be printed, compared, copied or serialised.
- Without the root key nothing opens; when a key cannot be had, the answer is `KeyUnavailable`, never a guess.
- This package knows nothing of HTTP, tenants' policy, or who asks.

Nothing is re-exported: `vault.secret` stays importable without loading keys, tables or SQLAlchemy.
"""
