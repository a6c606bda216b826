"""Connections, the descriptions pinned for them, and the accounts connected through them.

Promises: a credential is sealed for the origins its connection had at deposit and nothing is stored unsealed; a deposit
that does not verify leaves nothing behind; what is derived from a connection or an account is cached under its version,
never longer than that version lives.
"""
