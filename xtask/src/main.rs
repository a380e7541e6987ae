//! Everything that one does to this repository and with it: build, start, test, measure.
//!
//! Small modules behind one dispatcher. A module owns one subcommand or one kind of artefact; what
//! the tests need as well lives in `naru-tests::support`.

mod bench;
mod bpf;
mod compile;
mod door;
mod fuzz;
mod images;
mod kubectls;
mod packages;
mod progress;
mod schema;
mod tally;
mod test;
mod tidy;
mod toolchain;
mod up;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Build, run, test and measure Naru")]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Install what is missing, build everything, start a cluster with the demo shop.
    Up(up::UpArgs),
    /// End a cluster and leave nothing behind.
    Down(up::DownArgs),
    /// Run a command on a node: in its network namespace and cgroup.
    Node(up::NodeArgs),
    /// Run every test, or those whose name contains FILTER.
    Test(test::TestArgs),
    /// Feed parsers with wrong bytes, longer than the tests do.
    Fuzz(fuzz::FuzzArgs),
    /// Measure on a cluster of its own.
    Bench(bench::BenchArgs),
    /// Run the packet tests on another kernel, in an emulated machine.
    Vm(vm::VmArgs),
    /// Build programs, eBPF objects and images.
    Build,
    /// Build the eBPF objects into target/bpf.
    Bpf,
    /// Pack the test images only.
    Images,
    /// Check what the repository promises about itself.
    Tidy,
    /// Regenerate the field table of the Kubernetes API from a reference file.
    Schema(schema::SchemaArgs),
    /// The front door of a cluster; started by `up`.
    #[command(hide = true)]
    Door(door::DoorArgs),
}

fn main() -> ExitCode {
    match dispatch(Args::parse().task) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Up(args) => up::up(&args)?,
        Task::Down(args) => up::down(&args)?,
        Task::Node(args) => return up::node(&args),
        Task::Test(args) => return test::run(&args),
        Task::Vm(args) => return vm::run(&args),
        Task::Fuzz(args) => fuzz::run(&args)?,
        Task::Bench(args) => bench::run(&args)?,
        Task::Build => compile::everything()?,
        Task::Bpf => bpf::run()?,
        Task::Images => compile::test_images()?,
        Task::Tidy => tidy::run()?,
        Task::Schema(args) => schema::generate(&args)?,
        Task::Door(args) => args.serve()?,
    }
    Ok(ExitCode::SUCCESS)
}
