//! Protobuf as the API server writes it.
//!
//! Input: the bytes of an answer with the content type [`CONTENT_TYPE`]. Output: Pods, watch events and Statuses.
//! The reader decodes only the fields that the operator uses and skips all others by their length. Field numbers are
//! those of `k8s.io/api/core/v1/generated.proto` and `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
//!
//! No I/O. Memory is bounded by [`MAX_MESSAGE`]: nothing is allocated for a length that the bytes only claim.

mod container;
mod envelope;
mod frames;
mod metadata;
mod pod;
mod reader;
mod status;

pub use envelope::{Event, EventKind, INITIAL_EVENTS_END, decode_event, decode_status};
pub use frames::{Page, PageReader, WatchFrames};
pub use pod::decode_pod;
pub use reader::Malformed;
pub use status::Refusal;

/// The media type.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The largest watch event or list item, in bytes. client-go has the same limit for a frame of a watch.
pub const MAX_MESSAGE: usize = 16 << 20;
