//! A file system in a file, mounted: one that fills up, turns read-only, and loses power on request.
//!
//! Several test programs include this file by its path. Needs root, `mkfs.ext4` and loop mounts, and a C compiler
//! to cut the power; prints SKIPPED and gives nothing where one is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Shuts a file system down without sending anything more to its device, its journal included.
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

/// A mounted file system. Dropping it unmounts.
pub(crate) struct Image {
    dir: tempfile::TempDir,
}

impl Image {
    /// Makes and mounts a file system of `mib` MiB, or tells why not.
    #[allow(clippy::print_stdout, reason = "a test that shows nothing says so")]
    pub(crate) fn mount(mib: u64) -> Option<Self> {
        let image = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(image.mounted()).expect("made");
        fs::File::create(image.file()).and_then(|file| file.set_len(mib << 20)).expect("a sparse file");
        let options = ["-q", "-F", "-E", "nodiscard,lazy_itable_init=1"].map(Path::new);
        let made = run(Path::new("mkfs.ext4"), &[options.as_slice(), &[&image.file()]].concat());
        if made && image.mount_again() {
            return Some(image);
        }
        println!("SKIPPED: needs root, mkfs.ext4 and loop mounts");
        None
    }

    /// The same, whose power can be cut.
    #[allow(clippy::print_stdout, reason = "a test that shows nothing says so")]
    pub(crate) fn mount_to_cut(mib: u64) -> Option<Self> {
        let image = Self::mount(mib)?;
        let source = image.dir.path().join("cut.c");
        fs::write(&source, SHUTDOWN_SOURCE).expect("written");
        if run(Path::new("cc"), &["-o".as_ref(), &image.shutdown(), &source]) {
            return Some(image);
        }
        println!("SKIPPED: needs cc");
        None
    }

    /// Returns the path of something on the file system.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.mounted().join(name)
    }

    /// Cuts the power: what was not yet sent to the device is lost.
    pub(crate) fn cut(&self) {
        assert!(run(&self.shutdown(), &[&self.mounted()]), "the file system takes a shutdown");
    }

    /// Switches the power on again: mounts the file system anew. Nobody may use it.
    pub(crate) fn come_back(&self) {
        assert!(self.unmount(), "no one uses the file system");
        assert!(self.mount_again(), "its journal is replayed");
    }

    /// Makes it read-only (`ro`) or writable (`rw`).
    pub(crate) fn remount(&self, how: &str) {
        let options = format!("remount,{how}");
        let done = run(Path::new("mount"), &["-o".as_ref(), options.as_ref(), &self.mounted()]);
        assert!(done, "nobody writes");
    }

    /// Takes all room but about `mib` MiB.
    pub(crate) fn fill(&self, mib: u64) {
        use std::io::Write;

        let mut file = fs::File::create(self.filler()).expect("there is room for a name");
        let (block, mut bytes) = (vec![7; 1 << 18], 0);
        while file.write_all(&block).is_ok() {
            bytes += block.len() as u64;
        }
        file.set_len(bytes.saturating_sub(mib << 20)).and_then(|()| file.sync_all()).expect("it shrinks");
    }

    /// Gives the room back.
    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).expect("filled before");
    }

    fn filler(&self) -> PathBuf {
        self.at("filler")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn shutdown(&self) -> PathBuf {
        self.dir.path().join("cut")
    }

    fn mount_again(&self) -> bool {
        run(Path::new("mount"), &["-o".as_ref(), "loop".as_ref(), &self.file(), &self.mounted()])
    }

    /// Unmounts, which also frees the loop device.
    fn unmount(&self) -> bool {
        (0..100).any(|_| {
            let done = run(Path::new("umount"), &[&self.mounted()]);
            if !done {
                thread::park_timeout(Duration::from_millis(20));
            }
            done
        })
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        if mounts.contains(&format!(" {} ", self.mounted().display())) {
            // The last file may still be closing; a lazy unmount ends when it has.
            run(Path::new("umount"), &["-l".as_ref(), &self.mounted()]);
        }
    }
}

fn run(program: &Path, arguments: &[&Path]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
