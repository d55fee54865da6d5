"""The HTTP front door: what systems and browsers call, and the pages contacts open. ``gateway.py`` starts it."""
