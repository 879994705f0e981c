//! Who we are, said to others than Google: ID tokens of our own account, from the metadata server
//! or by impersonation. They are cached until they are about to expire.

use google_cloud_auth::credentials::idtoken::{Builder, IDTokenCredentials, mds};
use google_cloud_gax::error::Error as Sdk;

use crate::call::{CALL_TIME_MAX, bounded};
use crate::error::{Error, Result};
use crate::{Call, Config, Credentials};

const DOING: &str = "get an ID token of our own account";

/// ID tokens for one audience. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IdTokens(IDTokenCredentials);

impl IdTokens {
    /// Those of the account that all other doors use. Nothing is fetched yet.
    pub fn new(config: &Config, audience: &str) -> Result<Self> {
        let built = match (config.credentials, &config.metadata_endpoint) {
            (Credentials::Anonymous, _) => {
                return Err(Error::refused(DOING, "credentials are anonymous"));
            }
            (Credentials::ApplicationDefault, None) => {
                Builder::new(audience).with_include_email().build()
            }
            (Credentials::ApplicationDefault, Some(endpoint)) => {
                // Without the whole of it there is no address in it.
                let builder = mds::Builder::new(audience).with_endpoint(endpoint);
                builder.with_format(mds::Format::Full).build()
            }
        };
        built.map(Self).map_err(|source| Error::no_credentials(DOING, source))
    }

    /// A token that is valid now.
    pub fn token(&self) -> Call<'_, String> {
        let token = async { self.0.id_token().await.map_err(Sdk::authentication) };
        bounded(DOING.to_owned(), CALL_TIME_MAX, token)
    }
}
