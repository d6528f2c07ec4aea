//! Takes the files of Swagger UI that the page needs out of the archive that its crate brings, and compresses each.

use std::fs::File;
use std::io::{Cursor, Read as _};
use std::path::Path;

use flate2::Compression;
use flate2::read::GzEncoder;

/// The files, as they are called in the archive and in the page.
const FILES: [(&str, &str); 4] = [
    ("dist/swagger-ui-bundle.js", "swagger-ui-bundle.js"),
    ("dist/swagger-ui.css", "swagger-ui.css"),
    ("LICENSE", "swagger-ui-license.txt"),
    ("NOTICE", "swagger-ui-notice.txt"),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    #[expect(clippy::disallowed_methods, reason = "the environment is the only thing that talks to a build")]
    let out = std::env::var("OUT_DIR")?;
    let mut archive = zip::ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let first = archive.file_names().next().ok_or("the archive is empty")??;
    let top = first.split('/').next().unwrap_or_default().to_owned();
    for (inside, name) in FILES {
        let file = archive.by_name(&format!("{top}/{inside}"))?;
        let mut compressed = Vec::new();
        GzEncoder::new(file, Compression::best()).read_to_end(&mut compressed)?;
        std::io::copy(&mut &compressed[..], &mut File::create(Path::new(&out).join(format!("{name}.gz")))?)?;
    }
    Ok(())
}
