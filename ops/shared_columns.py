"""What several views of the tables ask for in the same way."""

import sqlalchemy as sa

from contacts.tables import contacts, handoffs, identities

_PROFILE = contacts.c.facts["profile"]
_KINDS = ("email", "phone", "user")

_KNOWN_AS = (
    sa.select(identities.c.value)
    .where(identities.c.contact_id == contacts.c.id, identities.c.kind.in_(_KINDS))
    .order_by(sa.case({kind: n for n, kind in enumerate(_KINDS)}, value=identities.c.kind), identities.c.value)
    .limit(1)
    .correlate(contacts)
    .scalar_subquery()
)

CONTACT = sa.func.coalesce(_PROFILE[("email", "value")].astext, _KNOWN_AS, sa.cast(contacts.c.id, sa.Text)).label(
    "contact"
)
"""How a person knows a contact: by e-mail address, else phone number, else user id, else our own id."""

NOT_TAKEN = sa.and_(handoffs.c.acknowledged_at.is_(None), handoffs.c.closed_at.is_(None))
"""Hand-offs that still wait for somebody."""
