//! Processes that are none of a tree's, with the command line of its members: one apart, and one that joins the
//! process group of the tree's leader, if the kernel lets it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use wrasse_testkit::processes::{self, Process};

use crate::tree::{self, Shape, Tag};

/// How many there are beside each tree.
pub(crate) const COUNT: usize = 2;

/// They, while a tree is ended beside them.
#[derive(Debug)]
pub(crate) struct Strangers(Vec<Child>);

impl Strangers {
    /// Starts them. A group in another session cannot be joined: then both are apart.
    pub(crate) fn start(
        tag: &Tag,
        leader: u32,
        spawn: impl Fn(&mut Command) -> std::io::Result<Child>,
    ) -> Self {
        let apart = || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(tree::leader(Shape::Flat, 1, tag)).stdin(Stdio::null());
            command.stdout(Stdio::null()).process_group(0);
            command
        };
        let group = i32::try_from(leader).unwrap();
        let joined = spawn(apart().process_group(group));
        Self(vec![spawn(&mut apart()).unwrap(), joined.or_else(|_| spawn(&mut apart())).unwrap()])
    }

    /// Whether a process is one of them.
    pub(crate) fn are(&self, process: &Process) -> bool {
        self.0.iter().any(|child| child.id() == process.pid)
    }

    /// Ends those that live, and says how many do not.
    pub(crate) fn end(mut self) -> usize {
        // One that was hit may have been reaped with its group, and its number be another's.
        let lives = |child: &Child| {
            let now = processes::read(child.id());
            now.is_some_and(|now| now.state != 'Z' && now.ppid == std::process::id())
        };
        let mut hit = 0;
        for child in &mut self.0 {
            if lives(child) {
                child.kill().unwrap();
            } else {
                hit += 1;
            }
            drop(child.wait());
        }
        hit
    }
}
