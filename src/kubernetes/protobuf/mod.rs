//! Decodes the protobuf encoding of the API server.
//!
//! Input: the bytes of a response with the content type [`CONTENT_TYPE`]. Output: Pods, watch events and Statuses. The
//! reader decodes only the fields that the operator uses, and skips the other fields by their length. Field numbers are
//! those of `k8s.io/api/core/v1/generated.proto` and `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`.
//!
//! No I/O. Memory is limited by [`MAX_MESSAGE`]: memory is allocated for received bytes, not for a length in a header.

mod container;
mod envelope;
mod frames;
mod metadata;
mod pod;
mod reader;
mod status;

pub use envelope::{Event, EventKind, INITIAL_EVENTS_END, decode_event, decode_status};
pub use frames::{Page, PageReader, WatchFrames};
pub use metadata::{failing_field, identity};
pub use pod::decode_pod;
pub use reader::Malformed;
pub use status::Refusal;

/// The media type.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Maximum size of a watch event or list item, in bytes. client-go has the same limit for a frame of a watch.
pub const MAX_MESSAGE: usize = 16 << 20;
