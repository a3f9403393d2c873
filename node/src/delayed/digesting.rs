//! What a delayed node would hold of a tenant at a cut, as one number: read where the gate is, or looked ahead at in memory. Nothing moves.

use super::donate::{Keys, OnConflict, Wish};
use super::donating::Stretch;
use crate::refused::Refused;
use crate::restore::copy::Digester;
use crate::server::Server;
use bytes::Bytes;
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};

impl Server {
    /// The rows of a tenant that never expire, as of `upto`: how many, and one number for all of them.
    ///
    /// # Errors
    /// `NOT_RECEIVED`; `GATE_BELOW`: too much lies between the gate and that; what the engine says.
    pub(crate) async fn digest_at(
        &self,
        tenant: TenantId,
        upto: Stamp,
        collections: &[CollectionId],
    ) -> Result<(u64, [u8; 32]), Refused> {
        let before = Stamp(upto.0.saturating_add(1));
        let wish = Wish { tenant, keys: Keys::All, before, is_mirror: false, on_conflict: OnConflict::List };
        let source = self.source(&wish, self.check_cut(&wish)?).await?;
        let mut digester = Digester::default();
        for collection in collections {
            digester.begin(*collection);
            let mut stretch = Stretch { collection: *collection, start: Bytes::new(), end: None };
            loop {
                let page = source.rows(&wish, &stretch).await?;
                page.rows.iter().for_each(|row| digester.row(&row.key, &row.value, row.expires_ms));
                match page.next {
                    Some(next) => stretch.start = next,
                    None => break,
                }
            }
        }
        Ok(digester.finish())
    }
}
