//! Cuts the power under the engine on disk: a loop-mounted ext4 is shut down under load, mounted again and
//! checked. Needs root, loop mounts and a C compiler; prints SKIPPED and passes where one is missing.
//!
//! The shutdown drops what the file system had not yet sent to the device, journal included, as a cut does.
//! The device itself keeps what it was sent, so a drive that lies about its cache is not shown here.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::Values;
use super::crash::{Running, Sync, check, next, pause, variable};
use super::*;

const SHUTDOWN_SOURCE: &str = r#"
#include <fcntl.h>
#include <stdint.h>
#include <sys/ioctl.h>
int main(int count, char **arguments) {
    uint32_t without_log_flush = 2;
    int directory = count == 2 ? open(arguments[1], O_RDONLY) : -1;
    return directory < 0 || ioctl(directory, _IOR('X', 125, uint32_t), &without_log_flush) != 0;
}
"#;

#[test]
fn a_power_cut_loses_no_synced_batch_and_leaves_no_half_one() {
    let Some(image) = Image::mount() else { return };
    let cuts = variable("DRIFTLESS_POWER_CUTS").unwrap_or(60);
    let mut seed = 0xc075;
    let mut acknowledged = 0;
    for cut in 0..cuts {
        acknowledged = image.cut_under_load(&mut seed, Sync::Full).max(acknowledged);

        let found = check(&image.store()).unwrap_or_else(|lie| panic!("after cut {cut}: {lie}"));

        assert!(found >= acknowledged, "cut {cut}: {acknowledged} was synced, {found} is there");
    }
    assert!(acknowledged > 0 || cuts == 0, "nothing was ever synced, so nothing was shown");
    println!("{cuts} cuts, {acknowledged} batches, none lost");
}

/// The harness can fail: sled's own flush, taken for a sync, loses acknowledged batches.
#[test]
fn a_power_cut_after_a_bare_flush_loses_acknowledged_batches() {
    const CUTS_MAX: u64 = 120;
    let Some(image) = Image::mount() else { return };
    let mut seed = 0xba5e;
    for cut in 1..=CUTS_MAX {
        let acknowledged = image.cut_under_load(&mut seed, Sync::Bare);
        match check(&image.store()) {
            Ok(found) if found >= acknowledged => {}
            Ok(found) => {
                println!("cut {cut}: {acknowledged} was acknowledged, {found} is there");
                return;
            }
            Err(lie) => {
                println!("cut {cut}: {lie}");
                return;
            }
        }
    }
    panic!("{CUTS_MAX} cuts lost nothing, so the harness shows nothing");
}

#[test]
fn a_full_disk_is_told_and_the_store_opens_again_when_there_is_space() {
    let Some(image) = Image::mount() else { return };
    let values = Values::open(&image.store(), &StoreOptions::default()).unwrap();
    let put = |key: u32| {
        let mut batch = KvBatch::default();
        batch.put(key.to_be_bytes().map(|byte| byte | 1).to_vec(), vec![key as u8; 20_000]);
        batch.put(b"last".to_vec(), key.to_be_bytes().to_vec());
        batch
    };
    values.write(put(0)).unwrap();
    values.sync().unwrap();
    let filler = image.mounted.join("filler");
    fill(&filler);

    let mut synced = 0;
    let refused = (1..100_000).find_map(|key| {
        let done = values.write(put(key)).and_then(|()| values.sync());
        synced = if done.is_ok() { key } else { synced };
        done.err()
    });

    assert_eq!(refused, Some(KvError::Full));
    assert_eq!(values.sync(), Err(KvError::Failed { reason: "the disk is full".into() }));
    assert!(values.close().is_err());
    std::fs::remove_file(filler).unwrap();
    let values = Values::open(&image.store(), &StoreOptions::default()).unwrap();
    let last = values.get(b"last").unwrap().unwrap();
    assert!(u32::from_be_bytes(last.try_into().unwrap()) >= synced);
    values.write(put(1)).unwrap();
    values.close().unwrap();
}

#[test]
fn a_disk_that_may_only_be_read_is_told() {
    let Some(image) = Image::mount() else { return };
    Values::open(&image.store(), &StoreOptions::default()).unwrap().close().unwrap();
    assert!(run("mount", &["-o".as_ref(), "remount,ro".as_ref(), image.mounted.as_ref()]));

    let refused = Values::open(&image.store(), &StoreOptions::default()).map(drop);

    assert_eq!(refused, Err(KvError::ReadOnly { path: image.store().display().to_string() }));
}

/// A file system in a file, mounted.
struct Image {
    _dir: tempfile::TempDir,
    file: PathBuf,
    mounted: PathBuf,
    shutdown: PathBuf,
}

impl Image {
    /// Makes and mounts a file system, or tells why not.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let at = |name| dir.path().join(name);
        let (file, mounted, source, shutdown) = (at("image"), at("mounted"), at("cut.c"), at("cut"));
        std::fs::write(&source, SHUTDOWN_SOURCE).unwrap();
        std::fs::create_dir(&mounted).unwrap();
        std::fs::File::create(&file).unwrap().set_len(256 * 1024 * 1024).unwrap();
        let options = ["-q", "-F", "-E", "nodiscard,lazy_itable_init=1"].map(Path::new);
        let image = Self { _dir: dir, file, mounted, shutdown };
        let ready = run("cc", &["-o".as_ref(), &image.shutdown, &source])
            && run("mkfs.ext4", &[options.as_slice(), &[&image.file]].concat())
            && image.mount_again();
        if !ready {
            println!("SKIPPED: needs root, mkfs.ext4, loop mounts and cc");
        }
        ready.then_some(image)
    }

    fn store(&self) -> PathBuf {
        self.mounted.join("data")
    }

    /// Runs a child, cuts the power at a random instant and mounts again. Returns what was acknowledged.
    fn cut_under_load(&self, seed: &mut u64, sync: Sync) -> u64 {
        let mut running = Running::start(&self.store(), sync);
        running.wait_for(next(seed) % 60);
        pause(Duration::from_micros(next(seed) % 20_000));
        assert!(run_path(&self.shutdown, &[&self.mounted]), "the file system takes a shutdown");
        let acknowledged = running.kill();
        assert!(self.unmount(), "no one uses the file system");
        assert!(self.mount_again(), "its journal is replayed");
        acknowledged
    }

    fn mount_again(&self) -> bool {
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.file.as_ref(), self.mounted.as_ref()])
    }

    /// Unmounts, which also frees the loop device.
    fn unmount(&self) -> bool {
        (0..100).any(|_| {
            let done = run("umount", &[self.mounted.as_ref()]);
            if !done {
                pause(Duration::from_millis(20));
            }
            done
        })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        let mounted = mounts.contains(&format!(" {} ", self.mounted.display()));
        if mounted && !self.unmount() {
            // Ends when the last user does.
            run("umount", &["-l".as_ref(), self.mounted.as_ref()]);
        }
    }
}

fn run(program: &str, arguments: &[&Path]) -> bool {
    run_path(Path::new(program), arguments)
}

fn run_path(program: &Path, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Takes all space but about 10 MB.
fn fill(path: &Path) {
    use std::io::Write;

    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![7; 1024 * 1024];
    let mut bytes = 0;
    while file.write_all(&block).is_ok() {
        bytes += block.len() as u64;
    }
    file.set_len(bytes - 10 * 1024 * 1024).unwrap();
    file.sync_all().unwrap();
}
