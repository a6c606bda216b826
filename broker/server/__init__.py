"""Running: what `keyreeve up` starts, in which order, and how it all ends.

One parent keeps the embedded PostgreSQL (or checks the external one), migrates, makes the first keys, opens the
listening socket and starts the workers; it serves nothing itself. The workers serve. They are forked from a zygote that
has loaded the program once and knows nothing else; each is handed what it needs over a channel of its own, so that no
secret stands in an environment, on a command line or in the zygote, and ends at once when the parent is gone.
"""
