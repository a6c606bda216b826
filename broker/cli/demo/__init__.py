"""`keyreeve demo`: the whole main job, played against the bundled Cloudflare simulator.

Promises: it uses only what everybody has (the command `keyreeve up` and the REST API), asserts every step, says each
in plain words, and leaves nothing behind. `stage.py` sets up the processes, `story.py` is what happens on it.
"""
