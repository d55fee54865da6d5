"""Proves, from the tables and Temporal's histories, that every promise was kept: ``perennial verify``.

What is read is turned into values (``rows``, ``workflows``), the checks are functions of those values (``lives``,
``deliveries``, ``agreement``), and ``proof`` goes through all contacts in pages. ``repair`` mends what is safe to mend.
"""
