//! Further sites follow the home site, whoever leads the meta group carries: a site that was away catches up.

use super::Server;
use super::calming::Paced;
use crate::archive::naming::{Generation, root};
use crate::archive::pull::Puller;
use crate::archive::site::{Site, open};
use crate::archive::sites::{Role, SiteSetting};
use crate::archive::{Error, Result};
use crate::limits::CHANGE_MS;
use crate::meta::archive_change::ArchiveChange;
use crate::meta::command::{Change, MetaCommand};
use crate::meta::pin_row::CarriedRow;
use engine::Stamp;
use engine::error::with_sources;
use raft::types::GroupId;
use std::sync::Arc;
use std::time::Duration;

impl Server {
    /// Lets the site of `setting` follow the home site, until the tasks end.
    pub(super) async fn pull_site(self: Arc<Self>, setting: SiteSetting) {
        let (mut puller, mut site): (Puller, Option<Arc<Site>>) = (Puller::of(setting.policy), None);
        let mut due = super::retaining::Due::default();
        loop {
            tokio::time::sleep(Duration::from_millis(self.archiving.config.tick.ms())).await;
            let leads = |seated: Arc<crate::running::replicas::Seated>| seated.receiver.group().leads();
            let is_led_here =
                self.running().is_ok_and(|running| running.replica(GroupId::META).is_some_and(leads));
            if !is_led_here || self.meta().closer.is_none() {
                (puller, site, due) = (Puller::of(setting.policy), None, Default::default());
                self.archiving.note(|known| drop(known.pull_failures.remove(setting.name.as_str())));
                continue;
            }
            let pulled = self.pull_once(&setting, &mut site, &mut puller).await;
            // What a copy has of a generation that has ended says nothing of what is archived anew.
            let generation = Generation(self.generations.own());
            if let (Ok(()), Some(upto)) = (&pulled, puller.upto(generation)) {
                self.note_carried(&setting, upto).await;
            }
            let why = pulled.err().map(|error| with_sources(&error));
            if let Some(site) = &site {
                // In turn with pulling: nobody counts on what is deleted meanwhile.
                self.retain(&setting, site, &mut due).await;
            }
            self.archiving.note(|known| {
                let before = known.pull_failures.get(setting.name.as_str());
                if why.is_some() && before != why.as_ref() {
                    tracing::warn!(site = %setting.name, why, "a site of the archive does not follow: it is tried again");
                }
                match why {
                    Some(why) => drop(known.pull_failures.insert(setting.name.to_string(), why)),
                    None => drop(known.pull_failures.remove(setting.name.as_str())),
                }
            });
        }
    }

    /// Says how far every required site has everything, once all of them have come further.
    async fn note_carried(&self, setting: &SiteSetting, upto: Stamp) {
        self.archiving.note(|known| {
            known.carried.insert(setting.name.to_string(), upto);
        });
        let carried = self.archiving.known().carried;
        let required = self.copies().into_iter().filter(|site| site.is_required);
        let least =
            required.map(|site| carried.get(site.name.as_str()).copied().unwrap_or(Stamp::ZERO)).min();
        let Some(upto) = least.filter(|least| setting.is_required && *least > self.meta().carried) else {
            return;
        };
        let change = Change::Archive(ArchiveChange::Carry(CarriedRow { upto }));
        if let Err(refused) = self.change(MetaCommand::new(vec![change]), CHANGE_MS).await {
            tracing::debug!(why = %refused, "it is not noted now how far required sites are");
        }
    }

    async fn pull_once(
        &self,
        setting: &SiteSetting,
        site: &mut Option<Arc<Site>>,
        puller: &mut Puller,
    ) -> Result<()> {
        let to = match site {
            Some(to) => to.clone(),
            None => {
                let opened = open::site(setting, root(self.cluster), self.clock.clone());
                site.insert(Arc::new(opened.map_err(Error::Site)?)).clone()
            }
        };
        let from = self.archiving.home(self)?;
        let pace = Paced { server: self, quiet: &setting.quiet };
        puller.pull_at(&from, &to, self.keys.sealer(), &pace).await
    }

    /// The sites that follow the home site.
    pub(super) fn copies(&self) -> Vec<SiteSetting> {
        let sites = self.archiving.config.sites.iter();
        sites.filter(|site| site.role == Role::Copy).cloned().collect()
    }
}
