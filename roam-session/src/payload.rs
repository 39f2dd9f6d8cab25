//! The bytes of arguments, items and results.

use facet::Facet;
use facet_postcard::SerializeError;

use crate::RoamError;

/// First byte of a response with a value.
pub(crate) const VALUE: u8 = 0;
/// First byte of a response with an error.
pub(crate) const ERROR: u8 = 1;

/// Bytes that most payloads fit into.
const PAYLOAD_BYTES: usize = 64;

/// A payload: `prefix`, and `value` encoded.
pub(crate) fn encode<T: Facet<'static>>(
    prefix: &[u8],
    value: &T,
) -> Result<Vec<u8>, SerializeError> {
    let mut payload = Vec::with_capacity(PAYLOAD_BYTES);
    payload.extend_from_slice(prefix);
    facet_postcard::to_writer_fallible(value, &mut payload)?;
    Ok(payload)
}

/// Holds a response that is not decoded yet.
#[derive(Debug)]
pub struct ResponseData {
    /// Encoded result.
    pub payload: Vec<u8>,
    /// Ids of the channels in the result, in declaration order.
    pub channels: Vec<u64>,
}

/// The payload of a response with an error of roam's own.
pub(crate) fn refusal(error: &RoamError<()>) -> Vec<u8> {
    let code = match error {
        RoamError::User(()) => 0,
        RoamError::UnknownMethod => 1,
        RoamError::InvalidPayload => 2,
        RoamError::Cancelled => 3,
    };
    vec![ERROR, code]
}
