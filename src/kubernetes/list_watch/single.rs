//! Reads the objects that are not listed: one object by its name, and the answer to a write.
//!
//! Input: a client and a request. Output: a lean type with the fields that are read. As in a list, the other fields are skipped
//! without recursion, and text that is not UTF-8 is replaced.

use std::io;

use futures::{Stream, stream};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Bytes;
use kube::{
    Client,
    api::DynamicObject,
    client::Body,
    core::{Status, request},
};
use serde::{de::DeserializeOwned, de::Error as _};

use super::connection::refused;
use crate::kubernetes::{
    decode::object::{Decoded, from_json, read},
    json::Lines,
    protobuf::{Event, EventKind},
};

/// A request as kube builds it.
type Built = Result<Request<Vec<u8>>, request::Error>;

/// Sends a request, and reads the object in the answer.
pub(crate) async fn object<T: DeserializeOwned>(client: &Client, request: Built) -> kube::Result<T> {
    decoded(read(&body(client, request).await?))
}

/// Sends a request, and reads the object in the answer with all its fields except `managedFields`.
pub(crate) async fn whole(client: &Client, request: Built) -> kube::Result<DynamicObject> {
    decoded(from_json(&body(client, request).await?))
}

async fn body(client: &Client, request: Built) -> kube::Result<Bytes> {
    Ok(accepted(client, request).await?.collect().await?.to_bytes())
}

/// Reads the object. Returns `None` if it does not exist.
pub(crate) async fn existing<T: DeserializeOwned>(
    client: &Client,
    request: Built,
) -> kube::Result<Option<T>> {
    match object(client, request).await {
        Ok(object) => Ok(Some(object)),
        Err(kube::Error::Api(status)) if is_missing(&status) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends a request for a watch of one object. Returns each later state, `None` if the object was deleted.
pub(crate) async fn changes<T: DeserializeOwned>(
    client: &Client,
    request: Built,
) -> kube::Result<impl Stream<Item = kube::Result<Option<T>>> + Send + use<T>> {
    let body = accepted(client, request).await?;
    let states = stream::try_unfold((body, Lines::default()), |(mut body, mut lines)| async move {
        loop {
            match lines.next_event().map_err(kube::Error::SerdeError)? {
                Some(Event::Object(EventKind::Applied, object)) => {
                    let object = decoded(read(object))?;
                    return Ok(Some((Some(object), (body, lines))));
                }
                Some(Event::Object(EventKind::Deleted, _)) => return Ok(Some((None, (body, lines)))),
                Some(Event::Bookmark { .. }) => continue,
                Some(Event::Error(refusal)) => return Err(kube::Error::Api(refusal.status)),
                None => {}
            }
            match body.frame().await {
                Some(frame) => {
                    let frame = frame.map_err(|error| kube::Error::ReadEvents(io::Error::other(error)))?;
                    frame.data_ref().into_iter().for_each(|piece| lines.push(piece));
                }
                None => return Ok(None),
            }
        }
    });
    Ok(states)
}

async fn accepted(client: &Client, request: Built) -> kube::Result<Body> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let response = client.send(request.map(Body::from)).await?;
    if response.status().is_success() {
        Ok(response.into_body())
    } else {
        Err(refused(response).await.error)
    }
}

fn decoded<T>(object: Decoded<T>) -> kube::Result<T> {
    object.map_err(|undecodable| kube::Error::SerdeError(serde_json::Error::custom(undecodable)))
}

fn is_missing(status: &Status) -> bool {
    status.code == http::StatusCode::NOT_FOUND.as_u16()
}
