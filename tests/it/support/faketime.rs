//! A clock on the wall of one process, which a test can set while the process runs: libfaketime, told by a file.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The time of day as one process is told it. How long something takes is told truly.
pub struct WallClock {
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right.
    pub fn new() -> WallClock {
        let clock = WallClock { file: std::env::temp_dir().join(format!("bellwire-clock-{}", Uuid::new_v4())) };
        clock.set(0);
        clock
    }

    /// Sets it: so many seconds ahead of the right time, or behind it when negative. The process sees it within a second.
    pub fn set(&self, seconds: i64) {
        // Whoever reads it reads the whole.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}")).unwrap();
        fs::rename(new, &self.file).unwrap();
    }

    /// What the process has to find in its environment.
    pub fn variables(&self) -> Vec<(String, String)> {
        let library =
            library().expect("libfaketime is not installed: `tests/run` does that (apt-get install libfaketime)");
        let variables = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }
}

impl Drop for WallClock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// The library, for programs with threads, wherever the distribution puts it.
fn library() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let folders = folders.chain([Path::new("/usr/lib").to_owned(), Path::new("/usr/local/lib").to_owned()]);
    folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists())
}
