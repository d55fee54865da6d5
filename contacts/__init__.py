"""The facts about contacts.

Pure half (values in, values out; safe to import from a workflow):
``clock``, ``events``, ``specs``, ``policy``, ``facts``, ``identity``, ``routing``, ``gate``.

I/O half (PostgreSQL): ``tables``, ``migrations``, ``store``, ``intake``, ``claims``, ``journal``, ``relay``.
"""
