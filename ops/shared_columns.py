"""What several views of the tables ask for in the same way."""

import sqlalchemy as sa

from contacts.tables import contacts, handoffs

_PROFILE = contacts.c.facts["profile"]

CONTACT = sa.func.coalesce(
    _PROFILE[("email", "value")].astext, _PROFILE[("phone", "value")].astext, sa.cast(contacts.c.id, sa.Text)
).label("contact")
"""How a person knows a contact: by e-mail address, else phone number, else id."""

NOT_TAKEN = sa.and_(handoffs.c.acknowledged_at.is_(None), handoffs.c.closed_at.is_(None))
"""Hand-offs that still wait for somebody."""
