//! Encodes the entries of a checkpoint one by one, and stops at the size limit: [`Writer`].

use std::collections::BTreeSet;

use jiff::Timestamp;
use miniz_oxide::deflate::core::{
    CompressorOxide, TDEFLFlush, compress_to_output, create_comp_flags_from_zip_params,
};

use super::{END, Encoded, HEADER, Head, MAX_BODY, seal};
use crate::domain::{
    checkpoint::{Entry, StoredPod},
    hash::stable_hash,
};

/// The level of DEFLATE. Higher levels take three times as long for 2 % less.
const LEVEL: u8 = 6;
/// Bytes of DEFLATE without the header and the checksum of zlib.
const RAW: i32 = -15;
/// The part of the limit that is compressed at once: a block that does not fit is left out.
const BLOCKS: usize = 32;
/// The share of the limit that policies may use.
const POLICIES: usize = 4;

/// An encoder of one checkpoint. Its memory does not depend on the number of entries.
pub struct Writer {
    as_of: Timestamp,
    limit: usize,
    /// The bytes that are kept for the Events.
    reserved: usize,
    /// Some hundred kB.
    compressor: Box<CompressorOxide>,
    /// The compressed blocks.
    body: Vec<u8>,
    /// The size of these blocks before compression.
    size: usize,
    /// The entries that have not been compressed yet.
    block: Block,
    /// The kind of the entries in the block.
    kind: Kind,
    /// The kinds of which no more entries fit.
    full: BTreeSet<Kind>,
    policies: u32,
    entries: usize,
    omitted: u32,
    /// One bit for each policy: violations under it were left out.
    cut: Vec<u8>,
}

#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    policies: u32,
    pods: usize,
    events: usize,
    /// The policies of the violations.
    violations: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Policy,
    Pod,
    Event,
}

impl Writer {
    /// Creates a writer of at most `limit` bytes, of which `reserved` are for Events only.
    pub fn new(as_of: Timestamp, limit: usize, reserved: usize) -> Self {
        Self {
            as_of,
            limit,
            reserved,
            compressor: compressor(),
            body: Vec::new(),
            size: 0,
            block: Block::default(),
            kind: Kind::Policy,
            full: BTreeSet::new(),
            policies: 0,
            entries: 0,
            omitted: 0,
            cut: Vec::new(),
        }
    }

    /// Counts entries that were left out before.
    pub(super) fn omit(&mut self, entries: usize) {
        let entries = u32::try_from(entries).unwrap_or(u32::MAX);
        self.omitted = self.omitted.saturating_add(entries);
    }

    /// Adds an entry, or counts it as left out. All policies must come before the Pods.
    pub fn write(&mut self, mut entry: Entry) {
        let kind = match &entry {
            Entry::Policy(_) => Kind::Policy,
            Entry::Pod(_) => Kind::Pod,
            Entry::Event(_) => Kind::Event,
        };
        if kind != self.kind {
            self.flush();
            self.kind = kind;
        }
        match &mut entry {
            Entry::Policy(_) => self.block.policies += 1,
            Entry::Event(_) => self.block.events += 1,
            Entry::Pod(StoredPod { violations, .. }) => {
                let before = violations.len();
                violations.retain(|violation| violation.policy < self.policies);
                self.omit(before - violations.len());
                self.block.pods += 1;
                self.block
                    .violations
                    .extend(violations.iter().map(|violation| violation.policy));
            }
        }
        if self.full.contains(&kind) {
            self.drop_block();
            return;
        }
        // Writing to memory does not fail.
        if let Ok(bytes) = postcard::to_extend(&entry, std::mem::take(&mut self.block.bytes)) {
            self.block.bytes = bytes;
        }
        if self.block.bytes.len() >= self.limit / BLOCKS {
            self.flush();
        }
    }

    /// Compresses the block. If it does not fit, its entries are left out.
    fn flush(&mut self) {
        if self.block.bytes.is_empty() {
            return;
        }
        let before = self.body.len();
        let body = &mut self.body;
        compress_to_output(
            &mut self.compressor,
            &self.block.bytes,
            TDEFLFlush::Sync,
            |bytes| {
                body.extend_from_slice(bytes);
                true
            },
        );
        let policies = self.policies + self.block.policies;
        let bits = usize::try_from(policies.div_ceil(8)).unwrap_or(usize::MAX);
        let available = match self.kind {
            Kind::Policy => self.limit / POLICIES,
            Kind::Pod => self.limit.saturating_sub(self.reserved),
            Kind::Event => self.limit,
        };
        let needed = HEADER + Head::MAX_SIZE + bits + self.body.len() + END.len();
        let size = self.size + self.block.bytes.len();
        if needed > available || size > MAX_BODY {
            self.body.truncate(before);
            // The next block must not refer to this one.
            self.compressor = compressor();
            self.full.insert(self.kind);
            self.drop_block();
            return;
        }
        self.size = size;
        self.policies = policies;
        self.entries += self.block.pods + self.block.violations.len();
        self.cut.resize(bits, 0);
        self.block = Block::default();
    }

    /// Leaves out the entries of the block.
    fn drop_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        self.omit(block.pods + block.events + block.violations.len());
        for policy in block.violations {
            let byte = usize::try_from(policy / 8).ok();
            if let Some(byte) = byte.and_then(|byte| self.cut.get_mut(byte)) {
                *byte |= 1 << (policy % 8);
            }
        }
    }

    /// The encoded checkpoint.
    pub fn finish(mut self) -> Encoded {
        self.flush();
        self.body.extend(END);
        let head = Head {
            as_of: self.as_of,
            size: u32::try_from(self.size).unwrap_or(u32::MAX),
            omitted: self.omitted,
            cut: self.cut,
        };
        Encoded {
            content: stable_hash([&self.body[..], &head.omitted.to_le_bytes(), &head.cut]),
            bytes: seal(&head, &self.body),
            entries: self.entries,
            omitted: self.omitted,
        }
    }
}

fn compressor() -> Box<CompressorOxide> {
    Box::new(CompressorOxide::new(create_comp_flags_from_zip_params(
        LEVEL.into(),
        RAW,
        0,
    )))
}
