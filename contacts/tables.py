"""The tables, as SQLAlchemy sees them. The schema itself is made by ``contacts/migrations``; a test holds them equal.

Business times come from the journeys' clock as parameters. The database's own are only those of a machine's work: when
the relay tries again, since when a call to a provider may be on its way or a provider is out, when the next call may be
made.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP

metadata = sa.MetaData()

_ID = sa.Uuid(as_uuid=False)
_TIME = TIMESTAMP(timezone=True)

ACTS = sa.Sequence("acts", metadata=metadata)
"""Numbers what is done to a contact, in the order in which it was done: clocks cannot order two transactions.

An act takes its number while its transaction holds the contact's row, which stays locked until the commit. So of two
acts on one contact, the one with the smaller number was committed before the other began. A person's halt takes its
number while no claim is under way (``contacts.pauses``), so it is ordered with every claim. Gaps mean nothing; rows
from before acts were numbered have no number.
"""

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("received_at", _TIME, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("headers", JSONB, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("events", sa.Integer, nullable=False, server_default="0"),
    sa.Index("inbox_unfinished", "id", postgresql_where=sa.text("status IN ('received', 'failed')")),
    sa.Index("inbox_received", "received_at", "status"),
    comment="Verified requests as they came; status received, parsed, ignored, nobody or failed",
)

contacts = sa.Table(
    "contacts",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("facts", JSONB, nullable=False),
    sa.Column("merged_into", _ID, sa.ForeignKey("contacts.id")),
    sa.Column("merge_act", sa.BigInteger),
    comment="One row a person; its lock orders events and claims; facts is contacts.facts.Facts",
)

identities = sa.Table(
    "identities",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, primary_key=True),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False, index=True),
    sa.Column("since", _TIME, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("source_id", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("occurred_at", _TIME, nullable=False),
    sa.Column("received_at", _TIME, nullable=False),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False),
    sa.Column("stored_for", _ID, sa.ForeignKey("contacts.id")),
    sa.Column("act", sa.BigInteger, default=ACTS.next_value()),
    sa.Column("identities", JSONB, nullable=False),
    sa.Column("data", JSONB, nullable=False),
    sa.UniqueConstraint("source", "source_id", name="events_once"),
    sa.Index("events_of_contact", "contact_id", "occurred_at"),
    sa.Index("events_data", "data", postgresql_using="gin", postgresql_ops={"data": "jsonb_path_ops"}),
    sa.Index(
        "events_holds",
        "contact_id",
        "occurred_at",
        postgresql_where=sa.text("type IN ('hold.opened', 'hold.released')"),
    ),
    comment="What happened; stored_for: whose it was before a merge gave it to contact_id",
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("workflow_id", sa.Text, nullable=False, index=True),
    sa.Column("journey", sa.Text, nullable=False),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False, index=True),
    sa.Column("key", sa.Text),
    sa.Column("entry_event", _ID, sa.ForeignKey("events.id"), nullable=False),
    sa.Column("entered_at", _TIME, nullable=False),
    sa.Column("started_at", _TIME, nullable=False),
    sa.Column("stage", sa.Text),
    sa.Column("next_wake", _TIME),
    sa.Column("exit_event", _ID, sa.ForeignKey("events.id")),
    sa.Column("exited_at", _TIME),
    sa.Column("exit_act", sa.BigInteger),
    sa.Column("outcome", sa.Text),
    sa.Column("ended_at", _TIME),
    sa.Column("paused_at", _TIME),
    sa.Column("resumed_at", _TIME),
    sa.Index(
        "runs_open_once",
        "journey",
        "contact_id",
        sa.text("coalesce(key, '')"),
        unique=True,
        postgresql_where=sa.text("exited_at IS NULL AND ended_at IS NULL"),
    ),
    sa.Index("runs_of_journey", "journey", "started_at"),
    sa.Index("runs_by_key", "journey", "key", postgresql_where=sa.text("key IS NOT NULL")),
    sa.Index(
        "runs_to_begin",
        "started_at",
        postgresql_where=sa.text("stage IS NULL AND exited_at IS NULL AND ended_at IS NULL"),
    ),
    sa.Index(
        "runs_to_wake",
        "next_wake",
        postgresql_where=sa.text("next_wake IS NOT NULL AND exited_at IS NULL AND ended_at IS NULL"),
    ),
    sa.Index("runs_to_end", "exited_at", postgresql_where=sa.text("exited_at IS NOT NULL AND ended_at IS NULL")),
    comment="One row a run; exited_at: an event ended it; ended_at: the workflow finished; paused_at: it rests",
)

dispatches = sa.Table(
    "dispatches",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("run_id", _ID, sa.ForeignKey("runs.id")),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("payload", JSONB, nullable=False),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_try_at", _TIME, nullable=False, server_default=sa.text("now()")),
    sa.Column("done_at", _TIME),
    sa.Column("error", sa.Text),
    sa.Index("dispatches_due", "run_id", "id", postgresql_where=sa.text("done_at IS NULL")),
    comment="What Temporal must still hear; kind start, event or exit, in order within a run; or tell, of no run",
)

touches = sa.Table(
    "touches",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("key", sa.Text, nullable=False, unique=True),
    sa.Column("run_id", _ID, sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False),
    sa.Column("journey", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("template", sa.Text, nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("asked_at", _TIME, nullable=False),
    sa.Column("valid_until", _TIME, nullable=False),
    sa.Column("wait_until", _TIME),
    sa.Column("hold", sa.Text),
    sa.Column("claimed_at", _TIME),
    sa.Column("called_at", _TIME),
    sa.Column("settled_at", _TIME),
    sa.Column("provider", sa.Text),
    sa.Column("provider_id", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Column("subject", sa.Text),
    sa.Column("body", sa.Text),
    sa.Column("template_hash", sa.Text),
    sa.Column("live", JSONB),
    sa.Index("touches_of_contact", "contact_id", "claimed_at"),
    sa.Index("touches_of_journey", "journey", "claimed_at"),
    sa.Index("touches_at_provider", "provider_id", "provider"),
    sa.Index("touches_waiting", "contact_id", postgresql_where=sa.text("status = 'waiting'")),
    sa.Index("touches_claimed", "claimed_at", postgresql_where=sa.text("status = 'claimed'")),
    sa.Index("touches_settled", "settled_at", "status", postgresql_where=sa.text("settled_at IS NOT NULL")),
    comment="status waiting, claimed, sent, unknown, failed or dropped",
)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("touch_id", _ID, sa.ForeignKey("touches.id"), nullable=False, index=True),
    sa.Column("act", sa.BigInteger, default=ACTS.next_value()),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("until", _TIME),
    sa.Column("hold", sa.Text),
    sa.Column("inputs", JSONB, nullable=False),
    sa.Column("policy_version", sa.Text, nullable=False),
    sa.Column("code_version", sa.Text, nullable=False),
    comment="Every answer of the gate with what it was based on",
)

pauses = sa.Table(
    "pauses",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("opened_at", _TIME, nullable=False),
    sa.Column("opened_by", sa.Text, nullable=False),
    sa.Column("told_at", _TIME),
    sa.Column("released_at", _TIME),
    sa.Column("released_by", sa.Text),
    sa.Column("until", _TIME),
    sa.Column("figures", JSONB),
    sa.Column("opened_act", sa.BigInteger),
    sa.Column("released_act", sa.BigInteger),
    sa.Index("pauses_open_once", "scope", "name", unique=True, postgresql_where=sa.text("released_at IS NULL")),
    comment="Halts, by an operator or the breaker (without opened_act); scope all, channel or journey",
)

handoffs = sa.Table(
    "handoffs",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_id", _ID, sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False, index=True),
    sa.Column("journey", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("because_at", _TIME, nullable=False),
    sa.Column("opened_at", _TIME, nullable=False),
    sa.Column("tell_by", _TIME, nullable=False),
    sa.Column("contact_by", _TIME, nullable=False),
    sa.Column("told_at", _TIME),
    sa.Column("crm_id", sa.Text),
    sa.Column("crm_task_id", sa.Text),
    sa.Column("alert_id", sa.Text),
    sa.Column("reminders", sa.Integer, nullable=False, server_default="0"),
    sa.Column("acknowledged_at", _TIME),
    sa.Column("acknowledged_by", sa.Text),
    sa.Column("closed_at", _TIME),
    sa.Index(
        "handoffs_waiting",
        "contact_by",
        postgresql_where=sa.text("acknowledged_at IS NULL AND closed_at IS NULL"),
    ),
    comment="A contact given to a person: why, by when, who took it",
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("id", _ID, primary_key=True),
    sa.Column("run_id", _ID, sa.ForeignKey("runs.id"), nullable=False, index=True),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False, index=True),
    sa.Column("journey", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("asked_at", _TIME, nullable=False),
    sa.Column("until", _TIME, nullable=False),
    sa.Column("told_at", _TIME),
    sa.Column("alert_id", sa.Text),
    sa.Column("answered_at", _TIME),
    sa.Column("answered_by", sa.Text),
    sa.Column("approved", sa.Boolean),
    sa.Column("closed_at", _TIME),
    sa.Index(
        "approvals_waiting",
        "until",
        postgresql_where=sa.text("answered_at IS NULL AND closed_at IS NULL"),
    ),
    comment="A yes that a run waits for: what, until when, who said what; closed_at: it went on without an answer",
)

reviews = sa.Table(
    "reviews",
    metadata,
    sa.Column("run_id", _ID, sa.ForeignKey("runs.id"), primary_key=True),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False),
    sa.Column("journey", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("story", JSONB, nullable=False),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("resolved_at", _TIME),
    sa.Column("resolved_by", sa.Text),
    comment="Runs a person should look at",
)

journal = sa.Table(
    "journal",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("at", _TIME, nullable=False),
    sa.Column("contact_id", _ID, sa.ForeignKey("contacts.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("journey", sa.Text),
    sa.Column("run_id", _ID),
    sa.Column("once", sa.Text, unique=True),
    sa.Column("data", JSONB, nullable=False),
    sa.Index("journal_of_contact", "contact_id", "at", "id"),
    comment="What happened, in the order of time, for people to read",
)

paces = sa.Table(
    "paces",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("free_at", _TIME, nullable=False),
    comment="When an outside system may be called next, by all workers together",
)

outages = sa.Table(
    "outages",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("since", _TIME, nullable=False),
    sa.Column("tried_at", _TIME, nullable=False),
    comment="Providers from whom nothing but failures has come since",
)

tellings = sa.Table(
    "tellings",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    sa.Column("event_id", _ID, sa.ForeignKey("events.id"), nullable=False),
    sa.Column("sink", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("round", sa.Integer, nullable=False, server_default="1"),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("provider_id", sa.Text),
    sa.Column("settled_at", _TIME),
    sa.UniqueConstraint("event_id", "sink", name="tellings_once"),
    sa.Index("tellings_failed", "id", postgresql_where=sa.text("status = 'failed'")),
    comment="Events that another system is told of; status waiting, told or failed; round counts the replays",
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("polled_at", _TIME, nullable=False),
    comment="How far a system that is asked what happened has been asked",
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("token", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.LargeBinary, nullable=False),
    sa.Column("seen_at", _TIME, nullable=False),
    sa.Index("tokens_by_age", "source", "seen_at"),
    comment="What was signed in place of a body, and the one body that it came with",
)

chores = sa.Table(
    "chores",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("every", sa.Interval, nullable=False),
    sa.Column("done_at", _TIME, nullable=False),
    comment="What must be done again and again, and when it was done last",
)

incidents = sa.Table(
    "incidents",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("since", _TIME, nullable=False),
    sa.Column("seen_at", _TIME, nullable=False),
    sa.Column("told_at", _TIME),
    sa.Column("told_count", sa.Integer, nullable=False),
    comment="What is overdue and whether a person was told; by the clock of the machine",
)
