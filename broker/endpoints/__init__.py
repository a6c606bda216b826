"""The edges: they authenticate, parse, call one service and shape the answer. No storage, no HTTP client, no vault."""
