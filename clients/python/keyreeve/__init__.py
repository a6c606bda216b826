"""Keyreeve client."""
