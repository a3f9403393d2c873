//! `dewpond takeover`: the cluster goes on from the node in this folder, which does not run.

use super::options::TakeOver;
use super::{Failure, config};
use crate::keys::kms::passphrase;
use crate::restore::target::{self, shown, target};
use crate::takeover::offline::{Folder, Possible};
use crate::takeover::order::Target;
use std::sync::Arc;

/// Plans it, or decides it, and says what to do next.
///
/// # Errors
/// The configuration, the passphrase; what is asked for cannot be; the name was not typed again.
pub fn run(options: &TakeOver) -> Result<(), Failure> {
    let config = Arc::new(config::load(&options.from)?);
    let target = wanted(options)?;
    let passphrase = passphrase::read(config.node.passphrase_file.as_ref().ok_or(passphrase::NOT_NAMED)?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = runtime.block_on(Folder::open(config, passphrase))?;
    let done = decided(options, &folder, target);
    folder.close();
    done
}

fn wanted(options: &TakeOver) -> Result<Target, Failure> {
    let (at, before) = (options.at.as_deref().unwrap_or(""), options.before.as_deref().unwrap_or(""));
    if options.newest {
        return Ok(Target::Newest);
    }
    match target(at, before)? {
        target::Target::Upto(upto) => Ok(Target::Upto(upto)),
        target::Target::Latest => Ok(Target::Newest),
    }
}

fn decided(options: &TakeOver, folder: &Folder, target: Target) -> Result<(), Failure> {
    let possible = folder.possible(target)?;
    print(&possible);
    let Some(confirm) = &options.confirm else {
        println!("nothing was done: to do it, add --reason WHY --confirm {}", possible.name);
        return Ok(());
    };
    if *confirm != possible.name {
        return Err(
            format!("--confirm says `{confirm}`, and the name of the node is `{}`", possible.name).into()
        );
    }
    let reason = options.reason.as_deref().map(str::trim).filter(|reason| !reason.is_empty());
    let reason = reason.ok_or("say why: --reason WHY stands in the log and in the rows of the cluster")?;
    folder.decide(target, "dewpond takeover", reason)?;
    println!("decided: start the node, and it takes over: dewpond serve");
    Ok(())
}

fn print(possible: &Possible) {
    let Possible { name, cluster, plan, gone, is_late } = possible;
    println!("cluster     {cluster}, generation {} would begin with node {name}", plan.generation);
    if *is_late {
        println!("as of       {}", shown(plan.upto));
        println!("applied     {}", shown(plan.gate));
    } else {
        println!("as of       all that this node has; the newest is of {}", shown(plan.upto));
    }
    match plan.received {
        Some(received) => println!("received    {}", shown(received)),
        None => println!("received    not known of every group"),
    }
    if *is_late {
        println!("cut off     what was written after that, {} ms of what was seen; it is kept", plan.lost_ms);
    }
    println!("not part    {}", if gone.is_empty() { "nobody".to_owned() } else { gone.join(", ") });
}
