"""A terminal: terminal.py KEYS COMMAND...

Runs a command on a pseudo-terminal of its own, as the leader of the session. What is written to the fifo KEYS is
typed; what appears goes to stdout. When this process is gone, the terminal is closed.
"""

import os
import pty
import select
import sys

keys, command = sys.argv[1], sys.argv[2:]
# Open for writing too, so that it never ends.
typed = os.open(keys, os.O_RDWR)
child, screen = pty.fork()
if child == 0:
    os.close(typed)
    os.execvp(command[0], command)
while True:
    readable, _, _ = select.select([typed, screen], [], [])
    if typed in readable:
        os.write(screen, os.read(typed, 4096))
    if screen in readable:
        try:
            shown = os.read(screen, 4096)
        except OSError:
            break
        if not shown:
            break
        os.write(1, shown)
_, status = os.waitpid(child, 0)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
