//! Opens the sites that the configuration names.

use super::objects::Objects;
use super::{Site, SiteError, SiteParts, Store};
use crate::archive::sites::{Place, SiteSetting};
use crate::surroundings;
use raft::time::BootClock;
use std::sync::Arc;

/// The store of a place. A folder is made if it is not there; of a bucket nothing is asked yet.
///
/// # Errors
/// `Away`: it cannot be opened.
pub fn store(place: &Place) -> Result<Arc<dyn Store>, SiteError> {
    match place {
        Place::Folder(path) => surroundings::site(path, || Ok(Arc::new(Objects::folder(path)?))),
        Place::Bucket { bucket, endpoint, credentials } => {
            bucket_store(bucket, endpoint.as_deref(), credentials)
        }
    }
}

/// Bytes of a file with credentials: three short lines.
#[cfg(feature = "s3")]
const CREDENTIALS_BYTES_MAX: u64 = 4_096;

#[cfg(feature = "s3")]
fn bucket_store(
    bucket: &str,
    endpoint: Option<&str>,
    credentials: &std::path::Path,
) -> Result<Arc<dyn Store>, SiteError> {
    let away = |cause: String| SiteError::Away { what: "open", cause };
    let bytes = crate::boot::files::read_secret(credentials, CREDENTIALS_BYTES_MAX)
        .map_err(|error| away(engine::error::with_sources(&error)))?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| away(format!("{} is no text", credentials.display())))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (Some(access_key), Some(secret_key)) = (lines.next(), lines.next()) else {
        return Err(away(format!(
            "{} does not hold access key and secret, a line each",
            credentials.display()
        )));
    };
    let bucket = super::s3::S3Bucket {
        bucket: bucket.to_owned(),
        region: lines.next().unwrap_or("us-east-1").to_owned(),
        endpoint: endpoint.map(str::to_owned),
        access_key: access_key.to_owned(),
        secret_key: secret_key.to_owned(),
        is_plain_allowed: endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")),
    };
    Ok(Arc::new(Objects::s3(&bucket)?))
}

#[cfg(not(feature = "s3"))]
fn bucket_store(_: &str, _: Option<&str>, _: &std::path::Path) -> Result<Arc<dyn Store>, SiteError> {
    let cause = "this build knows no S3: take one with the feature `s3`".to_owned();
    Err(SiteError::Away { what: "open", cause })
}

/// The site of a setting; its objects are below `root`.
///
/// # Errors
/// As [`store`].
pub fn site(setting: &SiteSetting, root: String, clock: Arc<dyn BootClock>) -> Result<Site, SiteError> {
    Ok(Site::new(SiteParts {
        name: setting.name.clone(),
        region: setting.region.clone(),
        store: store(&setting.place)?,
        root,
        rate_bytes_s: setting.rate_bytes_s,
        clock,
    }))
}
