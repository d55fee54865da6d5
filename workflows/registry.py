"""Every journey there is. A new one is added here and nowhere else."""

from contacts.specs import Card
from workflows.abandoned_checkout import AbandonedCheckout
from workflows.base import Journey
from workflows.nurture import Nurture
from workflows.post_purchase_education import PostPurchaseEducation
from workflows.reading import card_of
from workflows.welcome import Welcome

JOURNEYS: tuple[type[Journey], ...] = (Welcome, Nurture, AbandonedCheckout, PostPurchaseEducation)

CARDS: tuple[Card, ...] = tuple(card_of(cls) for cls in JOURNEYS)
