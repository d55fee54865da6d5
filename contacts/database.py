"""The connection to PostgreSQL."""

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine


def connect(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """An engine for a ``postgresql://`` URL (any driver suffix): psycopg, UTC sessions, dead connections noticed."""
    scheme, _, rest = url.partition("://")
    return create_async_engine(
        f"{scheme.partition('+')[0]}+psycopg://{rest}",
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,
        connect_args={"options": "-c timezone=UTC", "connect_timeout": 5},
    )
