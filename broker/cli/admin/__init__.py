"""Every administrative call of API.md as a command: one module per noun, one thin function per call."""
