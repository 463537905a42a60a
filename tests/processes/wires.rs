//! A network of the processes' own, in which a cable can be pulled: packets do not arrive, and nobody is told.
//!
//! Each node has a network namespace, joined to a bridge by a cable. They are made in a namespace of the test's own,
//! with a mount table of its own, so that nothing of the machine's network is touched and nothing is left behind.
//! That takes a kernel and a system that let the user do so; elsewhere the test says that it was skipped.
//!
//! ```text
//! test ── unshare ── test again ── bridge ─┬─ wire0 ── eth0 in node0, 10.0.0.1
//!                                          ├─ wire1 ── eth0 in node1, 10.0.0.2
//!                                          └─ ...
//! ```

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::worker::LISTEN_VARIABLE;

/// Set where the test runs in namespaces of its own.
const INSIDE_VARIABLE: &str = "DRIFTLESS_PROCESS_NAMESPACE";
/// How a program is started in namespaces of its own, as who may do anything there.
const UNSHARE: [&str; 5] = ["unshare", "--user", "--map-root-user", "--net", "--mount"];
/// All that is needed to lay cables, once.
const PROBE: &str = "mount -t tmpfs tmpfs /run && ip netns add probe && ip link add probe type bridge \
    && ip link add wire type veth peer name eth0 netns probe && ip link set wire master probe up \
    && nsenter --net=/run/netns/probe ip addr add 10.0.0.1/24 dev eth0";

/// The cables of a fleet.
#[derive(Debug)]
pub(crate) struct Wires(());

impl Wires {
    /// Lays a cable for each node and returns them, where that can be done at once. Elsewhere runs `test` again where
    /// it can, and returns nothing: the test is over, or was skipped.
    #[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
    pub(crate) fn lay(test: &str, nodes: usize) -> Option<Self> {
        if std::env::var_os(INSIDE_VARIABLE).is_some() {
            return Some(Self::laid(nodes));
        }
        if let Err(error) = run(&[&UNSHARE[..], &["sh", "-c", PROBE]].concat()) {
            println!("SKIPPED: this system lets nobody make network namespaces: {error}");
            return None;
        }
        let [unshare, options @ ..] = UNSHARE;
        let program = std::env::current_exe().expect("this program has a file");
        let status = Command::new(unshare)
            .args(options)
            .arg(program)
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env(INSIDE_VARIABLE, "1")
            .status()
            .expect("it did for the probe");
        assert!(status.success(), "{test} failed in namespaces of its own");
        None
    }

    /// Pulls the cable of a node: from here on no packet reaches it, and none of its own arrives.
    pub(crate) fn pull(&self, node: usize) {
        must(&format!("ip link set wire{node} nomaster"));
    }

    /// Puts it in again.
    pub(crate) fn put(&self, node: usize) {
        must(&format!("ip link set wire{node} master bridge"));
    }

    fn laid(nodes: usize) -> Self {
        // Where names of namespaces are kept.
        must("mount -t tmpfs tmpfs /run");
        must("ip link set lo up");
        must("ip link add bridge type bridge");
        must("ip link set bridge up");
        for node in 0..nodes {
            must(&format!("ip netns add node{node}"));
            must(&format!("ip link add wire{node} type veth peer name eth0 netns node{node}"));
            must(&format!("ip link set wire{node} master bridge up"));
            must(&format!("ip -n node{node} link set lo up"));
            must(&format!("ip -n node{node} addr add {}/24 dev eth0", address(node)));
            must(&format!("ip -n node{node} link set eth0 up"));
        }
        Self(())
    }
}

/// Where a node that has a cable listens.
fn address(node: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(node + 1).expect("a few nodes"))
}

/// Starts a program at the end of a node's cable. It is the child itself, so that killing the one kills the other.
pub(crate) fn command_at(node: usize, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/node{node}")).arg(program);
    command.env(LISTEN_VARIABLE, address(node).to_string());
    command
}

fn must(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    run(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
}

fn run(words: &[&str]) -> Result<(), String> {
    let (program, arguments) = words.split_first().expect("a program");
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
