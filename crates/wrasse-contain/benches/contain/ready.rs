//! Starting trees, contained and not, and knowing when every member stands.

use std::ffi::OsString;
use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::AsyncReadExt;
use wrasse_contain::{Contained, Containment, Limits, PipeReceiver, SpawnSpec};

/// Starts this program with `args` in a tree, and waits for the first byte of each of its `count` members.
pub(crate) async fn contained(
    containment: &Containment,
    args: [String; 4],
    count: usize,
) -> (Contained, PipeReceiver) {
    static INSTANCE: AtomicU64 = AtomicU64::new(1);
    let spec = SpawnSpec {
        name: "bench".to_owned(),
        instance: INSTANCE.fetch_add(1, Ordering::Relaxed),
        program: std::env::current_exe().unwrap().into(),
        args: args.into_iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
        limits: Limits::default(),
    };
    let mut tree = containment.prepare(spec).await.unwrap().go().await.unwrap();
    let mut stdout = tree.take_stdout().unwrap();
    let mut bytes = vec![0; count];
    stdout.read_exact(&mut bytes).await.unwrap();
    (tree, stdout)
}

/// Waits for the first byte of each of `count` members.
pub(crate) fn direct(mut stdout: impl Read, count: usize) {
    let mut bytes = vec![0; count];
    stdout.read_exact(&mut bytes).unwrap();
}
