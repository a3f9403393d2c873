//! The key service as a node reaches it, or not.

use crate::world::hardware::Hardware;
use engine::sealed::SecretKey;
use node::keys::kms::{Destroyed, KeyContext, Kms, KmsError, KmsStatus};
use std::sync::Arc;

/// A key service behind a line that can be cut.
pub struct Reached {
    service: Arc<dyn Kms>,
    hardware: Hardware,
}

impl Reached {
    /// That of the node on this machine.
    #[must_use]
    pub fn new(service: Arc<dyn Kms>, hardware: Hardware) -> Self {
        Self { service, hardware }
    }

    fn asked(&self) -> Result<&dyn Kms, KmsError> {
        if self.hardware.has_no_kms() {
            return Err(KmsError::Away("nobody answers".to_owned()));
        }
        Ok(&*self.service)
    }
}

impl Kms for Reached {
    fn status(&self) -> KmsStatus {
        self.asked().map_or_else(|why| KmsStatus::Away(why.to_string()), |kms| kms.status())
    }

    fn create(&self, root: u32) -> Result<(), KmsError> {
        self.asked()?.create(root)
    }

    fn wrap(&self, context: &KeyContext, key: &SecretKey) -> Result<Vec<u8>, KmsError> {
        self.asked()?.wrap(context, key)
    }

    fn unwrap(&self, context: &KeyContext, wrapped: &[u8]) -> Result<SecretKey, KmsError> {
        self.asked()?.unwrap(context, wrapped)
    }

    fn destroy(&self, root: u32) -> Result<Destroyed, KmsError> {
        self.asked()?.destroy(root)
    }

    fn kept(&self) -> Vec<u8> {
        self.service.kept()
    }

    fn adopt(&self, kept: &[u8]) -> Result<(), KmsError> {
        self.asked()?.adopt(kept)
    }
}
