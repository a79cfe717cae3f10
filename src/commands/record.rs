//! `sidewatch record`: writes the watch events of Pods to a file, with an allow list of fields.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use futures::StreamExt;
use kube::api::DynamicObject;
use tokio::{
    select,
    signal::ctrl_c,
    time::{Instant, sleep_until},
};

use super::Failure;
use crate::{
    cli::{
        args::{ClusterArgs, duration},
        block_on,
        cluster::{ANSWER_TIMEOUT, Cluster},
        exit::ClosedPipe,
        output::{Progress, note},
        recording::write::Writer,
    },
    kubernetes::{list, watch::WatchEvent},
};

/// The period after which buffered lines are written and the progress is shown.
const FLUSH_PERIOD: Duration = Duration::from_secs(1);
/// The longest recording without `--for`: it ends with Ctrl-C.
const UNLIMITED: Duration = Duration::from_hours(24 * 365);

const INTERRUPTED: &str =
    "the watch was interrupted; what changes until it continues has the time at which it arrives";

/// Flags of `sidewatch record`.
#[derive(Clone, Debug, Args)]
pub(super) struct RecordArgs {
    /// File to write; - is standard output
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,

    /// How long to record, such as 10m; default: until Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,

    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Records until the time is over or the user presses Ctrl-C.
pub(super) fn execute(args: &RecordArgs) -> Result<(), Failure> {
    block_on(record(args))
}

async fn record(args: &RecordArgs) -> Result<(), Failure> {
    let cluster = Cluster::connect(&args.cluster)?;
    let (pods, problem) = list::whole_pods(
        cluster.client(),
        &cluster.selection(""),
        Arc::clone(&cluster.clock),
    )?;
    let mut pods = pin!(pods);
    let mut writer = Writer::new(output(&args.output)?, cluster.now());
    let write_failed = |error| write_failed(&args.output, &error);
    let end = Instant::now() + args.length.unwrap_or(UNLIMITED);
    let mut next_flush = Instant::now() + FLUSH_PERIOD;
    let answer_by = Instant::now() + ANSWER_TIMEOUT;
    let (mut is_listed, mut is_interrupted) = (false, false);
    let mut progress = Progress::new();
    loop {
        let event = select! {
            event = pods.next() => event,
            () = sleep_until(end) => break,
            () = sleep_until(next_flush) => {
                next_flush = Instant::now() + FLUSH_PERIOD;
                writer.flush().map_err(write_failed)?;
                progress.show(&format!("recording {} Pods; Ctrl-C ends", writer.pods()));
                continue;
            }
            () = sleep_until(answer_by), if !is_listed && writer.pods() == 0 => {
                return Err(cluster.silent("list pods"));
            }
            _ = ctrl_c() => break,
        };
        let Some(event) = event else { break };
        match &event {
            WatchEvent::Disconnected { .. } if !is_listed => return Err(cluster.failed(&problem.text())),
            WatchEvent::Disconnected { .. } if !is_interrupted => {
                is_interrupted = true;
                progress.clear();
                note(INTERRUPTED);
            }
            WatchEvent::Complete => (is_listed, is_interrupted) = (true, false),
            WatchEvent::Resumed => is_interrupted = false,
            _ => {}
        }
        let event = event.try_map(|pod: DynamicObject| serde_json::to_value(&pod))?;
        writer.event(event, cluster.now()).map_err(write_failed)?;
    }
    progress.clear();
    for undecodable in problem.undecodable() {
        note(&format!(
            "left out, because it cannot be decoded: Pod {undecodable}"
        ));
    }
    if !is_listed {
        note("the first list of Pods is not complete");
    }
    let pods = writer.pods();
    let lines = writer.finish(cluster.now()).map_err(write_failed)?;
    note(&format!("{lines} lines, {pods} Pods at the end"));
    Ok(())
}

fn output(path: &Path) -> Result<Box<dyn Write>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(BufWriter::new(io::stdout())));
    }
    let file = File::create(path).map_err(|error| write_failed(path, &error))?;
    Ok(Box::new(BufWriter::new(file)))
}

fn write_failed(path: &Path, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        ClosedPipe.into()
    } else {
        format!("cannot write {}: {error}", path.display()).into()
    }
}
