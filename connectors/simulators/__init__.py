"""Simulators: upstreams with the real ones' semantics, for tests, benchmarks and the demo.

Each promises the real service's wire behaviour where Keyreeve depends on it, and says in its docstrings which
parts are sourced and which are from memory. They hold only made-up data and never talk to anything; nothing
in the product needs them to run.
"""
