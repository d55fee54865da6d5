"""Notices what did not happen: wake-ups, sweeps, what Temporal should have heard. It asks PostgreSQL only, so it works
while worker and Temporal are dead, which is when wake-ups are missed.

``counts`` reads one snapshot, ``incidents`` decides when a person is told, ``watch`` does both once a minute.
"""
