//! A gateway in miniature: starts a guardian, sends it a spec, listens.

use std::{
    fs::{self, File, Permissions},
    io::{IoSlice, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::PermissionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        SocketFlags, SocketType, recv, sendmsg, socketpair,
    },
};
use wrasse_guard::{
    IMAGE, Limits, Spec,
    protocol::{Degraded, Event, Order, SPEC_CHUNK_MAX, SPEC_HEADER},
};

use crate::witness::{Mark, PATIENCE};

/// A mark that nothing else carries: installation 0x7e57, and a lease of this process's own.
pub(crate) fn fresh_mark() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let lease = u64::from(std::process::id()) << 12 | NEXT.fetch_add(1, Ordering::Relaxed);
    wrasse_guard::Mark::new(0, 0x7e57, lease).unwrap().to_u64()
}

/// The guard program as a file named `wrasse-warden`, so that a shell gives it the right name.
pub(crate) fn image() -> &'static Path {
    static FOLDER: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
        // Nothing may be executed where some machines have their temporary files; another user may not write here.
        let mut builder = tempfile::Builder::new();
        builder.prefix("wrasse-guard-");
        let folder = builder.tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        let folder = folder.or_else(|_| builder.tempdir()).unwrap();
        let path = folder.path().join("wrasse-warden");
        fs::write(&path, IMAGE).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o500)).unwrap();
        // Another thread's fork may hold the file open for writing for a moment, and then it
        // cannot be executed.
        crate::witness::eventually("the image can be executed", || {
            let tried = Command::new(&path).stderr(Stdio::null()).status();
            tried.is_ok_and(|status| status.code() == Some(64)).then_some(())
        });
        (folder, path)
    });
    &FOLDER.1
}

/// Copies a program in a process of its own. What another thread of ours starts meanwhile would have a descriptor of ours
/// that is open for writing until it has executed, and so long the kernel would execute no such file.
pub(crate) fn install(program: &Path, to: &Path, mode: u32) {
    let status = Command::new("cp").arg(program).arg(to).status().unwrap();
    assert!(status.success(), "{status}");
    fs::set_permissions(to, Permissions::from_mode(mode)).unwrap();
}

/// A program that serves as its own guard.
pub(crate) fn itself() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples/itself")
}

const ARGV0: &str = "wrasse-guardian test";

pub(crate) fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    // Past the capture of the test harness, which shows nothing of a test that passes.
    let _unheard = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

pub(crate) fn python() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    let found = found.find(|file| file.is_file()).unwrap();
    // A manager of versions puts a script there: ask the program itself.
    let asked = Command::new(found).args(["-c", "import sys; print(sys.executable)"]).output();
    PathBuf::from(String::from_utf8(asked.unwrap().stdout).unwrap().trim())
}

/// A command that executes another one, given as its name and its path, where the kernel lacks something.
pub(crate) fn refusing(rules: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wrasse-testkit/refuse.py");
    // By its path: a guardian's environment is empty.
    let mut command = Command::new(python());
    command.arg(script).args(rules).arg("--");
    command
}

/// A guardian as its gateway sees it.
pub(crate) struct Guarded {
    pub(crate) guardian: Child,
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) mark: u64,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: File,
    pub(crate) folder: tempfile::TempDir,
}

impl Guarded {
    /// Starts a guardian, which knows nothing yet.
    pub(crate) fn new(program: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg0(ARGV0).arg("guardian");
        Self::spawn(&mut command)
    }

    /// A guardian for which the kernel lacks something, by the rules of `refuse.py`.
    pub(crate) fn refusing(program: &Path, rules: &[&str]) -> Self {
        let mut command = refusing(rules);
        command.arg(ARGV0).arg(program).arg("guardian");
        Self::spawn(&mut command)
    }

    /// Starts a guardian by whatever executes one in place.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        let guardian = command
            .env_clear()
            .current_dir("/")
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Without a symbolic link: a shell says where it is without any.
        let base = std::env::temp_dir().canonicalize().unwrap();
        let folder = tempfile::Builder::new().prefix("wrasse-guard-").tempdir_in(base).unwrap();
        Guarded {
            guardian,
            socket: Some(ours),
            mark: fresh_mark(),
            stdin: None,
            stdout: File::open("/dev/null").unwrap(),
            folder,
        }
    }

    pub(crate) fn witness(&self) -> Mark {
        Mark::Limit(self.mark)
    }

    /// Sends a spec for `argv` with `env`.
    pub(crate) fn send_spec(&mut self, program: &str, argv: &[&str], env: &[&str]) {
        let cwd = self.folder.path().to_str().unwrap().to_owned();
        let argv: Vec<&[u8]> = argv.iter().map(|word| word.as_bytes()).collect();
        let env: Vec<&[u8]> = env.iter().map(|word| word.as_bytes()).collect();
        self.send_body(&Spec {
            gateway_pid: std::process::id(),
            mark: self.mark,
            name: b"test",
            cwd: cwd.as_bytes(),
            program: program.as_bytes(),
            leaf: b"",
            limits: Limits::default(),
            argv: &argv,
            env: &env,
        });
    }

    /// Sends a spec, in as many chunks as it needs, with pipes for the server.
    pub(crate) fn send_body(&mut self, spec: &Spec<'_>) {
        let mut body = Vec::new();
        spec.encode(&mut |bytes| body.extend_from_slice(bytes)).unwrap();
        assert_eq!(body.len(), spec.encoded_len());
        let (server_stdin, stdin) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let (stdout, server_stdout) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let stderr = File::options().write(true).open("/dev/null").unwrap();
        let total = u32::try_from(body.len()).unwrap();
        for (index, chunk) in body.chunks(SPEC_CHUNK_MAX).enumerate() {
            let offset = u32::try_from(index * SPEC_CHUNK_MAX).unwrap();
            let mut head = [0; SPEC_HEADER];
            let order = Order::Spec { flags: 0, total, offset, bytes: chunk };
            let len = order.encode_head(&mut head);
            let fds = [server_stdin.as_fd(), server_stdout.as_fd(), stderr.as_fd()];
            let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if index == 0 {
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
            }
            let socket = self.socket.as_ref().unwrap();
            let parts = [IoSlice::new(&head[..len]), IoSlice::new(chunk)];
            sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL).unwrap();
        }
        self.stdin = Some(stdin);
        self.stdout = File::from(stdout);
    }

    pub(crate) fn send(&self, order: Order<'_>) {
        let mut head = [0; SPEC_HEADER];
        let len = order.encode_head(&mut head);
        rustix::net::send(self.socket.as_ref().unwrap(), &head[..len], SendFlags::NOSIGNAL)
            .unwrap();
    }

    /// The next event; `None` when the guardian has closed its end.
    pub(crate) fn event(&self) -> Option<Event> {
        let socket = self.socket.as_ref().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut packet = [0; 64];
        while Instant::now() < deadline {
            let mut set = [PollFd::new(socket, PollFlags::IN)];
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            if poll(&mut set, Some(&second)).unwrap() > 0 {
                let (len, _) = recv(socket, packet.as_mut_slice(), RecvFlags::empty()).unwrap();
                return (len > 0).then(|| Event::decode(&packet[..len]).unwrap());
            }
        }
        panic!("the guardian said nothing");
    }

    /// A guardian whose server runs a shell script; returns the server's pid too.
    pub(crate) fn shell(program: &Path, script: &str) -> (Self, u32) {
        Self::new(program).run(script, Degraded::default())
    }

    /// Has a guardian that lacks exactly `expected` run a shell script; returns the server's pid too.
    pub(crate) fn run(mut self, script: &str, expected: Degraded) -> (Self, u32) {
        self.send_spec("/bin/sh", &["sh", "-c", script], &["PATH=/usr/bin:/bin"]);
        match self.event() {
            Some(Event::Ready { degraded, pid }) => {
                assert_eq!((degraded, pid), (expected, self.guardian.id()));
            }
            other => panic!("not ready: {other:?}"),
        }
        self.send(Order::Go);
        let Some(Event::Started { pid }) = self.event() else { panic!("not started") };
        (self, pid)
    }

    /// Reads what the server says until it has said `line`.
    pub(crate) fn wait_for(&mut self, line: &str) {
        let mut said = String::new();
        let mut byte = [0];
        while !said.lines().any(|said| said == line) || !said.ends_with('\n') {
            let mut set = [PollFd::new(&self.stdout, PollFlags::IN)];
            let patience = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
            assert_eq!(poll(&mut set, Some(&patience)).unwrap(), 1, "only said {said:?}");
            assert_eq!(self.stdout.read(&mut byte).unwrap(), 1, "only said {said:?}");
            said.push(char::from(byte[0]));
        }
    }

    /// Everything up to the end; returns the wait status and the number of processes reaped.
    pub(crate) fn finish(&mut self) -> (Option<i32>, u32) {
        let mut exited = None;
        // One is said to be stuck after a second, and every ten seconds from then on.
        for _ in 0..20 {
            match self.event() {
                Some(Event::Exited { status }) => exited = Some(status),
                Some(Event::Empty { reaped }) => {
                    assert_eq!(self.event(), None);
                    assert!(self.guardian.wait().unwrap().success());
                    self.witness().assert_gone();
                    return (exited, reaped);
                }
                Some(Event::Stuck { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        panic!("the tree does not end: {:?}", self.witness().carriers());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.witness().sweep();
        drop(self.guardian.kill());
        drop(self.guardian.wait());
    }
}
