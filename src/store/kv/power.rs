//! Cuts the power under the engine on disk: a loop-mounted ext4 is shut down under load, mounted again and
//! checked. Needs root, loop mounts and a C compiler; prints SKIPPED and passes where one is missing.
//!
//! The shutdown drops what the file system had not yet sent to the device, journal included, as a cut does.
//! The device itself keeps what it was sent, so a drive that lies about its cache is not shown here.

use std::path::PathBuf;
use std::time::Duration;

use image::Image;

use super::super::Values;
use super::crash::{Running, Sync, check, next, pause, variable};
use super::*;

#[path = "../../../tests/disk/image.rs"]
mod image;

/// The size of the file system, in MiB.
const MIB: u64 = 256;

#[test]
fn a_power_cut_loses_no_synced_batch_and_leaves_no_half_one() {
    let Some(image) = Image::mount_to_cut(MIB) else { return };
    let cuts = variable("DRIFTLESS_POWER_CUTS").unwrap_or(60);
    let mut seed = 0xc075;
    let mut acknowledged = 0;
    for cut in 0..cuts {
        acknowledged = cut_under_load(&image, &mut seed, Sync::Full).max(acknowledged);

        let found = check(&store(&image)).unwrap_or_else(|lie| panic!("after cut {cut}: {lie}"));

        assert!(found >= acknowledged, "cut {cut}: {acknowledged} was synced, {found} is there");
    }
    assert!(acknowledged > 0 || cuts == 0, "nothing was ever synced, so nothing was shown");
    println!("{cuts} cuts, {acknowledged} batches, none lost");
}

/// The harness can fail: sled's own flush, taken for a sync, loses acknowledged batches.
#[test]
fn a_power_cut_after_a_bare_flush_loses_acknowledged_batches() {
    const CUTS_MAX: u64 = 120;
    let Some(image) = Image::mount_to_cut(MIB) else { return };
    let mut seed = 0xba5e;
    for cut in 1..=CUTS_MAX {
        let acknowledged = cut_under_load(&image, &mut seed, Sync::Bare);
        match check(&store(&image)) {
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
    let Some(image) = Image::mount(MIB) else { return };
    let values = Values::open(&store(&image), &StoreOptions::default()).unwrap();
    let put = |key: u32| {
        let mut batch = KvBatch::default();
        batch.put(key.to_be_bytes().map(|byte| byte | 1).to_vec(), vec![key as u8; 20_000]);
        batch.put(b"last".to_vec(), key.to_be_bytes().to_vec());
        batch
    };
    values.write(put(0)).unwrap();
    values.sync().unwrap();
    image.fill(10);

    let mut synced = 0;
    let refused = (1..100_000).find_map(|key| {
        let done = values.write(put(key)).and_then(|()| values.sync());
        synced = if done.is_ok() { key } else { synced };
        done.err()
    });

    assert_eq!(refused, Some(KvError::Full));
    assert_eq!(values.sync(), Err(KvError::Failed { reason: "the disk is full".into() }));
    assert!(values.close().is_err());
    image.make_room();
    let values = Values::open(&store(&image), &StoreOptions::default()).unwrap();
    let last = values.get(b"last").unwrap().unwrap();
    assert!(u32::from_be_bytes(last.try_into().unwrap()) >= synced);
    values.write(put(1)).unwrap();
    values.close().unwrap();
}

#[test]
fn a_disk_that_may_only_be_read_is_told() {
    let Some(image) = Image::mount(MIB) else { return };
    Values::open(&store(&image), &StoreOptions::default()).unwrap().close().unwrap();
    image.remount("ro");

    let refused = Values::open(&store(&image), &StoreOptions::default()).map(drop);

    assert_eq!(refused, Err(KvError::ReadOnly { path: store(&image).display().to_string() }));
}

/// Runs a child, cuts the power at a random instant and mounts again. Returns what was acknowledged.
fn cut_under_load(image: &Image, seed: &mut u64, sync: Sync) -> u64 {
    let mut running = Running::start(&store(image), sync);
    running.wait_for(next(seed) % 60);
    pause(Duration::from_micros(next(seed) % 20_000));
    image.cut();
    let acknowledged = running.kill();
    image.come_back();
    acknowledged
}

fn store(image: &Image) -> PathBuf {
    image.at("data")
}
