"""The REST API of API.md: thin handlers, one problem map, and the bounds every request meets first."""
