"""The gate: the one way a request reaches an upstream.

Promises: nothing is sent without a committed intent, every intent gets an outcome; never more than the budget in any
window; when a revoke has committed nothing more is admitted and what is still open is named; a waiting call holds no
database connection; a finished outcome is durable before it is answered.
"""
