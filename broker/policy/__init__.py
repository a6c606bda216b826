"""Who may do what: grants, the pure decision over them, and its explanation.

Promises: only grants add authority and none means deny; adding a grant never takes access away and narrowing
a bearer never adds any; `decide` reads no clock, file or database, so the same facts give the same answer in
a test, in `keyreeve why` and at the gate; every refusal names what is missing and, where a grant would help,
the narrowest one that would.
"""
