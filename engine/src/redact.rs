//! Pure: what holds a tenant's bytes prints their length and never the bytes, so that no log line or panic can hold one.

use bytes::Bytes;

/// Something that may hold a tenant's bytes.
pub(crate) trait Redacted {
    /// What may be printed of it.
    fn redacted(&self) -> String;
}

impl Redacted for [u8] {
    fn redacted(&self) -> String {
        format!("({} bytes)", self.len())
    }
}

impl Redacted for &[u8] {
    fn redacted(&self) -> String {
        (**self).redacted()
    }
}

impl Redacted for Vec<u8> {
    fn redacted(&self) -> String {
        self[..].redacted()
    }
}

impl Redacted for Bytes {
    fn redacted(&self) -> String {
        self[..].redacted()
    }
}

impl<T: Redacted> Redacted for Option<T> {
    fn redacted(&self) -> String {
        self.as_ref().map_or_else(|| "none".to_owned(), Redacted::redacted)
    }
}

impl<T: Redacted> Redacted for (T, u64) {
    fn redacted(&self) -> String {
        self.0.redacted()
    }
}

/// `Debug` for a struct: the fields before the semicolon as they are, those after it by their length.
macro_rules! redacted_debug {
    ($type:ty, $($shown:ident),* ; $($hidden:ident),*) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                #[allow(unused_imports, reason = "a type may have nothing to hide but what its parts hide")]
                use $crate::redact::Redacted;
                f.debug_struct(stringify!($type))
                    $(.field(stringify!($shown), &self.$shown))*
                    $(.field(stringify!($hidden), &format_args!("{}", self.$hidden.redacted())))*
                    .finish()
            }
        }
    };
}

pub(crate) use redacted_debug;

#[cfg(test)]
mod tests {
    use crate::ids::{CollectionId, LogIndex, TenantId};
    use crate::key::{self, KeyRange};
    use crate::manifest::edit::{Applied, Edit};
    use crate::range_tombstone::RangeTombstone;
    use crate::read::{OwnedSlot, Slot};
    use crate::stamp::Stamp;
    use crate::tablet::batch::Batch;
    use crate::tablet::history::Event;
    use crate::tablet::view::{Entry, Found, Scan, ScanCursor};

    #[test]
    fn nothing_prints_a_tenants_byte() {
        let secret = b"secret-canary".to_vec();
        let (tenant, collection, stamp) = (TenantId(1), CollectionId(2), Stamp::new(3, 0));
        let mut batch = Batch::new(LogIndex(1));
        batch.put(tenant, collection, &secret, &secret, stamp, 0).unwrap();
        batch.delete_range(tenant, collection, &secret, None, stamp).unwrap();
        batch.set_note(&secret).unwrap();
        let row = key::row(tenant, collection, &secret);
        let range = KeyRange { start: row.clone(), end: Some(key::after_row(&row)) };
        let found = Found { value: secret.clone().into(), stamp, expires_ms: 0 };
        let applied = Applied { index: LogIndex(1), stamp, note: secret.clone() };
        let scan =
            Scan { start: Some(secret.clone()), end: Some(secret.clone()), ..Scan::all(tenant, collection) };
        let printed = [
            format!("{batch:?} {:?}", batch.ops().collect::<Vec<_>>()),
            format!("{range:?} {:?}", RangeTombstone { start: row.clone(), end: row.clone(), stamp }),
            format!("{:?}", Slot::Put { value: &secret, expires_ms: 0 }),
            format!("{:?}", OwnedSlot::Put { value: secret.clone().into(), expires_ms: 0 }),
            format!("{:?}", Entry { key: secret.clone(), found: found.clone() }),
            format!("{:?}", Event { stamp, value: Some((secret.clone().into(), 0)) }),
            format!("{scan:?} {:?}", ScanCursor { at: stamp, now_ms: 0, after: secret.clone() }),
            format!("{:?}", Edit::birth(crate::ids::TabletId(1), range, applied)),
        ];
        let as_numbers = format!("{:?}", &secret[..6]);
        for text in printed {
            let is_clean = !text.contains("secret") && !text.contains(as_numbers.trim_matches(['[', ']']));
            assert!(is_clean, "{text}");
        }
    }
}
