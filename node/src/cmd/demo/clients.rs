//! Who talks to the nodes of the demo: an administrator, and a service a tenant, each with an identity of its own in a file.

use super::super::Failure;
use super::world::World;
use crate::boot::authority;
use crate::boot::files;
use dewpond::wire::issue_request::Whose;
use dewpond::wire::{CreateTenantRequest, Group, IssueRequest, Node};
use dewpond::{Client, Identity};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Within which a call has to be answered. Nodes come and go: calls wait for them.
const DEADLINE: Duration = Duration::from_secs(30);

/// The folder of an identity.
pub fn folder(world: &World, name: &str) -> PathBuf {
    world.folder.join("identities").join(name)
}

/// A client of some nodes, as `name`.
///
/// # Errors
/// Its files cannot be read.
pub fn client(world: &World, name: &str, places: &[usize]) -> Result<Client, Failure> {
    let at = folder(world, name);
    let file = |ending: &str| at.join(format!("{name}.{ending}"));
    let nodes = || places.iter().map(|place| &world.nodes[*place]);
    let builder = Client::builder()
        .endpoints(nodes().map(super::world::DemoNode::client))
        .admin_endpoints(nodes().map(super::world::DemoNode::admin))
        .authority(std::fs::read(at.join("ca.crt"))?)
        .identity(Identity::from_files(file("crt"), file("key"))?)
        .app("demo")
        .deadline(DEADLINE);
    Ok(builder.build()?)
}

/// Makes a tenant, and the identity of its service.
///
/// # Errors
/// The administrator is refused; the files cannot be written.
pub async fn make_tenant(world: &World, admin: &Client, name: &str) -> Result<(), Failure> {
    admin
        .admin()
        .create(CreateTenantRequest { name: name.to_owned(), ..CreateTenantRequest::default() })
        .await?;
    make_identity(world, admin, name).await
}

/// Makes the identity of a tenant's service.
///
/// # Errors
/// The administrator is refused; the files cannot be written.
pub async fn make_identity(world: &World, admin: &Client, name: &str) -> Result<(), Failure> {
    let request = authority::request()?;
    let whose = Some(Whose::Tenant(name.to_owned()));
    let issued = admin.admin().issue(IssueRequest { whose, request: request.pem, valid_ms: 0 }).await?;
    let at = folder(world, name);
    files::make_folder(&at)?;
    files::replace(&at.join("ca.crt"), issued.authority.as_bytes())?;
    files::replace(&at.join(format!("{name}.crt")), issued.certificate.as_bytes())?;
    files::replace(&at.join(format!("{name}.key")), &request.key)?;
    Ok(())
}

/// Whether every group has three voters and a leader, and none is on the move.
pub fn is_settled(groups: &[Group]) -> bool {
    let is_so = |group: &Group| {
        let voters = group.replicas.iter().filter(|one| one.role == "voter");
        voters.count() == 3
            && group.leader != 0
            && group.replicas.iter().all(|one| !one.is_coming && !one.is_leaving)
    };
    !groups.is_empty() && groups.iter().all(is_so)
}

/// Who leads the group, as this client's node sees it.
pub async fn leader(admin: &Client, group: u64) -> Option<u64> {
    let groups = admin.admin().groups().await.ok()?;
    groups.iter().find(|one| one.id == group).map(|one| one.leader).filter(|leader| *leader != 0)
}

/// The place of the node that leads the group of a tenant.
///
/// # Errors
/// The administrator is refused, or nobody leads.
pub async fn place_of_leader(world: &World, admin: &Client, tenant: &str) -> Result<usize, Failure> {
    let tenants = admin.admin().tenants().await?;
    let group = tenants.iter().find(|one| one.name == tenant).ok_or("the tenant is unknown")?.group;
    let node = leader(admin, group).await.ok_or("the group of the tenant has no leader")?;
    let nodes = admin.admin().nodes().await?;
    let name = nodes.into_iter().find(|one| one.id == node).ok_or("no such node")?.name;
    let place = world.nodes.iter().position(|one| one.name == name);
    place.ok_or_else(|| format!("{name} is no node of the demo").into())
}

/// The node at a place.
///
/// # Errors
/// The administrator is refused, or nobody knows it.
pub async fn node_of(world: &World, admin: &Client, place: usize) -> Result<Node, Failure> {
    let nodes = admin.admin().nodes().await?;
    let name = &world.nodes[place].name;
    nodes.into_iter().find(|node| node.name == *name).ok_or_else(|| format!("nobody knows {name}").into())
}

/// Writes the contexts of `dew` for all identities.
///
/// # Errors
/// The file cannot be written.
pub fn write_contexts(world: &World, names: &[&str]) -> Result<PathBuf, Failure> {
    let quoted = |text: String| serde_json::Value::from(text).to_string();
    let list = |all: Vec<String>| all.into_iter().map(quoted).collect::<Vec<_>>().join(", ");
    let shown = |path: &Path| quoted(path.display().to_string());
    let clients = list(world.nodes.iter().map(super::world::DemoNode::client).collect());
    let admins = list(world.nodes.iter().map(super::world::DemoNode::admin).collect());
    let mut text = format!("current = {}\n", quoted(names[0].to_owned()));
    for name in names {
        let at = folder(world, name);
        let (ca, certificate, key) =
            (at.join("ca.crt"), at.join(format!("{name}.crt")), at.join(format!("{name}.key")));
        writeln!(text, "\n[contexts.{name}]\nendpoints = [{clients}]\nadmin_endpoints = [{admins}]")?;
        writeln!(text, "ca = {}\ncertificate = {}\nkey = {}", shown(&ca), shown(&certificate), shown(&key))?;
        if *name != "admin" {
            writeln!(text, "tenant = \"{name}\"")?;
        }
    }
    let path = world.folder.join("dew.toml");
    files::replace(&path, text.as_bytes())?;
    Ok(path)
}
