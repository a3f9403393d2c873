//! A bucket at S3, or at what speaks like it.

use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::{ClientOptions, RetryConfig};
use std::time::Duration;

/// How long one request is repeated for, in milliseconds: longer, and a stall would not show.
const RETRY_MS: u64 = 10_000;

/// How a bucket is reached.
#[derive(Clone, Default)]
pub struct S3Bucket {
    /// Its name.
    pub bucket: String,
    /// Its region, as the store calls it.
    pub region: String,
    /// Where it is, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// Names whoever asks.
    pub access_key: String,
    /// Proves it.
    pub secret_key: String,
    /// Whether it may be asked without TLS: for a store on this machine.
    pub is_plain_allowed: bool,
}

// A secret never reaches a line of the log.
impl std::fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3Bucket").field("bucket", &self.bucket).field("endpoint", &self.endpoint).finish()
    }
}

/// Opens a bucket. Nothing is asked of it yet.
///
/// # Errors
/// The settings make no sense.
pub(super) fn open(bucket: &S3Bucket) -> object_store::Result<AmazonS3> {
    let retry = RetryConfig { retry_timeout: Duration::from_millis(RETRY_MS), ..RetryConfig::default() };
    let client = ClientOptions::new().with_allow_http(bucket.is_plain_allowed);
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&bucket.bucket)
        .with_region(&bucket.region)
        .with_access_key_id(&bucket.access_key)
        .with_secret_access_key(&bucket.secret_key)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_client_options(client)
        .with_retry(retry);
    if let Some(endpoint) = &bucket.endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    builder.build()
}
