"""Stops an embedded PostgreSQL that nobody uses any more: ``python keeper.py LOCK POSTMASTER_PID_FILE``

Every process that uses the server holds ``LOCK`` shared, and the kernel lets go of it for a process that was
killed. Once this program gets the lock for itself, it tells the server to stop and keeps newcomers out until it
has. It sleeps in the kernel meanwhile.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path


def main() -> None:
    lock, pid_file = map(Path, sys.argv[1:])
    with lock.open() as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        try:
            postmaster = int(pid_file.read_text().split()[0])
            os.kill(postmaster, signal.SIGINT)
            while pid_file.exists():
                os.kill(postmaster, 0)
                time.sleep(0.02)
        except (FileNotFoundError, ProcessLookupError):
            return  # it has stopped, or its data are gone and it with them


if __name__ == "__main__":
    main()
