"""An API description made fit for programs: every reference resolved, equal subtrees kept once, in chunks that the
guest loads.

Promises. The description is hostile input: depth, count and size are bounded, and what is over a bound ends in
SpecError or, where only one part is at fault, in a marker in that part's place (`{"$circular": ref}`, `{"$missing":
ref}`, `{"$truncated": why}`). What comes out equals what resolving every reference in place would give. Operation n
is row n of the `SpecIndex` compiled from the same bytes. Pure; seconds of work: `prepare.prepare` runs in the image
builder's process, `prepare.order` makes what it is given.

| module | holds |
|---|---|
| `bounds` | every limit |
| `dag` | nodes, kept once each |
| `references` | what refers to what, and where that is circular |
| `resolve` | a description's parts as nodes |
| `operations` | the operations as programs see them |
| `chunks` | nodes and operations as the guest's `__load` takes them |
| `prepare` | the two halves: in the server, and in the builder |
"""
