"""A kernel that lacks something: refuse.py RULE... -- ARGV0 PROGRAM [ARG...]

Executes a program for which, and for all that comes of it, system calls fail:

  --errno CALL=ERRNO                 always
  --errno CALL:2=10,3!=0=ERRNO       where the third argument is 10 and the fourth is not 0 (they count from 0)
  --hide SUFFIX                      openat of a path that ends like this: ENOENT
  --no-exec PART                     execve of a path that holds this: EACCES

The first kind is a filter and execution in place. The other two need somebody who reads paths: this process stays as
the parent of the program, until nothing that came of it lives. Needs no library but libc.
"""

import array
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)

PR_SET_NO_NEW_PRIVS = 38
SECCOMP_SET_MODE_FILTER, NEW_LISTENER = 1, 8
NOTIFY, ERRNO, ALLOW = 0x7FC00000, 0x00050000, 0x7FFF0000
LOAD, RETURN, EQUAL = 0x20, 0x06, 0x15
RECEIVE, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1
PATH_MAX = 4096

# name: (x86_64, aarch64)
CALLS = {
    "clone3": (435, 435), "close_range": (436, 436), "execve": (59, 221), "memfd_create": (319, 279),
    "openat": (257, 56), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "prctl": (157, 167),
    "prlimit64": (302, 261), "seccomp": (317, 277),
}
COLUMN = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def number(call):
    return CALLS[call][COLUMN]


def load(offset):
    return (LOAD, 0, 0, offset)


def rule(text):
    """The lines of the filter for one --errno."""
    what, answer = text.rsplit("=", 1)
    call, _, conditions = what.partition(":")
    tests = []
    for condition in filter(None, conditions.split(",")):
        index, value = condition.split("!=") if "!=" in condition else condition.split("=")
        # The low half is enough: options, resources, and pointers that are not null.
        tests += [(load(16 + 8 * int(index)), "!=" in condition, int(value))]
    lines = [(RETURN, 0, 0, ERRNO | getattr(errno, answer))]
    for loaded, unequal, value in reversed(tests):
        skip = len(lines)
        lines = [loaded, (EQUAL, skip, 0, value) if unequal else (EQUAL, 0, skip, value)] + lines
    return [load(0), (EQUAL, 0, len(lines), number(call))] + lines


def install(lines, flags):
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("@HxxxxxxQ", len(lines), ctypes.addressof(buffer))
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        sys.exit("refuse.py: no_new_privs")
    result = libc.syscall(number("seccomp"), SECCOMP_SET_MODE_FILTER, flags, header)
    if result < 0:
        sys.exit(f"refuse.py: seccomp: {os.strerror(ctypes.get_errno())}")
    return result


def path_of(pid, address):
    """The string there, as far as it is on pages that can be read."""
    text = b""
    try:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            memory.seek(address)
            while b"\0" not in text and len(text) < PATH_MAX:
                page = 4096 - (address + len(text)) % 4096
                text += memory.read(page)
    except (OSError, ValueError):
        return ""
    return text.split(b"\0")[0].decode(errors="replace")


def answer(listener, hidden, unexecutable):
    notice = array.array("B", bytes(80))
    try:
        fcntl.ioctl(listener, RECEIVE, notice, True)
    except OSError:
        return
    identity, pid, _, call, _, _, *arguments = struct.unpack("=QIIiIQ6Q", notice.tobytes())
    code = 0
    if call == number("openat") and hidden:
        path = path_of(pid, arguments[1])
        code = errno.ENOENT if any(path.endswith(suffix) for suffix in hidden) else 0
    elif call == number("execve") and unexecutable:
        path = path_of(pid, arguments[0])
        code = errno.EACCES if any(part in path for part in unexecutable) else 0
    reply = struct.pack("=QqiI", identity, 0, -code, 0 if code else CONTINUE)
    try:
        fcntl.ioctl(listener, SEND, reply)
    except OSError:
        pass  # It was killed meanwhile.


def supervise(child, listener, hidden, unexecutable):
    # What ends us is for the program: we end with it.
    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, lambda got, _: os.kill(child, got))
    status, alive = None, True
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while alive:
        for _, events in poll.poll(50):
            if events & select.POLLIN:
                answer(listener, hidden, unexecutable)
            elif events & select.POLLHUP:
                alive = False
        if status is None:
            pid, waited = os.waitpid(child, os.WNOHANG)
            status = waited if pid else None
    if status is None:
        status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def main(arguments):
    split = arguments.index("--")
    rules, command = arguments[:split], arguments[split + 1 :]
    lines, hidden, unexecutable = [], [], []
    for kind, value in zip(rules[::2], rules[1::2]):
        if kind == "--errno":
            lines += rule(value)
        elif kind == "--hide":
            hidden.append(value)
        elif kind == "--no-exec":
            unexecutable.append(value)
        else:
            sys.exit(__doc__)
    watched = [call for call, wanted in (("openat", hidden), ("execve", unexecutable)) if wanted]
    for call in watched:
        lines += [load(0), (EQUAL, 0, 1, number(call)), (RETURN, 0, 0, NOTIFY)]
    lines.append((RETURN, 0, 0, ALLOW))
    if not watched:
        install(lines, 0)
        os.execv(command[1], [command[0]] + command[2:])
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        listener = install(lines, NEW_LISTENER)
        socket.send_fds(theirs, [b"x"], [listener])
        os.close(listener)
        theirs.close()
        os.execv(command[1], [command[0]] + command[2:])
    theirs.close()
    _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    supervise(child, fds[0], hidden, unexecutable)


main(sys.argv[1:])
