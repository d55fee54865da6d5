"""Brings the database of the settings up to date: ``python -m ops.migrate``, before new workers and gateways start."""

import sys

import settings
from contacts.migrate import upgrade


def main() -> int:
    """The process. A wrong setting is one line and exit status 2."""
    try:
        url = settings.load().database_url
        if url is None:
            raise settings.WrongSetting("PERENNIAL_DATABASE_URL", "is required")
    except settings.WrongSetting as wrong:
        print(wrong, file=sys.stderr)
        return 2
    upgrade(url.get_secret_value())
    return 0


if __name__ == "__main__":
    sys.exit(main())
