"""The blocking client, made from `_async` by `clients/python/unasync.py`; only `waiting.py` is written by hand."""
