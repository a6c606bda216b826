"""Running: what `keyreeve up` starts, in which order, and how it all ends.

One parent keeps the embedded PostgreSQL (or checks the external one), migrates, makes the first keys, opens the
listening socket and starts the workers; it serves nothing itself. The workers serve; each is handed what it needs over
a pipe, so that no secret stands in an environment or on a command line, and ends at once when the parent is gone.
"""
