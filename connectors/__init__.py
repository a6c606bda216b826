"""Connectors: one upstream kind each, as code. They hold no tenant data and store nothing.

A connector turns a tool call into a `Prepared` request (pure), sends it with a secret it is handed, and explains the
answer. It never decides whether a call may happen (that is `broker.policy`), never counts it (`broker.gate`) and never
sees a store or a key (`vault.secret` is all it knows of the vault).
"""
