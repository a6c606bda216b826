"""What runs by itself: partitions, sweeps, forgetting, heartbeats, and the answer to "are you ready?".

Promises: a job that fails is logged, counted and tried again, and takes no other with it; work that must not
be done twice at a time is guarded by an advisory lock; every run has a deadline.
"""
