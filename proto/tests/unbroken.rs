//! The schema of the last release holds: what has a number keeps it, with its name and its type; an error too. What is new may be added.
//! `DEWPOND_WRITE_FIXTURES=1` takes today's schema as released.

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::BTreeMap;
use std::path::Path;

fn fields(prefix: &str, message: &DescriptorProto, out: &mut BTreeMap<String, String>) {
    let name = format!("{prefix}.{}", message.name());
    out.insert(name.clone(), "message".to_owned());
    for field in &message.field {
        let kind = match field.r#type() {
            Type::Message | Type::Enum => field.type_name().to_owned(),
            plain => format!("{plain:?}"),
        };
        let label = field.label();
        out.insert(format!("{name} {}", field.number()), format!("{} {kind} {label:?}", field.name()));
    }
    message.nested_type.iter().for_each(|nested| fields(&name, nested, out));
    for one in &message.enum_type {
        for value in &one.value {
            out.insert(format!("{name}.{} {}", one.name(), value.number()), value.name().to_owned());
        }
    }
}

fn today() -> BTreeMap<String, String> {
    let set = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).expect("this build wrote it");
    let mut out = BTreeMap::new();
    for file in &set.file {
        file.message_type.iter().for_each(|message| fields(file.package(), message, &mut out));
        for service in &file.service {
            for method in &service.method {
                let (from, to) = (method.input_type(), method.output_type());
                let streams = (method.client_streaming(), method.server_streaming());
                let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
                out.insert(name, format!("{from} {to} {streams:?}"));
            }
        }
    }
    out.extend(proto::errors::TABLE.iter().map(|entry| (entry.label(), entry.name.to_owned())));
    out
}

fn broken(released: &str, today: &BTreeMap<String, String>) -> Vec<String> {
    let mut broken = Vec::new();
    for line in released.lines() {
        let (name, is) = line.split_once(" = ").expect("a line is `name = what`");
        if today.get(name).map(String::as_str) != Some(is) {
            broken.push(format!("{name} was {is}, and is {:?}", today.get(name)));
        }
    }
    broken
}

#[test]
fn what_was_released_holds() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("released/v1.txt");
    let today = today();
    if std::env::vars().any(|(name, _)| name == "DEWPOND_WRITE_FIXTURES") {
        let lines: Vec<String> = today.iter().map(|(name, is)| format!("{name} = {is}\n")).collect();
        std::fs::write(&path, lines.concat()).unwrap();
    }
    let released = std::fs::read_to_string(&path).unwrap();
    assert!(released.lines().count() > 100);
    assert_eq!(broken(&released, &today), Vec::<String>::new());
}

#[test]
fn what_is_taken_away_or_means_something_else_is_found() {
    let today = today();
    let key = "dewpond.v1.GetRequest 2";
    let line = format!("{key} = {}", today[key]);
    assert!(broken(&line, &today).is_empty());
    for change in ["key Fixed64 Optional", "name Bytes Optional"] {
        let mut changed = today.clone();
        changed.insert(key.to_owned(), change.to_owned());
        assert_eq!(broken(&line, &changed).len(), 1);
    }
    let mut gone = today;
    gone.remove(key);
    assert_eq!(broken(&line, &gone).len(), 1);
}
