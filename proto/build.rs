//! Compiles the schema. Nothing outside the Rust toolchain is called.

use std::error::Error;
use std::path::PathBuf;

const FILES: [&str; 8] = [
    "dewpond/v1/kv.proto",
    "dewpond/v1/watch.proto",
    "dewpond/v1/cluster.proto",
    "dewpond/v1/admin.proto",
    "dewpond/v1/archive.proto",
    "dewpond/v1/restore.proto",
    "dewpond/peer/v1/meta.proto",
    "dewpond/peer/v1/restoring.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true);
    for file in FILES {
        compiler.open_file(file)?;
    }
    let mut set = compiler.file_descriptor_set();
    tonic_prost_build::configure()
        .bytes(".dewpond")
        .boxed(".dewpond.v1.Failure.shard")
        .build_transport(false)
        .compile_fds(set.clone())?;
    for file in &mut set.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo names no folder for what is built")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&set))?;
    Ok(())
}
