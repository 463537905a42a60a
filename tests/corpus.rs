//! Replays the fuzz corpus through the doors of untrusted bytes, and shakes each input a little.
//!
//! A door panics when it breaks a promise. An input whose name begins with `valid` is what honest devices make,
//! and must be accepted; one whose name begins with `bad` has killed a process or could have, and must not be.
#![cfg(feature = "fuzzing")]

use std::path::{Path, PathBuf};
use std::{fs, io};

use driftless::fuzzing::{DOORS, gate, seeds};

struct Input {
    door: &'static str,
    name: String,
    bytes: Vec<u8>,
    run: fn(&[u8]) -> bool,
}

#[test]
fn the_corpus_is_accepted_and_refused_as_its_names_say() -> io::Result<()> {
    for (door, _) in DOORS {
        assert!(inputs()?.iter().any(|input| input.door == door), "{door} has no corpus");
    }
    for Input { door, name, bytes, run } in inputs()? {
        let accepted = run(&bytes);

        assert!(accepted || !name.starts_with("valid"), "{door}/{name} was refused");
        assert!(!accepted || !name.starts_with("bad"), "{door}/{name} was accepted");
    }
    Ok(())
}

#[test]
fn no_cut_input_breaks_a_promise() -> io::Result<()> {
    for Input { door, bytes, run, .. } in inputs()? {
        // A cut run of two engines is a shorter one: a few will do.
        let step = if door == "events" { 17 } else { 1 };
        for end in (0..bytes.len().min(512)).step_by(step) {
            run(bytes.split_at(end).0);
        }
    }
    Ok(())
}

/// Checksums are repaired by the door, so that each flipped bit reaches what is behind them.
#[test]
fn no_flipped_bit_of_a_change_breaks_a_promise() -> io::Result<()> {
    for Input { bytes, .. } in inputs()?.into_iter().filter(|input| input.door == "gate") {
        for (at, bit) in (8..bytes.len().min(512)).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = bytes.clone();
            flipped.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            gate(&flipped);
        }
    }
    Ok(())
}

/// Run it after a format has changed: `cargo test --all-features --test corpus -- --ignored`.
#[test]
#[ignore = "writes fuzz/corpus anew"]
fn the_corpus_is_written() -> io::Result<()> {
    for (door, name, bytes) in seeds() {
        fs::create_dir_all(corpus().join(door))?;
        fs::write(corpus().join(door).join(format!("{name}.bin")), bytes)?;
    }
    Ok(())
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join("corpus")
}

fn inputs() -> io::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for (door, run) in DOORS {
        for entry in fs::read_dir(corpus().join(door))? {
            let path = entry?.path();
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            inputs.push(Input { door, name, bytes: fs::read(&path)?, run });
        }
    }
    inputs.sort_by(|a, b| (a.door, &a.name).cmp(&(b.door, &b.name)));
    Ok(inputs)
}
