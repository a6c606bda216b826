"""The audit: append-only facts of every call, refusal and administrative change of a tenant. Never a secret.

Promises: a row is bounded, carries who, for whom, with what and what came of it, and is authenticated
(`rows.py`) with a key the database does not hold. Arguments are kept as a keyed digest and an allow-listed
summary, never as values. An intent and its outcomes share `call_id` and `at`, so they lie in one day's
partition and are dropped together. Items (`query.py`) merge them: one per call, refusal or change.
`README.md` says what a gap in a counter means.
"""
