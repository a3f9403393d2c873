//! What restores change: see [`RestoreChange`].

use super::{Draft, Stop, Tried, check, check_expected, refused};
use crate::limits;
use crate::meta::command::Reason;
use crate::meta::rows::{self, MetaRow};
use crate::meta::tenant_row::{CollectionRow, TenantNameRow, TenantRow};
use crate::restore::change::RestoreChange;
use crate::restore::rows::{AsideRow, HeldRow, OriginRow, RestoreRow};
use crate::tenants::rules::{Act, TenantState};
use engine::Stamp;
use engine::ids::{CollectionId, TenantId};

impl Draft<'_, '_> {
    reader_of!(restore, Restore, RestoreRow, rows::RESTORES);
    reader_of!(held, Held, HeldRow, rows::HELD);
    reader_of!(origin, Origin, OriginRow, rows::ORIGINS);
    reader_of!(aside, Aside, AsideRow, rows::ASIDE);

    pub(super) fn make_restoring(&mut self, change: RestoreChange) -> Tried {
        match change {
            RestoreChange::Put(row, expected) => self.put_restore(*row, expected),
            RestoreChange::Copy { id, name, quota, history_ms, of, at, restore } => {
                let created_ms = self.now_ms();
                let (state, next_collection) = (TenantState::Frozen, CollectionId(1));
                let row = TenantRow { id, name, state, quota, history_ms, created_ms, next_collection };
                self.create_tenant(row)?;
                let (tenant, whole, forked) = (id, Stamp::MAX, Stamp::ZERO);
                self.put(MetaRow::Origin(OriginRow { tenant, of, at, restore, whole, forked }));
                Ok(())
            }
            RestoreChange::PutCollection(tenant, name, id) => self.put_collection(tenant, name, id),
            RestoreChange::Close(tenant, now, restore) => self.close(tenant, now, restore),
            RestoreChange::Open(tenant) => {
                let row = self.aside(AsideRow::key(tenant))?;
                check(row.is_some_and(|row| row.until_ms == 0), Reason::State)?;
                self.delete(rows::ASIDE, AsideRow::key(tenant));
                Ok(())
            }
            RestoreChange::Swap { old, new, aside, until_ms, whole, forked } => {
                self.swap((old, new), aside, until_ms, (whole, forked))
            }
            RestoreChange::End(tenant) => self.end(tenant),
            RestoreChange::Forget(id) => {
                let Some(row) = self.restore(RestoreRow::key(id))? else { return Ok(()) };
                check(!row.state.is_open(), Reason::State)?;
                self.delete(rows::RESTORES, RestoreRow::key(id));
                Ok(())
            }
            RestoreChange::Whole(tenant, whole) => {
                let row = self.living(tenant)?;
                let Some(origin) = self.origin(OriginRow::key(tenant))? else {
                    return refused(Reason::NotFound);
                };
                check(origin.whole == Stamp::MAX, Reason::State)?;
                self.put(MetaRow::Origin(OriginRow { whole, ..origin }));
                let after = row.state.after(Act::Unfreeze, self.now_ms());
                let state = after.map_err(|_| Stop::Refused(Reason::State))?;
                self.put(MetaRow::Tenant(TenantRow { state, ..row }));
                Ok(())
            }
        }
    }

    /// A restore that goes on holds its tenant, and lets go of it when it does not.
    fn put_restore(&mut self, row: RestoreRow, expected: Option<u64>) -> Tried {
        let old = self.restore(RestoreRow::key(row.id))?;
        check_expected(old.as_ref().map(|old| old.version), expected)?;
        check(row.follows(old.as_ref()), Reason::Impossible)?;
        let holder = self.held(HeldRow::key(row.tenant))?.map(|held| held.restore);
        if row.state.is_open() {
            check(holder.is_none_or(|holder| holder == row.id), Reason::Held)?;
            self.put(MetaRow::Held(HeldRow { tenant: row.tenant, restore: row.id }));
        } else if holder == Some(row.id) {
            self.delete(rows::HELD, HeldRow::key(row.tenant));
        }
        self.put(MetaRow::Restore(row));
        Ok(())
    }

    /// The collections of a copy have the numbers that they have in what it is a copy of: rows are found by them.
    fn put_collection(&mut self, tenant: TenantId, name: String, id: CollectionId) -> Tried {
        let row = self.living(tenant)?;
        check(self.origin(OriginRow::key(tenant))?.is_some(), Reason::State)?;
        if let Some(found) = self.collection(CollectionRow::key(tenant, &name))? {
            return check(found.id == id, Reason::NameTaken);
        }
        check(id.0 <= limits::COLLECTIONS_MAX, Reason::Full)?;
        let next = CollectionId(row.next_collection.0.max(id.0 + 1));
        self.put(MetaRow::Tenant(TenantRow { next_collection: next, ..row }));
        self.put(MetaRow::Collection(CollectionRow { tenant, name, id }));
        Ok(())
    }

    fn close(&mut self, tenant: TenantId, now: TenantId, restore: u64) -> Tried {
        let (row, _) = (self.living(tenant)?, self.living(now)?);
        check(matches!(row.state, TenantState::Active | TenantState::Frozen), Reason::State)?;
        let aside = self.aside(AsideRow::key(tenant))?;
        let is_same = aside.is_none_or(|row| row.until_ms == 0 && (row.now, row.restore) == (now, restore));
        check(is_same && tenant != now, Reason::State)?;
        let since_ms = self.now_ms();
        self.put(MetaRow::Aside(AsideRow { tenant, now, restore, since_ms, until_ms: 0 }));
        Ok(())
    }

    fn swap(
        &mut self,
        (old, new): (TenantId, TenantId),
        name: String,
        until_ms: u64,
        (whole, forked): (Stamp, Stamp),
    ) -> Tried {
        let (goes, comes) = (self.living(old)?, self.living(new)?);
        let Some(aside) = self.aside(AsideRow::key(old))? else { return refused(Reason::State) };
        check(aside.until_ms == 0 && aside.now == new, Reason::State)?;
        check(self.tenant_name(TenantNameRow::key(&name))?.is_none(), Reason::NameTaken)?;
        let now_ms = self.now_ms();
        check(until_ms > now_ms, Reason::Impossible)?;
        // The two names go on being names of tenants; the one that nobody needs any more goes.
        self.delete(rows::TENANT_NAMES, TenantNameRow::key(&comes.name));
        self.put(MetaRow::TenantName(TenantNameRow { name: goes.name.clone(), tenant: new }));
        self.put(MetaRow::TenantName(TenantNameRow { name: name.clone(), tenant: old }));
        let before = self.origin(OriginRow::key(new))?;
        let restore = aside.restore;
        let origin = match before {
            // A copy has had its beginning when it was put in place for the first time; what was never one has all of its history.
            Some(origin) if origin.whole == Stamp::MAX => OriginRow { whole, forked, ..origin },
            Some(origin) => OriginRow { forked, ..origin },
            None => OriginRow { tenant: new, restore, forked, ..OriginRow::default() },
        };
        self.put(MetaRow::Origin(origin));
        // Whoever comes is no longer aside for anybody.
        self.delete(rows::ASIDE, AsideRow::key(new));
        self.put(MetaRow::Aside(AsideRow { tenant: old, now: new, restore, since_ms: now_ms, until_ms }));
        // What a tenant may use, and whether it is served, is as it is now, and does not travel back.
        let TenantRow { quota, history_ms, state, .. } = goes.clone();
        self.put(MetaRow::Tenant(TenantRow { name: goes.name.clone(), quota, history_ms, state, ..comes }));
        self.put(MetaRow::Tenant(TenantRow { name, state: TenantState::Frozen, ..goes }));
        Ok(())
    }

    fn end(&mut self, tenant: TenantId) -> Tried {
        let (row, now_ms) = (self.living(tenant)?, self.now_ms());
        let origin = self.origin(OriginRow::key(tenant))?.filter(|origin| origin.whole == Stamp::MAX);
        match (self.aside(AsideRow::key(tenant))?, origin) {
            (Some(aside), _) => {
                check(aside.until_ms != 0, Reason::State)?;
                check(now_ms >= aside.until_ms, Reason::WindowOpen)?;
                self.delete(rows::ASIDE, AsideRow::key(tenant));
            }
            (None, Some(origin)) => {
                let made = self.restore(RestoreRow::key(origin.restore))?;
                check(made.is_none_or(|made| !made.state.is_open()), Reason::State)?;
            }
            (None, None) => return refused(Reason::NotFound),
        }
        let was_frozen = match row.state {
            TenantState::Active => false,
            TenantState::Frozen => true,
            _ => return refused(Reason::State),
        };
        let state = TenantState::Dropped { since_ms: now_ms, until_ms: now_ms, was_frozen };
        self.put(MetaRow::Tenant(TenantRow { state, ..row }));
        Ok(())
    }
}
