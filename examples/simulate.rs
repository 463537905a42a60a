//! Runs the simulator over seeds, and replays one.
//!
//! ```text
//! simulate --seeds 0..100        every seed of a range
//! simulate --seconds 60          seeds from 0 on (or from --seeds), until the time is over
//! simulate --seed 7              one seed, with the log of all that happened
//! simulate --seed 7 --keep 1,5   only those steps of its plan
//! ```
//!
//! `--commits`, `--faults` and `--duration-ms` change what a run is made of; a seed means another run then.
#![expect(clippy::print_stdout, reason = "a program that prints its findings")]

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use driftless::sim::{self, Notes, Options, Report, Workload};

struct Arguments {
    seeds: Range<u64>,
    seconds: Option<u64>,
    one: Option<u64>,
    options: Options,
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Arguments { one: Some(seed), options, .. }) => one(seed, &options),
        Ok(arguments) => many(&arguments),
        Err(reason) => {
            println!("{reason}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments =
        Arguments { seeds: 0..u64::MAX, seconds: None, one: None, options: Options::default() };
    let mut ends = false;
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} takes a value"))?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{word} {text}: {error}"));
        let count = |text: &str| text.parse::<usize>().map_err(|error| format!("{word} {text}: {error}"));
        match word.as_str() {
            "--seed" => arguments.one = Some(number(&value)?),
            "--seeds" => {
                let (first, end) = value.split_once("..").ok_or("--seeds takes a range, as 0..100")?;
                arguments.seeds = number(first)?..if end.is_empty() { u64::MAX } else { number(end)? };
                ends = !end.is_empty();
            }
            "--seconds" => arguments.seconds = Some(number(&value)?),
            "--commits" => arguments.options.commits = count(&value)?,
            "--faults" => arguments.options.faults = count(&value)?,
            "--duration-ms" => arguments.options.duration_ms = number(&value)?,
            "--keep" => {
                let steps = value.split(',').filter(|step| !step.is_empty()).map(number);
                arguments.options.keep = Some(steps.collect::<Result<_, _>>()?);
            }
            _ => return Err(format!("{word} is not known")),
        }
    }
    if !ends && arguments.seconds.is_none() {
        arguments.seeds.end = arguments.seeds.start.saturating_add(20);
    }
    Ok(arguments)
}

fn workload() -> Box<dyn Workload> {
    Box::new(Notes::new())
}

fn one(seed: u64, options: &Options) -> ExitCode {
    let options = Options { full_trace: true, ..options.clone() };
    let outcome = sim::run(seed, &options, workload());
    outcome.log.iter().for_each(|line| println!("{line}"));
    let hash: String = outcome.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{:?}\nhash {hash}", outcome.stats);
    outcome.violations.iter().for_each(|violation| println!("{violation}"));
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::disallowed_methods, reason = "the pace of a run is measured by the real clock")]
fn many(arguments: &Arguments) -> ExitCode {
    let begun = Instant::now();
    let mut report = Report::default();
    for seed in arguments.seeds.clone() {
        if arguments.seconds.is_some_and(|seconds| begun.elapsed().as_secs() >= seconds) {
            break;
        }
        let more = sim::run_seeds(seed..seed + 1, &arguments.options, &workload);
        more.failures.iter().for_each(|failure| println!("{failure}"));
        report.merge(more);
    }
    println!("{report}");
    let seconds = begun.elapsed().as_secs_f64();
    let happenings = report.stats.happenings as f64 / seconds;
    let pace = report.stats.simulated_ms as f64 / 1_000.0 / seconds;
    println!("{seconds:.1} s, {happenings:.0} happenings a second, {pace:.0} times as fast as the clock");
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
