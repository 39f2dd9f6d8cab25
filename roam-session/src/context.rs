//! A request without its payload, as dispatchers and handlers see it.

use roam_wire::{ConnectionId, Metadata, MethodId, RequestId};

/// A request, as its handler sees it.
#[derive(Debug, Clone)]
pub struct Context {
    /// The connection it came over.
    pub conn_id: ConnectionId,
    /// Its id, unique among the connection's requests in flight.
    pub request_id: RequestId,
    /// The method's id.
    pub method_id: MethodId,
    /// Key-value pairs beside the arguments.
    pub metadata: Metadata,
    /// Ids of the channels in the arguments, in declaration order.
    pub channels: Vec<u64>,
}

impl Context {
    /// A request with these properties.
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

    /// The connection it came over.
    pub fn conn_id(&self) -> ConnectionId {
        self.conn_id
    }

    /// Its id.
    pub fn request_id(&self) -> RequestId {
        self.request_id
    }

    /// The method's id.
    pub fn method_id(&self) -> MethodId {
        self.method_id
    }

    /// Key-value pairs beside the arguments.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Ids of the channels in the arguments.
    pub fn channels(&self) -> &[u64] {
        &self.channels
    }
}
