//! The command `sim`: seeds through the simulator, with the workload that comes with it.

use std::error::Error;
use std::io::Write;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use driftless::sim::{self, Canary, FaultCounts, Notes, Options, Outcome, Report, Stats, Workload};

/// Seeds after which every kind of trouble must have happened.
const ALL_TROUBLE_SEEDS: u64 = 200;
/// Seeds that run when neither an end nor a time is given.
const SEEDS: u64 = 100;
/// Ticks in which Linux counts a process's time, in a second.
const TICKS: f64 = 100.0;

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    seeds: Range<u64>,
    seconds: Option<u64>,
    threads: usize,
    /// One seed, told in full.
    one: bool,
    options: Options,
}

impl Task {
    /// Reads the words behind `sim`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut task =
            Self { seeds: 0..u64::MAX, seconds: None, threads, one: false, options: Options::default() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--log" {
                task.options.full_trace = true;
                continue;
            }
            let value = words.next().ok_or_else(|| format!("sim: {word} takes a value"))?;
            task.set(word, value).map_err(|reason| format!("sim: {word} {value}: {reason}"))?;
        }
        if task.seeds.end == u64::MAX && task.seconds.is_none() {
            task.seeds.end = task.seeds.start.saturating_add(SEEDS);
        }
        Ok(task)
    }

    fn set(&mut self, word: &str, value: &str) -> Result<(), String> {
        let options = &mut self.options;
        match word {
            "--seed" => {
                let seed: u64 = number(value)?;
                (self.seeds, self.one) = (seed..seed.saturating_add(1), true);
            }
            "--seeds" => {
                let (first, end) = value.split_once("..").ok_or("a range has the form 0..100")?;
                self.seeds = number(first)?..if end.is_empty() { u64::MAX } else { number(end)? };
            }
            "--seconds" => self.seconds = Some(number(value)?),
            "--threads" => self.threads = number(value)?,
            "--devices" => options.devices = bounds(value)?,
            "--spaces" => options.spaces = bounds(value)?,
            "--commits" => options.commits = number(value)?,
            "--faults" => options.faults = number(value)?,
            "--malice" => options.malice = number(value)?,
            "--duration-ms" => options.duration_ms = number(value)?,
            "--plant" => {
                let named = |canary: &Canary| format!("{canary:?}") == value;
                options.canary = Some(
                    Canary::ALL
                        .into_iter()
                        .chain(Canary::CHECKS)
                        .find(named)
                        .ok_or("there is no such bug")?,
                );
            }
            "--keep" => {
                let steps = value.split(',').filter(|_| value != "none").map(number);
                options.keep = Some(steps.collect::<Result<_, _>>()?);
            }
            _ => return Err("there is no such word".to_owned()),
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

fn bounds(text: &str) -> Result<(usize, usize), String> {
    let (few, many) = text.split_once("..").ok_or("a range has the form 2..5")?;
    Ok((number(few)?, number(many)?))
}

fn workload() -> Box<dyn Workload> {
    Box::new(Notes::new())
}

/// Runs it, and says whether all promises held.
#[expect(clippy::disallowed_methods, reason = "the pace of a run is measured by the real clock")]
pub(crate) fn run(out: &mut (impl Write + Send), task: &Task) -> Result<ExitCode, Box<dyn Error>> {
    let begun = Instant::now();
    let (cpu, late) = (cpu_seconds(), |seconds| begun.elapsed().as_secs() >= seconds);
    let unsaid = Mutex::new(Ok(()));
    let out = Mutex::new(out);
    let watch = |outcome: &Outcome| {
        let mut out = out.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let said = if task.one { tell(&mut **out, outcome) } else { tell_failing(&mut **out, outcome) };
        let heard = said.is_ok();
        if let (Err(error), Ok(mut unsaid)) = (said, unsaid.lock()) {
            *unsaid = Err(error);
        }
        heard && !task.seconds.is_some_and(late)
    };
    let Task { threads, seeds, options, .. } = task;
    let report = sim::run_seeds_on(*threads, seeds.clone(), options, &workload, &watch);
    unsaid.into_inner().unwrap_or(Ok(()))?;
    let out = out.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = cpu.zip(cpu_seconds()).map_or(seconds, |(before, after)| after - before);
    writeln!(out, "{report}")?;
    tell_pace(out, &report, seconds, cpu)?;
    for failure in &report.failures {
        writeln!(out, "cargo run --release --features sim,cli -- sim {}", failure.replay())?;
    }
    let absent = absent(&report.faults, report.seeds, options);
    if !absent.is_empty() {
        writeln!(out, "a run in which these never happened proves too little: {}", absent.join(", "))?;
    }
    let passed = report.failures.is_empty() && absent.is_empty();
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What should have happened and never did.
fn absent(faults: &FaultCounts, seeds: u64, options: &Options) -> Vec<String> {
    let due = seeds >= ALL_TROUBLE_SEEDS && options.faults > 0 && options.keep.is_none();
    let missing = if due { faults.missing() } else { Vec::new() };
    missing.into_iter().map(|fault| format!("{fault:?}")).collect()
}

fn tell(out: &mut impl Write, outcome: &Outcome) -> std::io::Result<()> {
    outcome.log.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    writeln!(out, "\nseed {}  trace {}", outcome.seed, hex(&outcome.hash))?;
    outcome.violations.iter().try_for_each(|violation| writeln!(out, "{violation}"))
}

fn tell_failing(out: &mut impl Write, outcome: &Outcome) -> std::io::Result<()> {
    let Some(violation) = outcome.violations.first() else { return Ok(()) };
    writeln!(out, "seed {} fails, and is being made small: {violation}", outcome.seed)?;
    out.flush()
}

fn tell_pace(out: &mut impl Write, report: &Report, seconds: f64, cpu: f64) -> std::io::Result<()> {
    let Stats { simulated_ms, happenings, commits, .. } = report.stats;
    let hours = simulated_ms as f64 / 3_600_000.0;
    let per = |count: f64, time: f64| if time > 0.0 { count / time } else { 0.0 };
    writeln!(out, "traces  {}", hex(&report.hash))?;
    let rate = per(report.seeds as f64, seconds);
    writeln!(out, "pace    {seconds:.1} s, {cpu:.1} s of CPU, {rate:.1} seeds per second")?;
    writeln!(
        out,
        "        per CPU second: {:.2} simulated hours, {:.0} operations, {:.1} commits",
        per(hours, cpu),
        per(happenings as f64, cpu),
        per(commits as f64, cpu)
    )
}

fn hex(hash: &[u8]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The CPU time of this process, where the system tells it in the way of Linux.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything but ends with the last bracket; user and system time are the
    // fields 14 and 15 of the whole line.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Task, String> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Task::parse(&words)
    }

    #[test]
    fn words_say_which_seeds_run_and_of_what() {
        let one = parse("--seed 7 --keep 1,5 --commits 9 --plant LoseAcks --log").expect("known words");
        assert_eq!((one.seeds.clone(), one.one, one.options.commits), (7..8, true, 9));
        assert_eq!(one.options.keep, Some([1, 5].into()));
        assert_eq!((one.options.canary, one.options.full_trace), (Some(Canary::LoseAcks), true));

        assert_eq!(parse("--seeds 3..9").expect("a range").seeds, 3..9);
        assert_eq!(parse("--seeds 3..").expect("a range").seeds, 3..103);
        assert_eq!(parse("--seconds 5").expect("a time").seeds, 0..u64::MAX);
        assert_eq!(parse("--keep none").expect("no step").options.keep, Some([].into()));
    }

    #[test]
    fn wrong_words_are_told_apart() {
        assert_eq!(parse("--seed"), Err("sim: --seed takes a value".to_owned()));
        assert_eq!(parse("--fly 7"), Err("sim: --fly 7: there is no such word".to_owned()));
        assert_eq!(parse("--seeds 7"), Err("sim: --seeds 7: a range has the form 0..100".to_owned()));
        assert_eq!(parse("--plant Tree"), Err("sim: --plant Tree: there is no such bug".to_owned()));
        assert_eq!(parse("--seed x").map_err(|reason| reason.starts_with("sim: --seed x: ")), Err(true));
    }

    #[test]
    fn a_failing_run_is_replayed_by_the_words_that_it_prints() {
        let canary = Some(Canary::TellTwice);
        let options = Options { commits: 4, faults: 0, duration_ms: 5_000, canary, ..Options::default() };
        let report = sim::run_seeds(7..8, &options, &workload);
        let failure = report.failures.first().expect("it is caught");

        let task = parse(&failure.replay()).expect("its own words");

        assert_eq!((task.seeds, &task.options), (7..8, &failure.options));
        let again = sim::run(7, &task.options, workload());
        assert_eq!(again.violations, failure.outcome.violations);
    }

    #[test]
    fn a_long_run_in_which_some_trouble_never_happened_does_not_pass() {
        let options = Options::default();
        let nothing = FaultCounts::default();

        assert_eq!(absent(&nothing, ALL_TROUBLE_SEEDS - 1, &options), [""; 0]);
        assert!(absent(&nothing, ALL_TROUBLE_SEEDS, &options).contains(&"Partition".to_owned()));
    }
}
