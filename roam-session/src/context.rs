//! What a dispatcher knows of a request beside its payload.

use roam_wire::{ConnectionId, Metadata, MethodId, RequestId};

/// Describes a request to the dispatcher that serves it.
#[derive(Debug, Clone)]
pub struct Context {
    /// Connection that the request arrived on.
    pub conn_id: ConnectionId,
    /// Id of the request, unique among the connection's requests in flight.
    pub request_id: RequestId,
    /// Id of the method.
    pub method_id: MethodId,
    /// Key-value pairs that were sent with the arguments.
    pub metadata: Metadata,
    /// Ids of the channels in the arguments, in declaration order.
    pub channels: Vec<u64>,
}

impl Context {
    /// Creates a context of these parts.
    pub fn new(
        conn_id: ConnectionId,
        request_id: RequestId,
        method_id: MethodId,
        metadata: Metadata,
        channels: Vec<u64>,
    ) -> Self {
        Self {
            conn_id,
            request_id,
            method_id,
            metadata,
            channels,
        }
    }

    /// Returns the connection that the request arrived on.
    pub fn conn_id(&self) -> ConnectionId {
        self.conn_id
    }

    /// Returns the id of the request.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// Returns the id of the method.
    pub fn method_id(&self) -> MethodId {
        self.method_id
    }

    /// Returns the key-value pairs that were sent with the arguments.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the ids of the channels in the arguments, in declaration order.
    pub fn channels(&self) -> &[u64] {
        &self.channels
    }
}
