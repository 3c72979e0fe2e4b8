//! The disk's own pace: how long 4 KiB appended take to be safe.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::watch::histogram;

const APPENDS: u32 = 400;
const BLOCK: [u8; 4_096] = [0x5a; 4_096];

/// Appends block after block to a file in `directory`, each followed by fdatasync, and answers their times.
pub(crate) async fn probe(directory: &Path) -> Result<Histogram<u64>> {
    let path = directory.join("disk.probe");
    tokio::task::spawn_blocking(move || {
        let mut file = File::create(&path)?;
        let mut times = histogram();
        for _ in 0..APPENDS {
            let began = Instant::now();
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            times.saturating_record(u64::try_from(began.elapsed().as_micros())?);
        }
        drop(file);
        std::fs::remove_file(&path)?;
        Ok(times)
    })
    .await?
}
