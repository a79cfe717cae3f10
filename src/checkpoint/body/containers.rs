//! The histories of containers in a checkpoint.

use std::num::NonZeroU32;

use jiff::SignedDuration;

use super::Result;
use crate::{
    checkpoint::{
        reader::{Reader, TAG},
        writer::Writer,
    },
    domain::{
        checkpoint::{ContainerState, FlapId, Occurrences, Seen},
        history::{ExitId, OomKill, Prior},
    },
};

pub(super) fn write(container: &ContainerState, to: &mut Writer) {
    let ContainerState {
        seen,
        restarts,
        flaps,
        prior,
        oom,
        resized,
    } = container;
    to.byte(match seen {
        None => 0,
        Some(seen) if seen.ready => 2,
        Some(_) => 1,
    });
    if let Some(seen) = seen {
        to.integer(u64::from(seen.restart_count));
    }
    to.length(restarts.0.len());
    for ((total, occurrence), at) in &restarts.0 {
        to.integer(u64::from(*total));
        to.integer(u64::from(*occurrence));
        to.time(*at);
    }
    to.length(flaps.0.len());
    let mut previous = None;
    for ((FlapId { run, second }, occurrence), at) in &flaps.0 {
        to.byte(u8::from(previous != Some(run)));
        if previous != Some(run) {
            to.hash(*run);
        }
        previous = Some(run);
        to.signed(*second);
        to.integer(u64::from(*occurrence));
        to.time(*at);
    }
    to.byte(u8::from(prior.is_some()));
    if let Some(Prior { count, at, run }) = prior {
        to.integer(u64::from(*count));
        to.time(*at);
        to.signed(i64::try_from(run.as_millis()).unwrap_or(i64::MAX));
    }
    write_oom_kill(oom.as_ref(), to);
    to.integer(resized.map_or(0, |resize| u64::from(resize.get())));
}

pub(super) fn read(from: &mut Reader<'_>) -> Result<ContainerState> {
    let seen = match from.byte()? {
        0 => None,
        tag @ 1..=2 => Some(Seen {
            restart_count: from.small()?,
            ready: tag == 2,
        }),
        _ => return Err(TAG),
    };
    let mut restarts = Occurrences::default();
    for _ in 0..from.length()? {
        restarts.0.insert((from.small()?, from.small()?), from.time()?);
    }
    let mut flaps = Occurrences::default();
    let mut run = 0;
    for _ in 0..from.length()? {
        if from.flag()? {
            run = from.hash()?;
        }
        let second = from.signed()?;
        flaps
            .0
            .insert((FlapId { run, second }, from.small()?), from.time()?);
    }
    let prior = if from.flag()? {
        Some(Prior {
            count: from.small()?,
            at: from.time()?,
            run: SignedDuration::from_millis(from.signed()?),
        })
    } else {
        None
    };
    Ok(ContainerState {
        seen,
        restarts,
        flaps,
        prior,
        oom: read_oom_kill(from)?,
        resized: NonZeroU32::new(from.small()?),
    })
}

/// Writes an OOM kill: a tag for the form of the exit's identity, plus 4 if the kill was observed.
fn write_oom_kill(oom: Option<&OomKill>, to: &mut Writer) {
    let Some(OomKill {
        run_number,
        observed,
        at,
        exit,
    }) = oom
    else {
        return to.byte(0);
    };
    let form = match exit {
        ExitId::Run(_) => 1,
        ExitId::At(_) => 2,
    };
    to.byte(form | u8::from(*observed) << 2);
    to.integer(u64::from(*run_number));
    to.time(*at);
    match exit {
        ExitId::Run(hash) => to.hash(*hash),
        ExitId::At(at) => to.optional_time(*at),
    }
}

fn read_oom_kill(from: &mut Reader<'_>) -> Result<Option<OomKill>> {
    let tag = from.byte()?;
    if tag == 0 {
        return Ok(None);
    }
    let run_number = from.small()?;
    let at = from.time()?;
    let exit = match tag & 3 {
        1 => ExitId::Run(from.hash()?),
        2 => ExitId::At(from.optional_time()?),
        _ => return Err(TAG),
    };
    if tag > 6 {
        return Err(TAG);
    }
    Ok(Some(OomKill {
        run_number,
        observed: tag & 4 != 0,
        at,
        exit,
    }))
}
