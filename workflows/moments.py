"""Moments in a contact's life that mean the same to many journeys, each under one name.

Most are exits that cards share (``exits=[*TROUBLE, IN_TALKS, LEAVING]``); a wait may name them too. Change one only if
it changes for all who use it.
"""

from contacts.specs import on

ASKED = on("form.submitted", form=("contact", "question", "demo", "callback"))
"""They asked us something; ``LeadAnswer`` sees to it."""

REPLIED = on("message.replied", machine=False)
"""A person wrote back. What an absence note says is no answer."""

IN_TALKS = on("conversation.started", "handoff.opened")
"""A person of ours has the contact, or is about to. Not for a journey that hands over itself: it would end itself."""

UNHAPPY = on("csat.answered", "nps.answered", mood="bad")
"""An answer that says they are unhappy with us."""

TROUBLE = (on("ticket.opened", "usage.fell"), UNHAPPY)
"""Something is in the customer's way, and comes before any favour, tip or offer."""

LEAVING = on("purchase.refunded", "subscription.canceled")
"""They give back or end what they bought."""

NOTICE = on("subscription.cancel_scheduled")
"""They have said that their plan is to end. It still runs, so help with it goes on; no favour, offer or present."""

TUNED_OUT = on("message.unsubscribed", "message.complained")
"""They asked for no more of it."""
