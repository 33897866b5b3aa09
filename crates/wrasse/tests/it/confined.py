"""As in a container: confined.py [--user UID] COMMAND...

Executes a command with what Docker's default profile leaves without CAP_SYS_ADMIN: its system call filter, its
capabilities, and cgroup file systems that are read-only. Needs no library but libc.
"""

import ctypes
import os
import platform
import struct
import sys

libc = ctypes.CDLL(None, use_errno=True)

# The exit status where the confinement cannot be had.
CANNOT = 99

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 22, 24, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
# chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, net_raw, sys_chroot, mknod,
# audit_write, setfcap
KEPT = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)

EPERM, ENOSYS = 1, 38
AF_VSOCK = 40
# Every CLONE_NEW* flag that clone takes.
NAMESPACES = 0x7E020000
PERSONALITIES = (0, 8, 0x20000, 0x20008, 0xFFFFFFFF)
# The last call that the profile knows; for later ones the runtime answers ENOSYS.
LAST_KNOWN = 450

# name: (x86_64, aarch64); None where there is no such call.
REFUSED = {
    "_sysctl": (156, None), "acct": (163, 89), "add_key": (248, 217), "bpf": (321, 280),
    "clock_settime": (227, 112), "create_module": (174, None), "delete_module": (176, 106),
    "fanotify_init": (300, 262), "finit_module": (313, 273), "fsconfig": (431, 431), "fsmount": (432, 432),
    "fsopen": (430, 430), "fspick": (433, 433), "get_kernel_syms": (177, None), "get_mempolicy": (239, 236),
    "init_module": (175, 105), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425), "ioperm": (173, None), "iopl": (172, None), "kcmp": (312, 272),
    "kexec_file_load": (320, 294), "kexec_load": (246, 104), "keyctl": (250, 219), "lookup_dcookie": (212, 18),
    "mbind": (237, 235), "migrate_pages": (256, 238), "mount": (165, 40), "mount_setattr": (442, 442),
    "move_mount": (429, 429), "move_pages": (279, 239), "nfsservctl": (180, 42), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "perf_event_open": (298, 241), "pidfd_getfd": (438, 438), "pivot_root": (155, 41),
    "process_madvise": (440, 440), "query_module": (178, None), "quotactl": (179, 60), "quotactl_fd": (443, 443),
    "reboot": (169, 142), "request_key": (249, 218), "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450), "setdomainname": (171, 162), "sethostname": (170, 161),
    "setns": (308, 268), "settimeofday": (164, 170), "swapoff": (168, 225), "swapon": (167, 224),
    "sysfs": (139, None), "syslog": (103, 116), "umount2": (166, 39), "unshare": (272, 97), "uselib": (134, None),
    "userfaultfd": (323, 282), "ustat": (136, None), "vhangup": (153, 58),
}
# audit architecture, column above, clone, clone3, socket, personality
MACHINES = {
    "x86_64": (0xC000003E, 0, 56, 435, 41, 135),
    "aarch64": (0xC00000B7, 1, 220, 435, 198, 92),
}

LOAD, RETURN, EQUAL, ABOVE, AND = 0x20, 0x06, 0x15, 0x25, 0x54
NUMBER, ARCHITECTURE, ARGUMENT = 0, 4, 16
ALLOW = 0x7FFF0000


def errno(number):
    return 0x00050000 | number


def check(result, what):
    if result != 0:
        code = ctypes.get_errno()
        sys.exit(f"confined.py: {what}: {os.strerror(code)}")


def program():
    """The filter, as (code, jump if true, jump if false, value)."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        sys.exit(f"confined.py: no table for {platform.machine()}")
    architecture, column, clone, clone3, socket, personality = machine

    def unless(value, answer):
        """Goes on, or answers when the accumulator has the value."""
        return [(EQUAL, 0, 1, value), (RETURN, 0, 0, answer)]

    lines = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, architecture), (RETURN, 0, 0, errno(EPERM))]
    lines += [(LOAD, 0, 0, NUMBER)]
    lines += unless(clone3, errno(ENOSYS))
    lines += [(ABOVE, 0, 1, LAST_KNOWN), (RETURN, 0, 0, errno(ENOSYS))]
    for numbers in REFUSED.values():
        if numbers[column] is not None:
            lines += unless(numbers[column], errno(EPERM))
    first = [(LOAD, 0, 0, ARGUMENT)]
    blocks = {
        clone: first + [(AND, 0, 0, NAMESPACES)] + unless(0, ALLOW) + [(RETURN, 0, 0, errno(EPERM))],
        socket: first + unless(AF_VSOCK, errno(EPERM)) + [(RETURN, 0, 0, ALLOW)],
        personality: first
        + [line for value in PERSONALITIES for line in unless(value, ALLOW)]
        + [(RETURN, 0, 0, errno(EPERM))],
    }
    for number, block in blocks.items():
        lines += [(EQUAL, 0, len(block), number)] + block
    return lines + [(RETURN, 0, 0, ALLOW)]


def install(lines):
    code = b"".join(struct.pack("=HBBI", *line) for line in lines)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("@HxxxxxxQ", len(lines), ctypes.addressof(buffer))
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0) != 0:
        # Whoever has no CAP_SYS_ADMIN may do so once nothing can give it privileges.
        check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
        check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0), "seccomp")


def writable_cgroups():
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        lines = [line.split() for line in mounts]
    cgroups = [fields for fields in lines if fields[fields.index("-") + 1] in ("cgroup", "cgroup2")]
    return [fields[4] for fields in cgroups if "ro" not in fields[5].split(",")]


def cgroups_read_only():
    if not writable_cgroups():
        return
    if libc.unshare(CLONE_NEWNS) != 0:
        print("confined.py: cgroups may be written here, and no mount may be made", file=sys.stderr)
        sys.exit(CANNOT)
    check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "make mounts private")
    for path in writable_cgroups():
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY
        check(libc.mount(None, path.encode(), None, flags, None), f"remount {path}")


def permitted():
    with open("/proc/self/status", encoding="utf-8") as status:
        return int(next(line for line in status if line.startswith("CapPrm:")).split()[1], 16)


def keep(capabilities):
    with open("/proc/sys/kernel/cap_last_cap", encoding="utf-8") as last:
        for number in range(int(last.read()) + 1):
            if number not in capabilities:
                # Refused where it is not there to be dropped.
                libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    mask = sum(1 << number for number in capabilities) & permitted()
    data = struct.pack("=6I", mask, mask, 0, 0, 0, 0)
    check(libc.capset(struct.pack("=Ii", CAPABILITY_VERSION_3, 0), data), "capset")


words = sys.argv[1:]
user = None
if words[0] == "--user":
    user, words = int(words[1]), words[2:]
filter_lines = program()
if os.geteuid() == 0:
    cgroups_read_only()
    if user is None:
        # While it is allowed: what follows needs no privilege but to drop some.
        install(filter_lines)
        keep(KEPT)
    else:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
if os.geteuid() != 0:
    install(filter_lines)
os.execvp(words[0], words)
