"""The search attributes of a run: what an operator can filter and sort runs by.

Every server that runs journeys has these registered in its namespace. There is room for ten Keyword and three
each of Bool and Datetime; a value is at most 255 characters, in plain text, so none may hold personal data.
"""

from temporalio.common import SearchAttributeKey

JOURNEY = SearchAttributeKey.for_keyword("Journey")
STAGE = SearchAttributeKey.for_keyword("Stage")
CONTACT = SearchAttributeKey.for_keyword("Contact")
OWNER = SearchAttributeKey.for_keyword("Owner")
HOLD = SearchAttributeKey.for_keyword("Hold")
OUTCOME = SearchAttributeKey.for_keyword("Outcome")
ENTRY_POINT = SearchAttributeKey.for_keyword("EntryPoint")
NEEDS_REVIEW = SearchAttributeKey.for_bool("NeedsReview")
NEXT_WAKE = SearchAttributeKey.for_datetime("NextWake")

ALL = (JOURNEY, STAGE, CONTACT, OWNER, HOLD, OUTCOME, ENTRY_POINT, NEEDS_REVIEW, NEXT_WAKE)
"""Every attribute above, in the order they are registered."""
