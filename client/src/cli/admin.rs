//! What administrators do.

use super::Session;
use super::args::{Dangerous, IdentityVerb, JobVerb, KeyVerb, NodeVerb, Quota, TenantVerb};
use super::confirm::confirmed;
use super::context::write_private;
use super::ids;
use super::output::{Document, Fields, fields, hex};
use super::words::time;
use crate::clock::ms;
use crate::wire::{
    CreateTenantRequest, Finding, Group, IssueRequest, Node, RotateCluster, RotateRequest, SetTenantRequest,
    StatusResponse, Tenant, issue_request::Whose, rotate_request::What,
};
use crate::{Admin, Error, Result, code};
use serde_json::{Value, json};
use std::path::Path;

const TENANT: [&str; 8] =
    ["id", "name", "state", "quota_bytes", "quota_operations", "history_ms", "group", "purge_ms"];
const NODE: [&str; 7] = ["id", "name", "region", "state", "heard", "replicas", "client_address"];

pub(super) fn text(number: u64) -> Value {
    number.to_string().into()
}

fn tenant_row(tenant: &Tenant) -> Fields {
    fields([
        ("id", ids::tenant(tenant.id)),
        ("name", tenant.name.as_str().into()),
        ("state", tenant.state.as_str().into()),
        ("quota_bytes", text(tenant.quota_bytes)),
        ("quota_operations", text(tenant.quota_operations)),
        ("history_ms", text(tenant.history_ms)),
        ("created_ms", text(tenant.created_ms)),
        ("dropped_ms", text(tenant.dropped_ms)),
        ("group", ids::group(tenant.group)),
        ("purge_ms", text(tenant.purge_ms)),
        ("clone_of", if tenant.clone_of == 0 { Value::Null } else { ids::tenant(tenant.clone_of) }),
        ("clone_at", text(tenant.clone_at)),
    ])
}

fn node_row(node: &Node) -> Fields {
    fields([
        ("id", ids::node(node.id)),
        ("name", node.name.as_str().into()),
        ("region", node.region.as_str().into()),
        ("state", node.state.as_str().into()),
        ("heard", node.is_heard.into()),
        ("replicas", node.replicas.into()),
        ("peer_address", node.peer_address.as_str().into()),
        ("client_address", node.client_address.as_str().into()),
        ("admin_address", node.admin_address.as_str().into()),
    ])
}

pub(super) fn group_row(group: &Group) -> Fields {
    let replicas: Vec<_> =
        group.replicas.iter().map(|replica| format!("n-{:x}:{}", replica.node, replica.role)).collect();
    fields([
        ("id", ids::group(group.id)),
        ("leader", ids::node(group.leader)),
        ("replicas", replicas.join(" ").into()),
        ("term", text(group.term)),
        ("last_index", text(group.last_index)),
        ("applied_index", text(group.applied_index)),
        ("failure", group.failure.as_str().into()),
    ])
}

/// Shows how the cluster is: 2 if something is wrong.
pub async fn status(session: &Session) -> Result<u8> {
    let status = session.client.admin().status().await?;
    let exit = if status.is_well { 0 } else { 2 };
    if session.format.is_for_people() {
        super::output::print(&screen(&session.name, &status))?;
        return Ok(exit);
    }
    let findings: Vec<_> = status
        .findings
        .iter()
        .map(|one| json!({ "level": one.level, "name": one.name, "text": one.text, "command": one.command }))
        .collect();
    let mut row = fields([
        ("cluster", hex(&status.cluster).into()),
        ("name", status.name.as_str().into()),
        ("version", status.version.as_str().into()),
        ("node", ids::node(status.node)),
        ("now_ms", text(status.now_ms)),
        ("is_well", status.is_well.into()),
        ("findings", findings.into()),
        ("nodes", status.nodes.iter().map(node_row).collect::<Vec<_>>().into()),
        ("groups", status.groups.iter().map(group_row).collect::<Vec<_>>().into()),
        ("tenants", status.tenants.into()),
        ("delayed", status.delayed.iter().map(super::delayed::row).collect::<Vec<_>>().into()),
    ]);
    if !status.archive.is_empty() {
        row.insert("archive".to_owned(), status.archive.as_str().into());
    }
    Document::one("dew.status.show/1", &[], row).print(session.format)?;
    Ok(exit)
}

/// The screen of facts.
fn screen(context: &str, status: &StatusResponse) -> String {
    let verdict = if status.is_well { "OK" } else { "NOT WELL" };
    let (findings, nodes, groups) = (status.findings.len(), &status.nodes, &status.groups);
    let heard = nodes.iter().filter(|node| node.is_heard).count();
    let led = groups.iter().filter(|group| group.leader != 0).count();
    let name = &status.name;
    let mut out =
        format!("{context}   {verdict}, {findings} findings   cluster {name}, version {}\n", status.version);
    out += &format!("nodes     {}, {heard} heard\n", nodes.len());
    out += &format!("groups    {}, {} without leader\n", groups.len(), groups.len() - led);
    out += &format!("tenants   {}\n", status.tenants);
    out.extend(status.delayed.iter().map(super::delayed::line));
    if !status.archive.is_empty() {
        out += &format!("archive   {}\n", status.archive);
    }
    for finding in &status.findings {
        let Finding { level, name, text, command } = finding;
        out += &format!("  {level:<5} {name:<17} {text}   {command}\n");
    }
    out
}

/// Runs a command about tenants.
pub async fn tenant(session: &Session, verb: TenantVerb) -> Result<()> {
    let admin = session.client.admin();
    let tenant = match verb {
        TenantVerb::List => {
            let mut tenants = admin.tenants().await?;
            // Ids are random: a person looks for names.
            tenants.sort_by(|one, other| one.name.cmp(&other.name));
            let rows = tenants.iter().map(tenant_row).collect();
            return Document::list("dew.tenant.list/1", &TENANT, rows).print(session.format);
        }
        TenantVerb::Show { name } => admin.show(&name).await?,
        TenantVerb::Create { name, quota } => {
            admin
                .create(CreateTenantRequest {
                    name,
                    quota_bytes: quota.quota_bytes.unwrap_or(0),
                    quota_operations: quota.quota_operations.unwrap_or(0),
                    history_ms: history_ms(&quota)?.unwrap_or(0),
                })
                .await?
        }
        TenantVerb::Freeze(Dangerous { name, confirm }) => {
            confirmed(
                "its reads and writes will be refused",
                &name,
                (confirm.as_deref(), session.is_protected),
            )?;
            admin.freeze(&name).await?
        }
        TenantVerb::Unfreeze { name } => admin.unfreeze(&name).await?,
        TenantVerb::Drop(Dangerous { name, confirm }) => {
            confirmed(
                "all its data will be gone when the window has passed",
                &name,
                (confirm.as_deref(), session.is_protected),
            )?;
            admin.drop(&name).await?
        }
        TenantVerb::Undrop { name } => admin.undrop(&name).await?,
        TenantVerb::Set { name, quota } => {
            let history_ms = history_ms(&quota)?;
            let Quota { quota_bytes, quota_operations, .. } = quota;
            admin.set(SetTenantRequest { name, quota_bytes, quota_operations, history_ms }).await?
        }
    };
    Document::one("dew.tenant.show/1", &TENANT, tenant_row(&tenant)).print(session.format)
}

fn history_ms(quota: &Quota) -> Result<Option<u64>> {
    quota.history.as_deref().map(|text| time(text).map(ms)).transpose()
}

/// The id of a node that is named by its name, or by its id.
pub(super) async fn node_id(admin: &Admin, name: &str) -> Result<u64> {
    let nodes = admin.nodes().await?;
    let found = nodes.iter().find(|node| node.name == name && node.state != "removed");
    let found = found.map(|node| node.id).or_else(|| ids::read_node(name));
    found.ok_or_else(|| Error::new(code::NODE_UNKNOWN, format!("there is no node `{name}`")))
}

/// Runs a command about nodes.
pub async fn node(session: &Session, verb: NodeVerb) -> Result<()> {
    let admin = session.client.admin();
    let node = match verb {
        NodeVerb::List => {
            let rows = admin.nodes().await?.iter().map(node_row).collect();
            return Document::list("dew.node.list/1", &NODE, rows).print(session.format);
        }
        NodeVerb::Add { valid } => {
            let valid_ms = valid.as_deref().map(time).transpose()?.map_or(0, ms);
            let made = admin.add_node(valid_ms).await?;
            let row = fields([("token", made.token.into()), ("expires_ms", text(made.expires_ms))]);
            return Document::one("dew.node.add/1", &["token", "expires_ms"], row).print(session.format);
        }
        NodeVerb::Drain(Dangerous { name, confirm }) => {
            confirmed("it will lose all its replicas", &name, (confirm.as_deref(), session.is_protected))?;
            admin.drain(node_id(&admin, &name).await?).await?
        }
        NodeVerb::Undrain { name } => admin.undrain(node_id(&admin, &name).await?).await?,
        NodeVerb::Remove(Dangerous { name, confirm }) => {
            confirmed(
                "it can never come back under its id",
                &name,
                (confirm.as_deref(), session.is_protected),
            )?;
            admin.remove(node_id(&admin, &name).await?).await?
        }
    };
    Document::one("dew.node.show/1", &NODE, node_row(&node)).print(session.format)
}

/// Lets every node look for damage.
pub async fn scrub(session: &Session) -> Result<()> {
    let asked_ms = session.client.admin().scrub().await?;
    let row = fields([("asked_ms", text(asked_ms))]);
    Document::one("dew.scrub.ask/1", &["asked_ms"], row).print(session.format)
}

/// Runs a command about jobs.
pub async fn job(session: &Session, JobVerb::List: JobVerb) -> Result<()> {
    let listed = session.client.admin().jobs().await?;
    let rows = listed.iter().map(|job| {
        fields([
            ("id", text(job.id)),
            ("kind", job.kind.as_str().into()),
            ("subject", job.subject.as_str().into()),
            ("state", job.state.as_str().into()),
            ("done_permille", job.done_permille.into()),
            ("text", job.text.as_str().into()),
        ])
    });
    let columns = ["kind", "subject", "state", "done_permille", "text"];
    Document::list("dew.job.list/1", &columns, rows.collect()).print(session.format)
}

/// Runs a command about keys.
pub async fn key(session: &Session, verb: KeyVerb) -> Result<()> {
    let admin = session.client.admin();
    match verb {
        KeyVerb::List { name } => {
            let listed = admin.keys(name.as_deref()).await?;
            let rows = listed.keys.iter().map(|key| {
                fields([
                    ("owner", key.owner.as_str().into()),
                    ("purpose", key.purpose.as_str().into()),
                    ("epoch", key.epoch.into()),
                    ("state", key.state.as_str().into()),
                    ("bytes", text(key.bytes)),
                    ("created_ms", text(key.created_ms)),
                    ("coverage_permille", listed.coverage_permille.get(&key.owner).copied().into()),
                ])
            });
            let columns = ["owner", "purpose", "epoch", "state", "bytes", "coverage_permille"];
            Document::list("dew.key.list/1", &columns, rows.collect()).print(session.format)
        }
        KeyVerb::Rotate { which, name } => {
            let name = name.unwrap_or_default();
            let what = match which.as_str() {
                "data" => What::Data(name),
                "tenant" => What::Tenant(name),
                _ => What::Cluster(RotateCluster {}),
            };
            let epoch = admin.rotate(RotateRequest { what: Some(what) }).await?.epoch;
            let row = fields([("which", which.into()), ("epoch", epoch.into())]);
            Document::one("dew.key.rotate/1", &["which", "epoch"], row).print(session.format)
        }
    }
}

/// Makes a key here, and has its certificate issued.
pub async fn identity(session: &Session, verb: IdentityVerb) -> Result<()> {
    let IdentityVerb::Issue { service_of, admin, folder, valid } = verb;
    let (whose, name) = match (service_of, admin) {
        (Some(tenant), _) => (Whose::Tenant(tenant.clone()), tenant),
        (None, Some(admin)) => (Whose::Admin(admin.clone()), admin),
        (None, None) => return Err(Error::new(code::INPUT, "for whom? --service-of TENANT or --admin NAME")),
    };
    let unmade = |cause: rcgen::Error| Error::new(code::INTERNAL, "make a key and a request").because(cause);
    let folder = Path::new(&folder);
    let unwritten = |path: &Path, cause: std::io::Error| {
        Error::new(code::INPUT, format!("write {}", path.display())).because(cause)
    };
    std::fs::create_dir_all(folder).map_err(|cause| unwritten(folder, cause))?;
    let key = rcgen::KeyPair::generate().map_err(unmade)?;
    let request =
        rcgen::CertificateParams::default().serialize_request(&key).and_then(|request| request.pem());
    let valid_ms = valid.as_deref().map(time).transpose()?.map_or(0, ms);
    let issued = session
        .client
        .admin()
        .issue(IssueRequest { whose: Some(whose), request: request.map_err(unmade)?, valid_ms })
        .await?;
    let mut row = Fields::new();
    for (field, file, bytes) in [
        ("key", format!("{name}.key"), key.serialize_pem()),
        ("certificate", format!("{name}.crt"), issued.certificate),
        ("authority", "ca.crt".to_owned(), issued.authority),
    ] {
        let path = folder.join(file);
        write_private(&path, bytes.as_bytes()).map_err(|cause| unwritten(&path, cause))?;
        row.insert(field.to_owned(), path.display().to_string().into());
    }
    Document::one("dew.identity.issue/1", &["key", "certificate", "authority"], row).print(session.format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_says_what_is_wrong_and_what_to_type() {
        let finding = Finding {
            level: "warn".into(),
            name: "clock_disputed".into(),
            text: "clock".into(),
            command: "dew node list".into(),
        };
        let nodes = vec![Node { is_heard: true, ..Node::default() }, Node::default()];
        let groups = vec![Group { leader: 1, ..Group::default() }, Group::default()];
        let status = StatusResponse {
            name: "prod".into(),
            version: "0.1.0".into(),
            findings: vec![finding],
            nodes,
            groups,
            tenants: 3,
            ..StatusResponse::default()
        };
        let wanted = "here   NOT WELL, 1 findings   cluster prod, version 0.1.0\nnodes     2, 1 heard\n\
                      groups    2, 1 without leader\ntenants   3\n  warn  clock_disputed    clock   dew node list\n";
        assert_eq!(screen("here", &status), wanted);
    }
}
