"""Moments in a contact's life that end a message, whatever it was about: the exits that cards share.

A card takes those that its own reason gives way to (``exits=[*TROUBLE, IN_TALKS, LEAVING]``). Events are matched as
they come, so what is named here stays true only as long as every journey means the same by it.
"""

from contacts.specs import on

UNHAPPY = on("csat.answered", "nps.answered", mood="bad")
"""An answer that says they are unhappy with us."""

TROUBLE = (on("ticket.opened", "usage.fell"), UNHAPPY)
"""Something is in the customer's way. It comes first; no favour, tip or offer."""

LEAVING = on("purchase.refunded", "subscription.canceled")
"""They give back or end what they bought."""

NOTICE = on("subscription.cancel_scheduled")
"""They have said that their plan is to end. It still runs, so help with it goes on; no favour, offer or present."""

IN_TALKS = on("conversation.started", "handoff.opened")
"""A person of ours has the contact, or is about to."""

TUNED_OUT = on("message.unsubscribed", "message.complained")
"""They asked for no more of it."""
