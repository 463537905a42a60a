//! The program `driftless`: a demonstration, and a look into a node's directory.

mod command;
mod demo;
mod shop;
#[cfg(feature = "sim")]
mod simulate;
mod table;

use std::io::Write;
use std::process::ExitCode;

use command::Command;

const HELP: &str = "\
driftless: a local-first application database whose replicas never drift apart

Usage: driftless [COMMAND]

Commands:
  demo                     three devices run a repair shop, part, and agree again (default)
  status <dir>             what a node's directory holds; the node must be closed
  init <dir> <name> [--recovery-key]
                           found a space in a directory, and show the key that stands above its members
  run <dir> [address]      serve a directory to its peers until interrupted
  invite <dir> [role] [--approve]
                           print an invite, and serve the directory until a device has joined; with --approve,
                           ask here about each device that wants to
  requests <dir>           list the devices that wait to be let in
  approve <dir> <device>   let one in, and serve the directory until it has joined
  decline <dir> <device>   refuse one
  join <dir> <invite>      join a space, and fetch what it holds; shows the code to compare where one is needed
  recover <dir> <key> [device [number]]
                           take the founder's place by the recovery key, and list what the founder's other devices
                           said; or remove a device, with what it said from a number of that list on
  sim [words]              run seeds through the simulator; needs the feature `sim`
  help                     this text

Words of sim: --seed N | --seeds A..B, --seconds S, --threads N, --log, --keep N,N,.. | none, --devices A..B,
  --spaces A..B, --commits N, --faults N, --malice N, --duration-ms N, --plant BUG. Without any, the seeds 0 to 99 run.

Roles: reader, writer (default), admin, owner.
Nodes listen on 0.0.0.0 and the port of the last time, or where DRIFTLESS_LISTEN says, as in 127.0.0.1:4433.
";

#[tokio::main]
async fn main() -> ExitCode {
    let command = match Command::parse(std::env::args().skip(1)) {
        Ok(command) => command,
        Err(reason) => return fail(&format!("{reason}\n\n{HELP}"), 2),
    };
    let mut out = std::io::stdout();
    let done = match command {
        Command::Help => out.write_all(HELP.as_bytes()).map_err(Into::into),
        Command::Demo => demo::run(&mut out).await,
        Command::Status { dir } => command::status(&mut out, &dir).await,
        Command::Init { dir, name, recovery_key } => command::init(&mut out, &dir, &name, recovery_key).await,
        Command::Recover { dir, key, device, from } => {
            command::recover(&mut out, &dir, &key, device.as_deref(), from).await
        }
        Command::Run { dir, listen } => command::run(&mut out, &dir, listen).await,
        Command::Invite { dir, role, approve } => command::invite(&mut out, &dir, role, approve).await,
        Command::Requests { dir } => command::requests(&mut out, &dir).await,
        Command::Approve { dir, device } => command::approve(&mut out, &dir, &device).await,
        Command::Decline { dir, device } => command::decline(&mut out, &dir, &device).await,
        Command::Join { dir, invite } => command::join(&mut out, &dir, &invite).await,
        Command::Simulate { words } => return simulation(&mut out, &words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("driftless: {error}\n"), 1),
    }
}

#[cfg(feature = "sim")]
fn simulation(out: &mut (impl Write + Send), words: &[String]) -> ExitCode {
    match simulate::Task::parse(words) {
        Err(reason) => fail(&format!("{reason}\n\n{HELP}"), 2),
        Ok(task) => {
            simulate::run(out, &task).unwrap_or_else(|error| fail(&format!("driftless: {error}\n"), 1))
        }
    }
}

#[cfg(not(feature = "sim"))]
fn simulation(_: &mut impl Write, _: &[String]) -> ExitCode {
    fail("this program was built without the simulator: cargo run --release --features sim,cli -- sim\n", 2)
}

fn fail(text: &str, code: u8) -> ExitCode {
    // With nowhere to say it, the exit code has to do.
    let _unsaid = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}
