//! Builds bucket clients of each kind, with the usual sources of credentials.

use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::super::aws_profile;
use super::super::options::Options;
use super::bounded::BoundedConnector;
use super::failure::Failure;
use crate::fetch::web::silence::Server;

/// The provider of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    S3,
    Google,
    Azure,
}

impl Kind {
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

/// All settings except the location come from the environment. Sends no request.
pub fn store(
    kind: Kind,
    bucket: &str,
    options: &Options,
    server: &Arc<Server>,
) -> Result<Arc<dyn ObjectStore>, Failure> {
    let connector = || BoundedConnector {
        limits: options.limits,
        server: server.clone(),
    };
    // A second call has no effect; the first choice is good enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match kind {
        Kind::S3 => s3(bucket, options, connector()),
        Kind::Google => google(bucket, options, connector()),
        Kind::Azure => azure(bucket, options, connector()),
    }
    .map_err(Failure::Store)
}

fn s3(
    bucket: &str,
    options: &Options,
    connector: BoundedConnector,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(bucket);
    if let Some(endpoint) = &options.endpoint {
        // An endpoint in the environment may be meant only for S3, and would take precedence.
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if let Some(region) = &options.region {
        builder = builder.with_region(region);
    }
    let given = |key| builder.get_config_value(&key);
    let endpoint =
        given(AmazonS3ConfigKey::S3Endpoint).or_else(|| given(AmazonS3ConfigKey::Endpoint));
    let is_plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let has_key = given(AmazonS3ConfigKey::AccessKeyId).is_some();
    let has_role = given(AmazonS3ConfigKey::WebIdentityTokenFile).is_some();
    let has_region = given(AmazonS3ConfigKey::Region).is_some();
    if let Some(profile) = aws_profile::chosen().filter(|_| !has_key && !has_role) {
        builder = builder
            .with_access_key_id(profile.key)
            .with_secret_access_key(profile.secret);
        if let Some(token) = profile.token {
            builder = builder.with_token(token);
        }
        if let Some(region) = profile.region.filter(|_| !has_region) {
            builder = builder.with_region(region);
        }
    }
    let store = builder
        .with_client_options(client(options, is_plain))
        .with_retry(retry())
        .with_http_connector(connector)
        .build()?;
    Ok(Arc::new(store))
}

fn google(
    bucket: &str,
    options: &Options,
    connector: BoundedConnector,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = GoogleCloudStorageBuilder::from_env().with_bucket_name(bucket);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    let store = builder
        .with_client_options(client(options, false))
        .with_retry(retry())
        .with_http_connector(connector)
        .build()?;
    Ok(Arc::new(store))
}

fn azure(
    container: &str,
    options: &Options,
    connector: BoundedConnector,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = MicrosoftAzureBuilder::from_env().with_container_name(container);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let store = builder
        .with_client_options(client(options, false))
        .with_retry(retry())
        .with_http_connector(connector)
        .build()?;
    Ok(Arc::new(store))
}

/// The caller that waits for a response enforces its limits: a timeout on the whole request would
/// abort large transfers.
fn client(options: &Options, is_plain: bool) -> ClientOptions {
    let endpoint = options.endpoint.as_deref().unwrap_or_default();
    ClientOptions::new()
        .with_allow_http(is_plain || endpoint.starts_with("http://"))
        .with_connect_timeout(options.limits.connect)
        .with_timeout_disabled()
}

/// One retry, for a kept connection that was closed; [`super::super::patience`] does all other
/// retries.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
        },
        max_retries: 1,
        retry_timeout: Duration::from_secs(30),
    }
}
