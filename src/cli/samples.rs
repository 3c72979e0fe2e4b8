//! Workflows to begin with, for whoever starts in an empty directory.

use std::fs;
use std::io;
use std::path::Path;

macro_rules! samples {
    ($($path:literal)*) => { [$(($path, include_str!(concat!("../../config/workflows/", $path)))),*] };
}

/// Each file: its path in a directory of workflows, and what stands in it.
const SAMPLES: [(&str, &str); 12] = samples! {
    "comment/workflow.json"
    "comment/in_app_feed_1/markdown_body.md"
    "deploy-finished/workflow.json"
    "deploy-finished/in_app_feed_1/markdown_body.md"
    "deploy-finished/in_app_feed_2/markdown_body.md"
    "deploy-finished/in_app_feed_3/markdown_body.md"
    "invoice-due/workflow.json"
    "invoice-due/in_app_feed_1/markdown_body.md"
    "invoice-due/in_app_feed_2/markdown_body.md"
    "welcome/workflow.json"
    "welcome/in_app_feed_1/markdown_body.md"
    "welcome/in_app_feed_2/markdown_body.md"
};

/// Writes them into `dir`, which is made.
pub(super) fn write(dir: &Path) -> io::Result<()> {
    for (path, text) in SAMPLES {
        let file = dir.join(path);
        file.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(file, text)?;
    }
    Ok(())
}
