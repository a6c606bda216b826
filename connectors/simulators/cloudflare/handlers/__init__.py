"""What each operation does to the state, one module per product. Handlers are synchronous and never wait."""
