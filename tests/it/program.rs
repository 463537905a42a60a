//! The program, as a person runs it.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::common::{bounded, temp};

fn driftless(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driftless"));
    command.args(words).env("DRIFTLESS_LISTEN", "127.0.0.1:0").env("USER", "ana").env("HOSTNAME", "desk");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let output = bounded(driftless(words).output()).await.expect("the program is built");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn the_demonstration_ends_with_three_equal_devices() {
    let (code, out, err) = run(&[]).await;

    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.ends_with("All three hold the same.\n"), "{out}");
    assert!(out.contains("is not allowed"), "{out}");
    assert!(out.contains("waiting for parts  Cleo"), "{out}");
}

#[tokio::test]
async fn wrong_words_get_the_help_and_an_exit_code() {
    let (code, out, err) = run(&["fly"]).await;

    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("there is no command \"fly\""), "{err}");
    assert!(err.contains("Usage: driftless"), "{err}");
    let (code, out, _) = run(&["--help"]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("Usage: driftless"), "{out}");
}

#[cfg(feature = "sim")]
#[tokio::test]
async fn a_seed_is_simulated_twice_with_one_trace_and_a_planted_bug_is_told() {
    let (code, out, err) = run(&["sim", "--seed", "7", "--commits", "10"]).await;
    let trace = |out: &str| out.lines().find(|line| line.starts_with("seed 7  trace ")).map(str::to_owned);

    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("0 violations") && out.contains("simulated hours"), "{out}");
    let (_, again, _) = run(&["sim", "--seed", "7", "--commits", "10"]).await;
    assert_eq!(trace(&out).expect("it is told"), trace(&again).expect("it is told"));

    let (code, out, _) = run(&["sim", "--seed", "7", "--commits", "10", "--plant", "TellTwice"]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("timeline:") && out.contains("-- sim --seed 7 --commits 10 --plant TellTwice"),
        "{out}"
    );
    let (code, _, err) = run(&["sim", "--fly", "7"]).await;
    assert_eq!(code, Some(2));
    assert!(err.starts_with("sim: --fly 7: there is no such word"), "{err}");
}

#[tokio::test]
async fn a_directory_without_a_node_is_left_alone() {
    let dir = temp();

    let (code, _, err) = run(&["status", &dir.path().to_string_lossy()]).await;

    assert_eq!(code, Some(1));
    assert!(err.ends_with("holds no node\n"), "{err}");
    assert_eq!(std::fs::read_dir(dir.path()).expect("there").count(), 0);
}

#[tokio::test]
async fn two_directories_are_founded_and_joined_from_the_command_line() {
    let dir = temp();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let (a, b) = (a.to_string_lossy(), b.to_string_lossy());
    let (code, out, err) = run(&["init", &a, "Corner Repairs"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("Corner Repairs  "), "{out}");

    let mut inviting = driftless(&["invite", &a, "writer"]).spawn().expect("the program is built");
    let mut lines = BufReader::new(inviting.stdout.take().expect("piped")).lines();
    let invite = bounded(lines.next_line()).await.expect("readable").expect("an invite");
    let (code, out, err) = run(&["join", &b, &invite]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let joined = bounded(lines.next_line()).await.expect("readable").expect("the outcome");
    assert_eq!(joined, "ana joined");
    assert!(bounded(inviting.wait()).await.expect("ends").success());

    let (code, status, err) = run(&["status", &b]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(status.contains("space   Corner Repairs"), "{status}");
    assert!(status.contains("owner") && status.contains("writer"), "{status}");
}

#[tokio::test]
async fn the_founders_place_is_taken_and_its_device_removed_from_the_command_line() {
    let dir = temp();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let (a, b) = (a.to_string_lossy(), b.to_string_lossy());
    let (code, out, err) = run(&["init", &a, "Corner Repairs", "--recovery-key"]).await;
    assert_eq!(code, Some(0), "{err}");
    let key = out.lines().find(|line| line.starts_with("recover1-")).expect("it is shown").to_owned();
    let mut inviting = driftless(&["invite", &a]).spawn().expect("the program is built");
    let mut lines = BufReader::new(inviting.stdout.take().expect("piped")).lines();
    let invite = bounded(lines.next_line()).await.expect("readable").expect("an invite");
    assert_eq!(run(&["join", &b, &invite]).await.0, Some(0));
    assert!(bounded(inviting.wait()).await.expect("ends").success());

    let (code, out, err) = run(&["recover", &b, &key]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("this device is one of ana\n"), "{out}");
    assert!(out.contains("    0  founded the space\n    1  invited somebody as writer\n"), "{out}");
    let founder = out.lines().find_map(|line| line.strip_suffix("  desk")).expect("its device").to_owned();
    let (code, out, err) = run(&["recover", &b, &key, &founder, "1"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(&format!("{founder} is removed\n")), "{out}");

    let (_, status, _) = run(&["status", &b]).await;
    assert!(status.contains("owner"), "{status}");
    let (code, _, err) = run(&["recover", &b, "recover1-aaaa"]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("the recovery key is damaged"), "{err}");
}

/// Starts the program, and returns it with its lines.
fn begin(command: &mut Command) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command.spawn().expect("the program is built");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    (child, lines)
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    bounded(lines.next_line()).await.expect("readable").expect("a line")
}

/// What a program says, if it says anything more.
async fn said(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    match lines.next_line().await {
        Ok(Some(line)) => line,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}

#[tokio::test]
async fn a_device_is_let_in_at_the_terminal_when_both_show_one_code() {
    let dir = temp();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    let (a, b) = (a.to_string_lossy(), b.to_string_lossy());
    assert_eq!(run(&["init", &a, "Corner Repairs"]).await.0, Some(0));
    let mut inviting = driftless(&["invite", &a, "reader", "--approve"]);
    let (mut inviting, mut asked) = begin(inviting.stdin(Stdio::piped()));
    let invite = line(&mut asked).await;

    let (mut joining, mut joins) = begin(&mut driftless(&["join", &b, &invite]));
    let waits = line(&mut joins).await;
    let code = waits.strip_prefix("waiting to be let in, code ").expect("it waits");
    let request = line(&mut asked).await;
    assert!(request.ends_with(&format!(" asks: ana, desk, code {code}")), "{request} {code}");
    assert!(line(&mut asked).await.ends_with("yes or no"));
    let mut answers = inviting.stdin.take().expect("piped");
    answers.write_all(b"perhaps\n").await.expect("it reads");
    drop(line(&mut asked).await);
    assert!(line(&mut asked).await.ends_with("yes or no"), "it asks again");
    answers.write_all(b"yes\n").await.expect("it reads");

    assert_eq!(line(&mut asked).await, "ana joined");
    assert!(line(&mut joins).await.starts_with("Corner Repairs  "));
    assert!(bounded(joining.wait()).await.expect("ends").success());
    assert!(bounded(inviting.wait()).await.expect("ends").success());
}

#[tokio::test]
async fn requests_are_listed_approved_and_declined_from_the_command_line() {
    let dir = temp();
    let [a, b, c] = ["a", "b", "c"].map(|name| dir.path().join(name).to_string_lossy().into_owned());
    assert_eq!(run(&["init", &a, "Corner Repairs"]).await.0, Some(0));
    let mut joins = Vec::new();
    for joiner in [&b, &c] {
        // Nobody sits there, so it ends when it has been asked.
        let (mut inviting, mut asked) = begin(&mut driftless(&["invite", &a, "--approve"]));
        let invite = line(&mut asked).await;
        let (child, mut lines) = begin(&mut driftless(&["join", joiner, &invite]));
        assert!(line(&mut lines).await.starts_with("waiting to be let in"));
        assert!(bounded(inviting.wait()).await.expect("ends").success());
        joins.push((child, lines));
    }

    let (code, listed, err) = run(&["requests", &a]).await;
    assert_eq!((code, listed.lines().count()), (Some(0), 2), "{err}{listed}");
    let device = |line: &str| {
        line.strip_prefix("Corner Repairs: ")
            .and_then(|line| line.split(' ').next())
            .expect("it asks")
            .to_owned()
    };
    let devices: Vec<String> = listed.lines().map(device).collect();
    let (code, out, err) = run(&["decline", &a, &devices[0]]).await;
    assert_eq!((code, out), (Some(0), format!("{} is declined\n", devices[0])), "{err}");
    let (code, out, err) = run(&["approve", &a, &devices[1]]).await;
    assert_eq!((code, out.as_str()), (Some(0), "ana is let in\n"), "{err}");

    let (code, listed, _) = run(&["requests", &a]).await;
    assert_eq!((code, listed.as_str()), (Some(0), ""));
    let [(_one, mut one), (_other, mut other)] = joins.try_into().expect("two");
    let joined = async {
        tokio::select! { line = said(&mut one) => line, line = said(&mut other) => line }
    };
    assert!(bounded(joined).await.starts_with("Corner Repairs  "));
    let (code, _, err) = run(&["approve", &a, &devices[0]]).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("waits"), "{err}");
}
