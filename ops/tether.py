"""Becomes a command that cannot outlive the process that asked for it: ``python tether.py PARENT COMMAND...``

The kernel kills it when ``PARENT`` ends, however that ends. Only Linux offers this; elsewhere the command runs
all the same, and the next ``perennial up`` ends what an earlier one left behind. A program of its own rather
than a ``preexec_fn``, because the parent runs threads of Temporal's core, after which a fork may do no more than
become another program.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(parent):
            return  # it ended before the kernel was asked
    os.execvp(command[0], command)  # noqa: S606  # becoming the command is the point


if __name__ == "__main__":
    main()
